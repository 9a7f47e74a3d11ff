"""Active Days, Longest Streak and Current Streak, counted from the set of dates with activity: dates in, numbers out.

A *bridged* day neither breaks nor lengthens a run: a day off or a day with a gap in recording, if nothing happened on it.
`kpis` answers for one calendar with dates, `person_streaks` for everybody at once; both follow the same rules.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from uar.report.zones import day_number, day_of

Bools = NDArray[np.bool_]
Int64 = NDArray[np.int64]

SATURDAY, SUNDAY = 5, 6
FIRST_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0


@dataclass(frozen=True)
class WorkingDays:
    """Which days are off: `weekend` holds weekdays (Monday is 0), `holidays` single dates."""

    weekend: frozenset[int] = frozenset({SATURDAY, SUNDAY})
    holidays: frozenset[date] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Kpis:
    """The numbers on the cards. `active_days` of `days`; streaks in days, the longest with its first and last active date.

    `today_open`: the current streak ends before today, which is still quiet. `unknown_days`: quiet days of the range with a gap in
    recording, which were bridged.
    """

    active_days: int
    days: int
    longest_streak: int
    longest_from: date | None
    longest_to: date | None
    current_streak: int
    today_open: bool
    unknown_days: int = 0

    def as_json(self) -> dict[str, int | bool | str | None]:
        """The numbers for scripts: dates as ISO 8601 text or None, without `unknown_days`."""
        values = {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(self).items()}
        del values["unknown_days"]
        return values


class PersonStreaks(NamedTuple):
    """Per person: int64 arrays `active_days`, `longest`, `current`."""

    active_days: Int64
    longest: Int64
    current: Int64


def kpis(
    calendar: pd.DataFrame,
    *,
    today: date,
    recorded_from: date | None = None,
    working_days: WorkingDays | None = None,
    unknown: frozenset[date] = frozenset(),
) -> Kpis:
    """The numbers of a `calendar` (its columns `day` and `events`; days ascending, without holes).

    `recorded_from` is the first local date that is known: earlier days, and those after `today`, count nowhere. Days after the end of the
    calendar count as quiet, so the current streak is 0 once the range ends before yesterday.
    """
    active = calendar["events"].to_numpy() > 0
    if not len(active):
        return Kpis(0, 0, 0, None, None, 0, today_open=False)
    first = day_number(calendar["day"].iloc[0].date())
    now = day_number(today) - first
    start = 0 if recorded_from is None else max(0, day_number(recorded_from) - first)
    active[:start] = active[max(0, now + 1) :] = False
    skipped = skipped_days(first, max(len(active), now + 1), working_days, unknown)
    longest = _longest(active, skipped[: len(active)])
    current, today_open = _current(active, skipped, now)
    return Kpis(
        active_days=int(active.sum()),
        days=max(0, min(len(active), now + 1) - start),
        longest_streak=longest[0],
        longest_from=None if not longest[0] else day_of(first + longest[1]),
        longest_to=None if not longest[0] else day_of(first + longest[2]),
        current_streak=current,
        today_open=today_open,
        unknown_days=sum(0 <= place < len(active) and not active[place] for place in (day_number(day) - first for day in unknown)),
    )


def person_streaks(active: Bools, *, first: date, today: date, skipped: Bools | None = None) -> PersonStreaks:
    """Streaks of many people at once, by the rules of `kpis`.

    `active` is bool [days of the range from `first`, people], as in `counting.seen`; `skipped` is bool [days], True for days that are
    off or unknown (see `skipped_days`; it may go on after the range), None if there are none.
    """
    days, people = active.shape
    now = day_number(today) - day_number(first)
    skipped = np.zeros(max(days, now + 1), dtype=bool) if skipped is None else skipped
    quiet = np.zeros(people, dtype=np.int8)
    # In place and as narrow as it can be: for many people this is all about memory.
    run, longest, current, total = (np.zeros(people, dtype=np.min_scalar_type(-max(days, now + 1) - 1)) for _ in range(4))
    for day in range(max(days, now + 1)):
        was_active = active[day].view(np.int8) if day < min(days, now + 1) else quiet
        if day == now:
            current = np.where(was_active, run + 1, run)
        run += was_active
        if not skipped[day]:
            run *= was_active
        total += was_active
        np.maximum(longest, run, out=longest)
    return PersonStreaks(*(column.astype(np.int64) for column in (total, longest, current)))


def skipped_days(first: int, days: int, working_days: WorkingDays | None, unknown: frozenset[date] = frozenset()) -> Bools:
    """Which of the days from day number `first` on would be bridged if quiet: days off and days with a gap in recording."""
    numbers = np.arange(first, first + days)
    dates = unknown | (working_days.holidays if working_days else frozenset())
    skipped = np.isin(numbers, [day_number(day) for day in dates])
    if working_days:
        skipped |= np.isin((numbers + FIRST_WEEKDAY) % 7, list(working_days.weekend))
    return skipped


def _longest(active: Bools, skipped: Bools) -> tuple[int, int, int]:
    """Length, first and last place of the longest run; the earlier one of equals; zeros if there is none."""
    kept = np.flatnonzero(active | ~skipped)
    edges = np.flatnonzero(np.diff(active[kept].astype(np.int8), prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0, 0
    best = int(np.argmax(ends - starts))  # the first of equals
    return int(ends[best] - starts[best]), int(kept[starts[best]]), int(kept[ends[best] - 1])


def _current(active: Bools, skipped: Bools, now: int) -> tuple[int, bool]:
    """The run that ends today, or else the one that ends before a today that is still open, and whether it is that one."""
    if now < 0:
        return 0, False
    until_now = np.zeros(now + 1, dtype=bool)
    until_now[: len(active)] = active[: now + 1]
    is_open = not until_now[now] and not skipped[now]
    counted = (until_now | ~skipped[: now + 1])[: now if is_open else now + 1]
    run = until_now[: len(counted)][counted]
    quiet = np.flatnonzero(~run)
    length = len(run) - (int(quiet[-1]) + 1 if len(quiet) else 0)
    return length, is_open and length > 0

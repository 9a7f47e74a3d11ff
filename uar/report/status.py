"""The status of a person: what can honestly be said about somebody's last activity, and about somebody without any.

Nine words, first match wins (`Status` is in that order). D is the number of calendar days since the last activity, counted in the
viewer's timezone. "No activity" means none ever recorded: `people.last_active_at` outlives the pruning of activities.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from uar.activity import DAY_MS
from uar.report.zones import day_number

NEW_DAYS = 30
HISTORY_DAYS = 90
DEFAULT_LIMITS = (30, 90)
ATLASSIAN = "Atlassian"


class Status(StrEnum):
    """The nine statuses, in the order in which they are tried; the value is the word on screen and in exports."""

    DEACTIVATED = "Deactivated"
    APP = "App"
    ACTIVE = "Active"
    LOW = "Low"
    INACTIVE = "Inactive"
    INVITED = "Invited"
    NEW = "New"
    NOT_ENOUGH_HISTORY = "Not enough history"
    NEVER_SEEN = "Never seen"

    @property
    def shape(self) -> str:
        """A sign beside the word, so that a status never rests on its colour."""
        return SHAPES[self]


# Plain geometric signs only: some fonts draw others as colored pictures of another width.
SHAPES = {
    Status.ACTIVE: "●",
    Status.LOW: "◐",
    Status.INACTIVE: "○",
    Status.INVITED: "▷",
    Status.NEW: "◇",
    Status.NOT_ENOUGH_HISTORY: "…",
    Status.NEVER_SEEN: "✕",
    Status.DEACTIVATED: "–",
    Status.APP: "□",
}


@dataclass(frozen=True)
class Rules:
    """What a status depends on beside the person: the day, the zone, the limits in days, and since when anything is recorded.

    `recorded_from` is the instant (epoch milliseconds) from which the worker was up, None if it never was.
    """

    today: date
    zone: str
    limits: tuple[int, int] = DEFAULT_LIMITS
    recorded_from: int | None = None

    @property
    def recorded_from_day(self) -> date | None:
        """The local date on which recording began."""
        return None if self.recorded_from is None else local_date(self.recorded_from, self.zone)

    @property
    def never_seen_from(self) -> date | None:
        """The first date on which "Never seen" can be said; None while nothing is recorded."""
        return None if self.recorded_from_day is None else self.recorded_from_day + timedelta(days=HISTORY_DAYS)


def status_of(people: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Status of each row of `people` (columns as in the table `people` of the store; instants in epoch milliseconds).

    Returns a frame with the index of `people`: `status` str (a `Status`), `days_since_last_active` Int64 (NA: never),
    `last_active_at` Int64 (epoch milliseconds, ours or Atlassian's, whichever is newer), `last_source` str ('' or 'Atlassian').
    """
    ours, theirs = _instants(people, "last_active_at"), _instants(people, "atlassian_last_seen_at")
    # -1 stands for "none"; nothing in the store is older than 2004.
    last = np.maximum(ours, theirs)
    days = days_since(last, rules)
    words = _words(people, last >= 0, days, rules)
    return pd.DataFrame(
        {
            "status": words,
            "days_since_last_active": nullable(days, last >= 0),
            "last_active_at": nullable(last, last >= 0),
            "last_source": np.where(theirs > ours, ATLASSIAN, ""),
        },
        index=people.index,
    )


def days_since(instants: NDArray[np.int64], rules: Rules) -> NDArray[np.int64]:
    """Calendar days from each instant to today in the zone; an instant ahead of today (a fast clock) counts as today."""
    today = day_number(rules.today)
    return np.maximum(today - local_days(instants, rules.zone), 0)


def _words(people: pd.DataFrame, is_seen: NDArray[np.bool_], days: NDArray[np.int64], rules: Rules) -> NDArray[np.object_]:
    state, kind = people["state"].to_numpy(dtype=object), people["kind"].to_numpy(dtype=object)
    active, low = rules.limits
    choices = (
        ((state == "deactivated") | (state == "deleted"), Status.DEACTIVATED),
        (kind == "app", Status.APP),
        (is_seen & (days <= active), Status.ACTIVE),
        (is_seen & (days <= low), Status.LOW),
        (is_seen, Status.INACTIVE),
        (state == "invited", Status.INVITED),
        (_is_new(people, rules), Status.NEW),
        (np.full(len(people), not _has_history(rules)), Status.NOT_ENOUGH_HISTORY),
    )
    words = np.array([*(status.value for _, status in choices), Status.NEVER_SEEN.value], dtype=object)
    chosen = np.select([condition for condition, _ in choices], list(range(len(choices))), len(choices))
    return np.asarray(words[chosen], dtype=object)


def _is_new(people: pd.DataFrame, rules: Rules) -> NDArray[np.bool_]:
    """Whether the account is younger than 30 days.

    Where the directory does not tell the age, a person counts as new from the day we first heard of the account, unless that was the
    day on which we heard of everybody: nobody is called new because the report is.
    """
    created, known = _instants(people, "created_at"), _instants(people, "first_seen_at")
    start = None if rules.recorded_from_day is None else day_number(rules.recorded_from_day)
    is_late = np.zeros(len(people), bool) if start is None else local_days(known, rules.zone) > start
    age = days_since(np.where(created >= 0, created, known), rules)
    return (age < NEW_DAYS) & ((created >= 0) | (is_late & (known >= 0)))


def _has_history(rules: Rules) -> bool:
    return rules.never_seen_from is not None and rules.today >= rules.never_seen_from


def _instants(people: pd.DataFrame, column: str) -> NDArray[np.int64]:
    values = pd.to_numeric(people[column]).astype("Float64").to_numpy(dtype=np.float64, na_value=-1.0)
    return values.astype(np.int64)


def nullable(values: NDArray[np.int64], is_known: NDArray[np.bool_]) -> pd.arrays.IntegerArray:
    """An Int64 array that is NA where nothing is known."""
    return pd.arrays.IntegerArray(values.astype(np.int64), ~is_known)


def local_date(instant: int, zone: str) -> date:
    """The local date of one instant (epoch milliseconds)."""
    return datetime.fromtimestamp(instant / 1000, UTC).astimezone(ZoneInfo(zone)).date()


def local_days(instants: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Local dates of instants (epoch milliseconds), as days since 1970-01-01."""
    return local_instants(instants, zone).astype(np.int64) // DAY_MS


def local_instants(instants: NDArray[np.int64], zone: str) -> NDArray[np.datetime64]:
    """The wall clock of `zone` at these instants, as datetime64[ms]."""
    utc = pd.DatetimeIndex(instants.astype("datetime64[ms]")).tz_localize("UTC")
    return utc.tz_convert(ZoneInfo(zone)).tz_localize(None).to_numpy()

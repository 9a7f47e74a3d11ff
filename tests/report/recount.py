"""An independent recount: plain Python over activities, one at a time, with `zoneinfo` and no arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from uar.activity import ActivityType
from uar.report.mirror import Mirror
from uar.report.selection import Selection

ZONES = (
    "UTC",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Asia/Kolkata",
    "Pacific/Apia",
    "Antarctica/Troll",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Asia/Beirut",
    "Africa/Casablanca",
    "Pacific/Chatham",
    "America/New_York",
    "Pacific/Kiritimati",
    "Etc/GMT+12",
)


@dataclass(frozen=True)
class Act:
    """One activity, by ids, at an instant in epoch milliseconds."""

    person: int
    at: int
    type: ActivityType
    space: int


def mirror_of(acts: list[Act]) -> Mirror:
    return Mirror.empty().grown(*columns_of(acts))


def columns_of(acts: list[Act]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.array([act.person for act in acts], dtype=np.int32),
        np.array([act.at // 900_000 for act in acts], dtype=np.int32),
        np.array([act.type for act in acts], dtype=np.int8),
        np.array([act.space for act in acts], dtype=np.int32),
    )


def local_time(at: int, zone: str) -> datetime:
    return datetime.fromtimestamp(at // 1000, UTC).astimezone(ZoneInfo(zone))


def counted(acts: list[Act], selection: Selection) -> list[tuple[date, Act]]:
    """The activities that the selection counts, each with its local date."""
    found = []
    for act in acts:
        day = local_time(act.at, selection.zone).date()
        if not selection.first <= day <= selection.last or act.type not in selection.types or act.person in selection.left_out:
            continue
        if selection.spaces is not None and act.space not in selection.spaces:
            continue
        if selection.people is not None and act.person not in selection.people:
            continue
        found.append((day, act))
    return found


def naive_calendar(acts: list[Act], selection: Selection) -> list[tuple[date, int, int, list[int]]]:
    """Per day of the range: date, events, people, events of the ten types."""
    found = counted(acts, selection)
    rows = []
    day = selection.first
    while day <= selection.last:
        todays = [act for local, act in found if local == day]
        kinds = Counter(act.type for act in todays)
        people = {act.person for act in todays if act.person != 0}
        rows.append((day, len(todays), len(people), [kinds[kind] for kind in ActivityType]))
        day += timedelta(days=1)
    return rows


def naive_breakdown(acts: list[Act], selection: Selection) -> list[tuple[str, int, float, int]]:
    found = [act for _, act in counted(acts, selection)]
    rows = []
    for kind in ActivityType:
        of_type = [act for act in found if act.type == kind]
        share = len(of_type) / len(found) if found else 0.0
        rows.append((kind.name.lower(), len(of_type), share, len({act.person for act in of_type if act.person})))
    return rows


def naive_current(active: set[date], today: date, is_skipped: set[date], earliest: date) -> tuple[int, bool]:
    """Walk back from today, day by day."""
    length, is_open, day = 0, False, today
    while day >= earliest:
        if day in active:
            length += 1
        elif day in is_skipped:
            pass
        elif day == today:
            is_open = True
        else:
            break
        day -= timedelta(days=1)
    return length, is_open and length > 0


def naive_longest(active: set[date], first: date, last: date, is_skipped: set[date]) -> tuple[int, date | None, date | None]:
    best: tuple[int, date | None, date | None] = (0, None, None)
    length, begin, end, day = 0, first, first, first
    while day <= last:
        if day in active:
            begin = begin if length else day
            length, end = length + 1, day
            if length > best[0]:
                best = (length, begin, end)
        elif day not in is_skipped:
            length = 0
        day += timedelta(days=1)
    return best

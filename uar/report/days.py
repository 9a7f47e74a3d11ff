"""Numbers per local day: the calendar, and who was active on which day."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from uar.activity import ActivityType
from uar.report.blocks import Int32, Int64
from uar.report.counting import counted_people, day_groups, days_in_range, events_and_seen, events_by_person, seen
from uar.report.mirror import Mirror
from uar.report.selection import Selection
from uar.report.walk import Bools


class Presence(NamedTuple):
    """Who was active when. `people` are person ids, ascending; `active` is bool [days of the range, people]."""

    people: Int32
    active: Bools


class PersonCounts(NamedTuple):
    """Who did how much. `people` are person ids, ascending; `events` is int64 [people, the ten types]."""

    people: Int32
    events: Int64


def calendar(mirror: Mirror, selection: Selection) -> pd.DataFrame:
    """Every day of the range, zeros included, ascending.

    Columns: day datetime64[s] (the local date), events int64, people int64 (distinct, without the unknown person), then one int64
    column of events per type: view, create, update, delete, comment, like, attachment, label, space, other.
    """
    return mirror.memo.answer(("calendar", selection), lambda: _calendar(mirror, selection)).copy(deep=False)


def _calendar(mirror: Mirror, selection: Selection) -> pd.DataFrame:
    days = days_in_range(selection)
    by_type, active = events_and_seen(mirror, selection, days, day_groups(selection))
    first = np.datetime64(selection.first, "D")
    columns = {
        "day": np.arange(first, first + days).astype("datetime64[s]"),
        "events": by_type.sum(axis=1),
        "people": np.count_nonzero(active, axis=1).astype(np.int64),
    }
    return pd.DataFrame(columns | {kind.key: by_type[:, kind] for kind in ActivityType})


def presence(mirror: Mirror, selection: Selection) -> Presence:
    """Which counted people were active on which day of the range. Everybody the mirror knows is a column, also the inactive."""
    active = seen(mirror, selection, days_in_range(selection), day_groups(selection))
    order = _counted_order(mirror, selection)
    return Presence(mirror.people.ids[order], active[:, order])


def person_counts(mirror: Mirror, selection: Selection) -> PersonCounts:
    """Events per counted person and type in the range. Same people, in the same order, as `presence`."""
    order = _counted_order(mirror, selection)
    return PersonCounts(mirror.people.ids[order], events_by_person(mirror, selection)[order])


def _counted_order(mirror: Mirror, selection: Selection) -> Int64:
    order = mirror.people.order
    return order[counted_people(mirror, selection)[order]]

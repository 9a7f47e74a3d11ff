"""Numbers per event type, and how many people were active at all."""

from __future__ import annotations

import numpy as np
import pandas as pd

from uar.activity import ActivityType
from uar.report.counting import Bools, day_groups, days_in_range, seen, slot_events, slots_of_types
from uar.report.mirror import TYPES, Mirror
from uar.report.selection import Selection


def breakdown(mirror: Mirror, selection: Selection) -> pd.DataFrame:
    """The ten types in their fixed order, zeros included.

    Columns: type str (lower-case key), events int64, share float64 (of all events of the selection, 0 to 1; 0 without events),
    people int64 (distinct people with an event of the type, without the unknown person).
    """
    return mirror.memo.answer(("breakdown", selection), lambda: _breakdown(mirror, selection)).copy(deep=False)


def _breakdown(mirror: Mirror, selection: Selection) -> pd.DataFrame:
    events = slot_events(mirror, selection, days_in_range(selection), day_groups(selection)).sum(axis=0)
    columns = {
        "type": pd.array([kind.key for kind in ActivityType], dtype="str"),
        "events": events,
        "share": events / max(int(events.sum()), 1),
        "people": np.count_nonzero(_people_by_type(mirror, selection), axis=1).astype(np.int64),
    }
    return pd.DataFrame(columns)


def active_people(mirror: Mirror, selection: Selection) -> int:
    """How many distinct people have at least one event in the selection, without the unknown person."""
    return int(np.count_nonzero(_people_by_type(mirror, selection).any(axis=0)))


def _people_by_type(mirror: Mirror, selection: Selection) -> Bools:
    return mirror.memo.answer(("people by type", selection), lambda: seen(mirror, selection, TYPES, slots_of_types(selection)))

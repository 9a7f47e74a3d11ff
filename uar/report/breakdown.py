"""Numbers per event type, and how many people were active at all."""

from __future__ import annotations

import numpy as np
import pandas as pd

from uar.activity import ActivityType
from uar.report.blocks import Int64, UInt16
from uar.report.counting import events_and_types_seen
from uar.report.mirror import Mirror
from uar.report.selection import Selection


def breakdown(mirror: Mirror, selection: Selection) -> pd.DataFrame:
    """The ten types in their fixed order, zeros included.

    Columns: type str (lower-case key), events int64, share float64 (of all events of the selection, 0 to 1; 0 without events),
    people int64 (distinct people with an event of the type, without the unknown person).
    """
    return mirror.memo.answer(("breakdown", selection), lambda: _breakdown(mirror, selection)).copy(deep=False)


def _breakdown(mirror: Mirror, selection: Selection) -> pd.DataFrame:
    events, types = _events_and_types(mirror, selection)
    columns = {
        "type": pd.array([kind.key for kind in ActivityType], dtype="str"),
        "events": events,
        "share": events / max(int(events.sum()), 1),
        "people": np.array([np.count_nonzero(types & np.uint16(1 << kind)) for kind in ActivityType], dtype=np.int64),
    }
    return pd.DataFrame(columns)


def active_people(mirror: Mirror, selection: Selection) -> int:
    """How many distinct people have at least one event in the selection, without the unknown person."""
    return int(np.count_nonzero(_events_and_types(mirror, selection)[1]))


def _events_and_types(mirror: Mirror, selection: Selection) -> tuple[Int64, UInt16]:
    return mirror.memo.answer(("events and types", selection), lambda: events_and_types_seen(mirror, selection))

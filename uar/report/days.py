"""Numbers per local day: the calendar."""

from __future__ import annotations

import numpy as np
import pandas as pd

from uar.activity import ActivityType
from uar.report.counting import day_groups, days_in_range, events_and_seen
from uar.report.mirror import Mirror
from uar.report.selection import Selection


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

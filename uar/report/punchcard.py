"""When in the week things happen: events per weekday and local hour, never for fewer than a handful of people."""

from __future__ import annotations

import numpy as np
import pandas as pd

from uar.report.blocks import Int64
from uar.report.breakdown import active_people
from uar.report.counting import NOWHERE, GroupOf, day_groups, slot_events
from uar.report.mirror import Mirror
from uar.report.selection import Selection
from uar.report.streaks import FIRST_WEEKDAY
from uar.report.zones import local_days, local_hours

MIN_PEOPLE = 5


def punchcard(mirror: Mirror, selection: Selection, min_people: int = MIN_PEOPLE) -> pd.DataFrame:
    """Events by weekday and hour of the selection's zone: 7 rows (index 0 = Monday) by 24 columns (0 to 23), Int64.

    All cells are <NA> if the selection has fewer than `min_people` distinct people: hours of a single person are nobody's business.
    """
    if active_people(mirror, selection) < min_people:
        return pd.DataFrame(index=range(7), columns=range(24), dtype="Int64")
    card: pd.DataFrame = mirror.memo.answer(("punchcard", selection), lambda: _punchcard(mirror, selection))
    return card.copy(deep=False)


def _punchcard(mirror: Mirror, selection: Selection) -> pd.DataFrame:
    cells = slot_events(mirror, selection, 7 * 24, _hour_groups(selection)).sum(axis=1).reshape(7, 24)
    return pd.DataFrame(cells, index=range(7), columns=range(24), dtype="Int64")


def _hour_groups(selection: Selection) -> GroupOf:
    """Group = weekday * 24 + hour, -1 outside the range."""
    inside = day_groups(selection)

    def of(block: int) -> Int64:
        weekday = (local_days(selection.zone, block) + FIRST_WEEKDAY) % 7
        return np.where(inside(block) == NOWHERE, NOWHERE, weekday * 24 + local_hours(selection.zone, block))

    return of

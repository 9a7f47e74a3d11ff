"""Gaps in recording: when no worker was up between the first start of one and now, and which local days that makes unknown.

coverage rows (one per run of a worker) -> `gaps` -> `unknown_days` of a zone -> hatched in the calendar, bridged by streaks
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd

from uar.report.status import local_date
from uar.report.zones import day_number, day_of

# A worker tells every 30 s that it is up, and one that restarts is away for seconds. Forge repeats its calls over such a pause.
SHORTEST_GAP_MS = 15 * 60_000


class Gap(NamedTuple):
    """A time without recording, epoch milliseconds; `until` is not part of it."""

    since: int
    until: int


def gaps(coverage: pd.DataFrame, now: int, shortest_ms: int = SHORTEST_GAP_MS) -> tuple[Gap, ...]:
    """The gaps of at least `shortest_ms` up to `now`, ascending.

    `coverage` has the int64 columns started_at and ended_at (epoch milliseconds), in any order; runs of several workers may overlap.
    Without any row nothing was recorded at all, which is no gap. What a clock that was ahead noted for later than `now` does not count.
    """
    if coverage.empty:
        return ()
    runs = coverage.sort_values("started_at", kind="stable")
    up_to = np.maximum.accumulate(runs["ended_at"].to_numpy(dtype=np.int64))
    starts = np.minimum(np.append(runs["started_at"].to_numpy(dtype=np.int64)[1:], now), now)
    return tuple(Gap(int(since), int(until)) for since, until in zip(up_to, starts, strict=True) if until - since >= shortest_ms)


def unknown_days(found: tuple[Gap, ...], zone: str) -> frozenset[date]:
    """The local dates in `zone` that a gap touches."""
    days: set[int] = set()
    for gap in found:
        first, last = (day_number(local_date(instant, zone)) for instant in (gap.since, gap.until - 1))
        days.update(range(first, last + 1))
    return frozenset(map(day_of, days))

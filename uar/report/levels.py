"""Color levels of the calendar: 0 for nothing, 1 to 4 by quartiles of the active days in view, and what the legend prints.

Days above Q3 + 1.5 · IQR do not shift the quartiles (they are level 4 anyway), so that one mass import does not bleach a year.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FIXED_STARTS = (1, 2, 5, 10)
FEWEST_DAYS = 8
FEWEST_VALUES = 4

Range = tuple[int, int | None]


class Levels(NamedTuple):
    """`level` is int8 per day. `starts` holds the lowest number of levels 1 to 4 (equal to the next one's if a level is empty).

    `ranges` is what the legend prints for levels 0 to 4: (lowest, highest), the highest of the top level None; None for a level
    that no number can have, because quartiles coincide.
    """

    level: NDArray[np.int8]
    starts: tuple[int, int, int, int]
    ranges: tuple[Range | None, ...]


def levels(values: NDArray[Any]) -> Levels:
    """The levels of these numbers of events (or people) per day in view, whole and not negative."""
    starts = _starts(np.asarray(values, dtype=np.int64))
    level = np.searchsorted(starts, values, side="right").astype(np.int8)
    return Levels(level, starts, _ranges(starts))


def _starts(values: NDArray[np.int64]) -> tuple[int, int, int, int]:
    active = values[values > 0]
    if len(active) < FEWEST_DAYS or len(np.unique(active)) < FEWEST_VALUES:
        return FIXED_STARTS
    low, high = np.quantile(active, [0.25, 0.75])
    usual = active[active <= high + 1.5 * (high - low)]
    # A whole number is above a quartile exactly if it is above its whole part.
    first, second, third = (int(quartile) + 1 for quartile in np.quantile(usual, [0.25, 0.5, 0.75]))
    return 1, first, second, third


def _ranges(starts: tuple[int, int, int, int]) -> tuple[Range | None, ...]:
    ends = (starts[1] - 1, starts[2] - 1, starts[3] - 1, None)
    return (0, 0), *((low, high) if high is None or low <= high else None for low, high in zip(starts, ends, strict=True))

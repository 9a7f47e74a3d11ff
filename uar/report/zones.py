"""Local time of quarters of an hour, a week at a time: which date and which hour it was on the wall, by `zoneinfo`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from uar.report.blocks import QUARTERS_PER_BLOCK

QUARTER_S = 900
DAY_S = 86_400
QUARTERS_PER_DAY = 96
EPOCH = date(1970, 1, 1)


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def day_of(number: int) -> date:
    """The date so many days after 1970-01-01."""
    return EPOCH + timedelta(days=number)


def local_days(zone: str, block: int) -> NDArray[np.int64]:
    """The local date, as days since 1970-01-01, at the start of each quarter of week `block`."""
    return _local_seconds(zone, block) // DAY_S


def local_hours(zone: str, block: int) -> NDArray[np.int64]:
    """The local hour, 0 to 23, at the start of each quarter of week `block`."""
    return _local_seconds(zone, block) % DAY_S // 3600


@lru_cache(maxsize=16_384)
def _local_seconds(zone: str, block: int) -> NDArray[np.int64]:
    """Seconds since 1970-01-01 00:00 on the wall clock of `zone`, for each quarter of week `block`."""
    first = block * QUARTERS_PER_BLOCK
    quarters = np.arange(first, first + QUARTERS_PER_BLOCK)
    local = quarters * QUARTER_S + _offsets(ZoneInfo(zone), first)
    local.flags.writeable = False
    return local


def _offsets(zone: ZoneInfo, first: int) -> NDArray[np.int64]:
    """The offset from UTC, in seconds, at each quarter of the week that begins at `first`."""
    offsets = np.empty(QUARTERS_PER_BLOCK, dtype=np.int64)
    for day in range(0, QUARTERS_PER_BLOCK, QUARTERS_PER_DAY):
        _fill(offsets, zone, first, day, day + QUARTERS_PER_DAY - 1)
    return offsets


def _fill(offsets: NDArray[np.int64], zone: ZoneInfo, first: int, low: int, high: int) -> None:
    """Set offsets[low..high]. No zone changes its clock twice within a day, so equal ends mean an equal middle."""
    at_low, at_high = _offset(zone, first + low), _offset(zone, first + high)
    if at_low == at_high or high - low == 1:
        offsets[low:high] = at_low
        offsets[high] = at_high
        return
    middle = (low + high) // 2
    _fill(offsets, zone, first, low, middle)
    _fill(offsets, zone, first, middle, high)


def _offset(zone: ZoneInfo, quarter: int) -> int:
    offset = datetime.fromtimestamp(quarter * QUARTER_S, UTC).astimezone(zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0

"""A generated site: who did what when, month by month, seeded, with the habits that matter for speed.

A few people do most, nights and weekends are quiet, zones differ, most activities are views, and a person's clicks come in bursts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
TYPE_SHARES = (0.78, 0.03, 0.08, 0.005, 0.04, 0.03, 0.02, 0.01, 0.002, 0.003)
WEEKDAY_WEIGHTS = (1.0, 1.1, 1.1, 1.0, 0.8, 0.08, 0.06)
OFFSET_HOURS = (-8, -5, 0, 1, 1, 1, 5.5, 9)
CLICKS_PER_BURST = 6


@dataclass(frozen=True)
class Site:
    """How large the site is; it ends on `last`, `days` days after it began. Person 0 is the unknown one; `apps` are left out."""

    people: int
    activities: int
    days: int = 365
    last: date = date(2026, 6, 30)
    seed: int = 42

    @property
    def first(self) -> date:
        """The first day."""
        return self.last - timedelta(days=self.days - 1)

    @property
    def spaces(self) -> int:
        """How many spaces there are."""
        return max(20, self.people // 15)

    @property
    def apps(self) -> frozenset[int]:
        """The people who are apps."""
        return frozenset(range(self.people - self.people // 500, self.people + 1))


@dataclass(frozen=True)
class Raw:
    """Activities as a source delivers them, one per element, by time; `at` in epoch milliseconds."""

    person: NDArray[np.int32]
    at: NDArray[np.int64]
    type: NDArray[np.int8]
    space: NDArray[np.int32]

    @property
    def quarter(self) -> NDArray[np.int32]:
        """`at` in quarters of an hour."""
        return (self.at // 900_000).astype(np.int32)


def months(site: Site) -> Iterator[Raw]:
    """The site's activities, thirty days at a time."""
    random = np.random.default_rng(site.seed)
    popularity = random.lognormal(0, 0.8, site.people + 1)
    popularity[0] = popularity.mean()  # nobody knows who
    spaces = random.zipf(1.3, 100_000) % site.spaces + 1
    starts = range(0, site.days, 30)
    days_done = np.array([min(start + 30, site.days) for start in starts])
    done = site.activities * days_done // site.days
    for start, count in zip(starts, np.diff(done, prepend=0), strict=True):
        yield _month(site, random, popularity, spaces, start, int(count))


def _month(site: Site, random: np.random.Generator, popularity: NDArray[np.float64], spaces: NDArray[np.int64], start: int, n: int) -> Raw:
    bursts = -(-n // CLICKS_PER_BURST)
    days = np.arange(start, min(start + 30, site.days))
    weekdays = (np.datetime64(site.first, "D") + days).astype(np.int64) + 3  # 1970-01-01 was a Thursday
    weight = np.array(WEEKDAY_WEIGHTS)[weekdays % 7]
    person = _pick(random, popularity, bursts)
    offset = np.array(OFFSET_HOURS)[person % len(OFFSET_HOURS)] * HOUR_MS
    local = days[_pick(random, weight, bursts)] * DAY_MS + np.clip(random.normal(13, 3, bursts), 0, 23.9) * HOUR_MS
    begin = datetime(site.first.year, site.first.month, site.first.day, tzinfo=UTC)
    burst_at = int(begin.timestamp() * 1000) + (local - offset).astype(np.int64)
    at = np.repeat(burst_at, CLICKS_PER_BURST)[:n] + random.integers(0, 600_000, n)
    order = np.argsort(at, kind="stable")
    people = np.repeat(person, CLICKS_PER_BURST)[:n][order].astype(np.int32)
    kinds = _pick(random, np.array(TYPE_SHARES), n).astype(np.int8)
    return Raw(people, at[order], kinds, spaces[random.integers(0, len(spaces), n)].astype(np.int32))


def _pick(random: np.random.Generator, weights: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Positions drawn by weight."""
    return np.searchsorted(np.cumsum(weights) / weights.sum(), random.random(n)).clip(0, len(weights) - 1)

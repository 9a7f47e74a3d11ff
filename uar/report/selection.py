"""What a report is asked about: days, zone, and which types, spaces and people count."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from uar.activity import ActivityType


@dataclass(frozen=True)
class Selection:
    """The filters of one question. `first` and `last` are local dates in `zone`, both included; None means "all".

    `left_out` are the ids of people whose activities do not count at all (apps, by default). The unknown person (id 0) counts in
    events and never in people.
    """

    first: date
    last: date
    zone: str
    types: frozenset[ActivityType] = frozenset(ActivityType)
    spaces: frozenset[int] | None = None
    people: frozenset[int] | None = None
    left_out: frozenset[int] = frozenset()

"""One week of the mirror: its rows, sorted by person and time, and what is worked out from them once.

`Block` holds the rows · `Cells` and tallies are made when first asked for · `packed_keys` and `Block.of_keys` sort and merge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uar.activity import ActivityType
from uar.report.memo import Memo

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt16 = NDArray[np.uint16]
UInt64 = NDArray[np.uint64]

QUARTERS_PER_BLOCK = 7 * 96
TYPES = len(ActivityType)
SLOTS = QUARTERS_PER_BLOCK * TYPES  # a slot is one quarter of an hour and one type of a block: quarter * TYPES + type
# A sort key packs person code, slot and space code into 64 bits: 27 + 13 + 24.
SLOT_BITS, SPACE_BITS = 13, 24
PIECE = 131_072  # rows
MOST_PEOPLE, MOST_SPACES = 1 << 27, 1 << SPACE_BITS


class Cells(NamedTuple):
    """Who acted in which quarter of the week: sorted by person code and quarter, each pair once; `types` are bits (1 << type)."""

    person: Int32
    quarter: UInt16
    types: UInt16


@dataclass(frozen=True, eq=False)
class Block:
    """The activities of UTC week `number` (week 0 begins at the epoch), sorted by person code, slot and space code.

    `totals` are the events per slot, whoever acted and wherever: int64 of length `SLOTS`. `memo` keeps the last parts by spaces.
    """

    number: int
    person: Int32
    slot: UInt16
    space: NDArray[Any]
    count: NDArray[Any]
    totals: Int64
    memo: Memo = field(default_factory=lambda: Memo(2), repr=False)

    def __len__(self) -> int:
        return len(self.person)

    @property
    def first_quarter(self) -> int:
        """The quarter at which this week begins."""
        return self.number * QUARTERS_PER_BLOCK

    @cached_property
    def cells(self) -> Cells:
        """The rows without spaces and counts: a burst of clicks is one cell. Made when first asked for."""
        parts = [cells_of(self.person[part], self.slot[part]) for part in pieces(self.person)]
        return Cells(*map(np.concatenate, zip(*parts, strict=True)))

    @cached_property
    def types_by_person(self) -> tuple[Int32, UInt16]:
        """Everybody who acted this week, ascending, and the types they did, bit by bit. Made when first asked for."""
        return by_person(self.cells.person, self.cells.types)

    @cached_property
    def tallies(self) -> tuple[Int32, NDArray[Any]]:
        """Everybody who acted this week, ascending, and their events per type. Made when first asked for."""
        parts = [tally(self.person[part], self.slot[part], self.count[part]) for part in pieces(self.person)]
        return np.concatenate([person for person, _ in parts]), np.concatenate([events for _, events in parts])

    def prepare(self) -> None:
        """Make now what would be made when first asked for."""
        _ = self.types_by_person, self.tallies

    def in_spaces(self, in_space: NDArray[np.bool_]) -> Block | None:
        """The rows in some spaces (bool per space code); None if there are none."""
        # Positions and `take` cost half of what masks do.
        keep = np.flatnonzero(in_space.take(self.space, mode="clip"))
        if not len(keep):
            return None
        slot, count = self.slot.take(keep), self.count.take(keep)
        return Block(self.number, self.person.take(keep), slot, self.space.take(keep), count, slot_totals(slot, count))

    def keys(self) -> UInt64:
        """The sort key of every activity, ascending: a row with count 3 stands three times."""
        return np.repeat(packed_keys(self.person, self.slot, self.space), self.count)

    @staticmethod
    def of_keys(number: int, keys: UInt64) -> Block:
        """The block of these sorted keys; equal ones become one row with a count."""
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        count = np.diff(np.append(starts, len(keys)))
        keys = keys[starts]
        space = keys & np.uint64(MOST_SPACES - 1)
        slot = (keys >> np.uint64(SPACE_BITS)) & np.uint64((1 << SLOT_BITS) - 1)
        person = keys >> np.uint64(SPACE_BITS + SLOT_BITS)
        slot = slot.astype(np.uint16)
        return Block(number, person.astype(np.int32), slot, _smallest(space), _smallest(count), slot_totals(slot, count))

    def grown(self, keys: UInt64) -> Block:
        """This block with the activities of these sorted keys."""
        # A stable sort of two sorted runs is one merge.
        return Block.of_keys(self.number, np.sort(np.concatenate([self.keys(), keys]), kind="stable"))


def packed_keys(person: Int32, slot: NDArray[Any], space: NDArray[Any]) -> UInt64:
    """The sort keys of activities, by codes of person and space."""
    keys = person.astype(np.uint64) << np.uint64(SLOT_BITS)
    keys |= slot.astype(np.uint64)
    keys <<= np.uint64(SPACE_BITS)
    keys |= space.astype(np.uint64)
    return keys


def slot_totals(slot: UInt16, count: NDArray[Any]) -> Int64:
    """Sum of `count` per slot, int64 of length `SLOTS`."""
    # Nearly all counts are 1, and counting rows is much faster than adding weights.
    totals = np.bincount(slot, minlength=SLOTS)
    several = np.flatnonzero(count > 1)
    if len(several):
        totals += np.bincount(slot[several], weights=count[several] - 1.0, minlength=SLOTS).astype(np.int64)
    return totals


def pieces(person: Int32) -> Iterator[slice]:
    """Slices of sorted `person`, small enough for the processor's cache, that leave the rows of a person together."""
    start = 0
    while start < len(person):
        end = min(start + PIECE, len(person))
        end = int(np.searchsorted(person, person[end - 1], side="right"))
        yield slice(start, end)
        start = end


def cells_of(person: Int32, slot: UInt16) -> Cells:
    """The cells of sorted and not empty rows."""
    quarter = slot // np.uint16(TYPES)
    starts = np.flatnonzero(np.concatenate([[True], (person[1:] != person[:-1]) | (quarter[1:] != quarter[:-1])]))
    bits = np.left_shift(np.uint16(1), slot - quarter * np.uint16(TYPES))
    return Cells(person[starts], quarter[starts], np.bitwise_or.reduceat(bits, starts))


def by_person(person: Int32, types: UInt16) -> tuple[Int32, UInt16]:
    """Each person once, of sorted and not empty `person`, and all bits of their `types`."""
    starts = np.flatnonzero(np.concatenate([[True], person[1:] != person[:-1]]))
    return person[starts], np.bitwise_or.reduceat(types, starts)


def tally(person: Int32, slot: UInt16, count: NDArray[Any]) -> tuple[Int32, NDArray[Any]]:
    """Each person once, of sorted and not empty `person`, and their events per type: whole numbers [people, 10]."""
    starts = np.flatnonzero(np.concatenate([[True], person[1:] != person[:-1]]))
    place = np.repeat(np.arange(len(starts)) * TYPES, np.diff(starts, append=len(person)))
    place += slot - slot // np.uint16(TYPES) * np.uint16(TYPES)  # much faster than %
    several = np.flatnonzero(count > 1)
    events = np.bincount(place, minlength=len(starts) * TYPES)
    if len(several):
        events += np.bincount(place[several], weights=count[several] - 1.0, minlength=len(events)).astype(np.int64)
    return person[starts], _smallest(events).reshape(-1, TYPES)


def _smallest(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.min_scalar_type(int(values.max())))

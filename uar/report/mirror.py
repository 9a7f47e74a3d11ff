"""The activities in memory: columns in blocks of one week, each block sorted by person and time.

`Codes` number ids in order of appearance · `Block` holds one UTC week · `Mirror` is the immutable whole.

A new activity nearly always belongs to the newest week, so growing rebuilds that one block and shares all others. A question reads
only the weeks its days touch, block after block, small enough for the processor's cache. Nothing depends on a timezone here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uar.activity import ActivityType
from uar.report.memo import Memo

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt16 = NDArray[np.uint16]
UInt64 = NDArray[np.uint64]

QUARTER_MS = 900_000
QUARTERS_PER_BLOCK = 7 * 96
TYPES = len(ActivityType)
SLOTS = QUARTERS_PER_BLOCK * TYPES  # a slot is one quarter of an hour and one type of a block: quarter * TYPES + type
# A sort key packs person code, slot and space code into 64 bits: 27 + 13 + 24.
SLOT_BITS, SPACE_BITS = 13, 24
MOST_PEOPLE, MOST_SPACES = 1 << 27, 1 << SPACE_BITS


@dataclass(frozen=True, eq=False)
class Columns:
    """Plain columns of equal length, sorted by person, quarter, type and space; each such key stands once, with its count."""

    person: Int32
    quarter: Int32
    type: Int8
    space: Int32
    count: Int32


@dataclass(frozen=True, eq=False)
class Codes:
    """Ids numbered 0, 1, 2 … in order of appearance, so that a code never changes while the mirror grows."""

    ids: Int32

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def order(self) -> Int64:
        """The codes in ascending order of their ids."""
        return np.argsort(self.ids, kind="stable")

    @cached_property
    def sorted_ids(self) -> Int32:
        """The ids, ascending."""
        return self.ids[self.order]

    def grown(self, ids: Int32) -> Codes:
        """These codes and, after them, one for each id not seen before, in ascending order of the new ids."""
        unknown = np.setdiff1d(_distinct(ids), self.ids)
        return Codes(np.concatenate([self.ids, unknown.astype(np.int32)])) if len(unknown) else self

    def of(self, ids: Int32) -> Int32:
        """The code of each id; all ids must be known."""
        highest = int(self.sorted_ids[-1]) if len(self) else 0
        if highest < len(ids):  # a table is much faster than a search, and small here
            table = np.zeros(highest + 1, dtype=np.int32)
            table[self.ids] = np.arange(len(self), dtype=np.int32)
            return table[ids]
        return self.order[np.searchsorted(self.sorted_ids, ids)].astype(np.int32)

    def among(self, ids: frozenset[int]) -> Int64:
        """The codes, ascending, of those ids that are known."""
        wanted = np.fromiter((one for one in ids if 0 <= one < 2**31), dtype=np.int64)
        return np.flatnonzero(np.isin(self.ids, wanted))


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
        quarter = self.slot // np.uint16(TYPES)
        starts = np.flatnonzero(np.concatenate([[True], (self.person[1:] != self.person[:-1]) | (quarter[1:] != quarter[:-1])]))
        bits = np.left_shift(np.uint16(1), self.slot - quarter * np.uint16(TYPES))
        return Cells(self.person[starts], quarter[starts], np.bitwise_or.reduceat(bits, starts))

    @cached_property
    def types_by_person(self) -> tuple[Int32, UInt16]:
        """Everybody who acted this week, ascending, and the types they did, bit by bit. Made when first asked for."""
        return by_person(self.cells.person, self.cells.types)

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
        return np.repeat(_packed(self.person, self.slot, self.space), self.count)

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


@dataclass(frozen=True, eq=False)
class Mirror:
    """All activities of one site: blocks by week number, ascending, and the codes of people and spaces.

    `rows` is the number of rows (equal person, quarter, type and space are one row), `activities` the sum of their counts.
    `memo` remembers answers about this very mirror.
    """

    blocks: Mapping[int, Block]
    people: Codes
    spaces: Codes
    activities: int
    memo: Memo = field(default_factory=Memo, repr=False)

    @staticmethod
    def empty() -> Mirror:
        """A mirror without activities."""
        nobody = Codes(np.zeros(0, dtype=np.int32))
        return Mirror({}, nobody, nobody, 0)

    @staticmethod
    def of(person: Int32, quarter: Int32, type: Int8, space: Int32) -> Mirror:
        """The mirror of these activities, one per element, in any order."""
        return Mirror.empty().grown(person, quarter, type, space)

    def grown(self, person: Int32, quarter: Int32, type: Int8, space: Int32) -> Mirror:
        """This mirror and these activities; only the weeks they fall in are rebuilt. Raises `ValueError` above 134 million people."""
        if not len(person):
            return self
        people, spaces = self.people.grown(person), self.spaces.grown(space)
        if len(people) > MOST_PEOPLE or len(spaces) > MOST_SPACES:
            raise ValueError(f"The mirror holds at most {MOST_PEOPLE:,} people and {MOST_SPACES:,} spaces.")
        blocks = dict(self.blocks)
        for number, rows in _by_week(quarter):
            slot = (quarter[rows] - number * QUARTERS_PER_BLOCK) * TYPES + type[rows]
            keys = np.sort(_packed(people.of(person[rows]), slot, spaces.of(space[rows])))
            blocks[number] = blocks[number].grown(keys) if number in blocks else Block.of_keys(number, keys)
        return Mirror(dict(sorted(blocks.items())), people, spaces, self.activities + len(person))

    def since(self, quarter: int) -> Mirror:
        """This mirror without the activities before `quarter`; codes stay as they are."""
        number = quarter // QUARTERS_PER_BLOCK
        blocks = {block.number: block for block in self.blocks.values() if block.number > number}
        if number in self.blocks:
            keys = self.blocks[number].keys()
            slots = (keys >> np.uint64(SPACE_BITS)) & np.uint64((1 << SLOT_BITS) - 1)
            keys = keys[slots >= (quarter - number * QUARTERS_PER_BLOCK) * TYPES]
            blocks = {number: Block.of_keys(number, keys), **blocks} if len(keys) else blocks
        activities = sum(int(block.count.sum()) for block in blocks.values())
        return self if activities == self.activities else Mirror(blocks, self.people, self.spaces, activities)

    @cached_property
    def rows(self) -> int:
        """The number of rows in memory."""
        return sum(map(len, self.blocks.values()))

    @cached_property
    def columns(self) -> Columns:
        """Everything as plain columns: for checks and small mirrors, as it takes time and memory for all rows."""
        return _columns(self)

    @property
    def person(self) -> Int32:
        """Person id of every row of `columns`."""
        return self.columns.person

    @property
    def quarter(self) -> Int32:
        """Quarter of an hour since the epoch of every row of `columns`."""
        return self.columns.quarter

    @property
    def type(self) -> Int8:
        """`ActivityType` of every row of `columns`."""
        return self.columns.type

    @property
    def space(self) -> Int32:
        """Space id of every row of `columns`."""
        return self.columns.space

    @property
    def count(self) -> Int32:
        """Number of activities of every row of `columns`."""
        return self.columns.count

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mirror):
            return False
        ours, theirs = vars(self.columns), vars(other.columns)
        return all(np.array_equal(ours[name], theirs[name]) for name in ours)

    __hash__ = None  # type: ignore[assignment]


def slot_totals(slot: UInt16, count: NDArray[Any]) -> Int64:
    """Sum of `count` per slot, int64 of length `SLOTS`."""
    # Nearly all counts are 1, and counting rows is much faster than adding weights.
    totals = np.bincount(slot, minlength=SLOTS)
    several = np.flatnonzero(count > 1)
    if len(several):
        totals += np.bincount(slot[several], weights=count[several] - 1.0, minlength=SLOTS).astype(np.int64)
    return totals


def by_person(person: Int32, types: UInt16) -> tuple[Int32, UInt16]:
    """Each person once, of sorted and not empty `person`, and all bits of their `types`."""
    starts = np.flatnonzero(np.concatenate([[True], person[1:] != person[:-1]]))
    return person[starts], np.bitwise_or.reduceat(types, starts)


def _distinct(ids: Int32) -> Int32:
    highest = int(ids.max())
    if highest > len(ids):
        return np.unique(ids)
    is_there = np.zeros(highest + 1, dtype=bool)
    is_there[ids] = True
    return np.flatnonzero(is_there).astype(np.int32)


def _packed(person: Int32, slot: NDArray[Any], space: NDArray[Any]) -> UInt64:
    keys = person.astype(np.uint64) << np.uint64(SLOT_BITS)
    keys |= slot.astype(np.uint64)
    keys <<= np.uint64(SPACE_BITS)
    keys |= space.astype(np.uint64)
    return keys


def _smallest(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.min_scalar_type(int(values.max())))


def _by_week(quarter: Int32) -> Iterator[tuple[int, Int64 | slice]]:
    """Each week's number and the positions of its activities."""
    week = (quarter // QUARTERS_PER_BLOCK).astype(np.int16)  # 16 bits reach the year 2597, and sort by radix
    first = int(week[0])
    if (week == first).all():
        yield first, slice(None)
        return
    order = np.argsort(week, kind="stable")
    sorted_weeks = week[order]
    starts = np.flatnonzero(np.concatenate([[True], sorted_weeks[1:] != sorted_weeks[:-1]]))
    for start, end in zip(starts, np.append(starts[1:], len(order)), strict=True):
        yield int(sorted_weeks[start]), order[start:end]


def _columns(mirror: Mirror) -> Columns:
    blocks = list(mirror.blocks.values())
    if not blocks:
        wide, narrow = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int8)
        return Columns(wide, wide, narrow, wide, wide)
    person = mirror.people.ids[np.concatenate([block.person for block in blocks])]
    quarter = np.concatenate([block.slot // TYPES + np.int32(block.first_quarter) for block in blocks]).astype(np.int32)
    kind = np.concatenate([block.slot % TYPES for block in blocks]).astype(np.int8)
    space = mirror.spaces.ids[np.concatenate([block.space for block in blocks])]
    count = np.concatenate([block.count for block in blocks]).astype(np.int32)
    order = np.lexsort((space, kind, quarter, person))
    return Columns(person[order], quarter[order], kind[order], space[order], count[order])

"""The activities in memory: columns in blocks of one week, each block sorted by person and time.

`Codes` number ids in order of appearance · a `Block` (see `blocks`) holds one UTC week · `Mirror` is the immutable whole.

A new activity nearly always belongs to the newest week, so growing rebuilds that one block and shares all others. A question reads
only the weeks its days touch, block after block, small enough for the processor's cache. Nothing depends on a timezone here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from uar.report.blocks import MOST_PEOPLE, MOST_SPACES, QUARTERS_PER_BLOCK, SLOT_BITS, SPACE_BITS, TYPES, Block, Int32, Int64, packed_keys
from uar.report.memo import Memo

Int8 = NDArray[np.int8]

QUARTER_MS = 900_000


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


MOST_TABLES = 8  # of 150,000 people some 50 MB each


@dataclass(frozen=True, eq=False)
class Mirror:
    """All activities of one site: blocks by week number, ascending, and the codes of people and spaces.

    `rows` is the number of rows (equal person, quarter, type and space are one row), `activities` the sum of their counts.
    `memo` remembers answers about this very mirror; `tables` the few that have a row for everybody, which are large.
    """

    blocks: Mapping[int, Block]
    people: Codes
    spaces: Codes
    activities: int
    memo: Memo = field(default_factory=Memo, repr=False)
    tables: Memo = field(default_factory=lambda: Memo(MOST_TABLES), repr=False)

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
            keys = np.sort(packed_keys(people.of(person[rows]), slot, spaces.of(space[rows])))
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


def _distinct(ids: Int32) -> Int32:
    highest = int(ids.max())
    if highest > len(ids):
        return np.unique(ids)
    is_there = np.zeros(highest + 1, dtype=bool)
    is_there[ids] = True
    return np.flatnonzero(is_there).astype(np.int32)


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

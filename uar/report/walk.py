"""Walking over the mirror for one question: which blocks, narrowed to which spaces, which rows of them, on two threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from uar.report.blocks import QUARTERS_PER_BLOCK, SLOTS, TYPES, Block, Cells, Int32, Int64, UInt16, by_person, slot_totals, tally
from uar.report.mirror import Mirror
from uar.report.selection import Selection
from uar.report.zones import day_number

T = TypeVar("T")
Bools = NDArray[np.bool_]
TypeParts = list[tuple[Int32, UInt16]]  # people, each once, and their types (bits)

THREADS = 2  # numpy lets go of Python's lock while it works; more threads gain little, as memory is the limit
CHUNK = 65_536  # rows at a time, so that what is computed on the way stays in the processor's cache
WORTH_A_THREAD = 200_000  # rows
FEW_PEOPLE = 16  # of them each block has so few rows that handing it to a thread costs more than counting them
MOST_REMEMBERED = 50_000_000  # rows of a mirror up to which any part by spaces is worth its memory,
SMALL_SHARE = 1 / 8  # and how large a part of a larger one may be
ALL_TYPES = (1 << TYPES) - 1


def blocks_in_range(mirror: Mirror, selection: Selection) -> list[Block]:
    """The blocks that may hold activities of the range; no local date is two days away from the UTC date."""
    low = (day_number(selection.first) - 2) * 96 // QUARTERS_PER_BLOCK
    high = (day_number(selection.last) + 3) * 96 // QUARTERS_PER_BLOCK
    return [block for number, block in mirror.blocks.items() if low <= number <= high]


def each_block(work: Callable[[Block], T], mirror: Mirror, selection: Selection) -> list[T]:
    """What `work` makes of every block of the range, narrowed to the selected spaces, in order."""
    blocks = blocks_in_range(mirror, selection)
    narrowed = _in_spaces(mirror, selection.spaces)

    def done(block: Block) -> T | None:
        part = narrowed(block)
        return None if part is None else work(part)

    is_small = sum(map(len, blocks)) < WORTH_A_THREAD or (selection.people is not None and len(selection.people) <= FEW_PEOPLE)
    results = map(done, blocks) if is_small else _pool().map(done, blocks)
    return [result for result in results if result is not None]


def _in_spaces(mirror: Mirror, spaces: frozenset[int] | None) -> Callable[[Block], Block | None]:
    if spaces is None:
        return lambda block: block
    in_space = np.zeros(len(mirror.spaces), dtype=bool)
    in_space[mirror.spaces.among(spaces)] = True
    share = 1 if mirror.rows <= MOST_REMEMBERED else SMALL_SHARE

    def narrowed(block: Block) -> Block | None:
        return block.memo.answer(
            spaces, lambda: block.in_spaces(in_space), is_worth=lambda part: part is None or len(part) <= share * len(block)
        )

    return narrowed


def prepare(mirror: Mirror) -> None:
    """Make what the first questions would otherwise wait for."""
    list(_pool().map(Block.prepare, mirror.blocks.values()))


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="report")


@dataclass(frozen=True)
class Source:
    """Where a question's rows come from: people (codes, ascending; None: all) and types (bits)."""

    people: Int64 | None
    bits: int

    def rows(self, block: Block) -> Iterator[tuple[Int32, UInt16, NDArray[Any]]]:
        """Person, slot and count of the rows, of any type, some at a time; never empty."""
        for part in self._parts(block.person):
            yield block.person[part], block.slot[part], block.count[part]

    def cells(self, block: Block) -> Iterator[Cells]:
        """The cells with a chosen type, some at a time; never empty."""
        person, quarter, types = block.cells
        for part in self._parts(person):
            cells = Cells(person[part], quarter[part], types[part])
            if self.bits == ALL_TYPES:
                yield cells
                continue
            keep = np.flatnonzero(cells.types & np.uint16(self.bits))
            if len(keep):
                yield Cells(cells.person.take(keep), cells.quarter.take(keep), cells.types.take(keep))

    def types(self, block: Block, inside: Bools) -> TypeParts:
        """Parts of people, each once, and their types (bits) in those quarters of the week that are `inside`."""
        if self.people is None and inside.all():
            return [block.types_by_person]
        return [by_person(person, types * inside.take(quarter, mode="clip")) for person, quarter, types in self.cells(block)]

    def tallies(self, block: Block, inside: Bools) -> list[tuple[Int32, NDArray[Any]]]:
        """Parts of people, each once, and their events per type in those quarters of the week that are `inside`."""
        if self.people is None and inside.all():
            return [block.tallies]
        slots_inside, parts = np.repeat(inside, TYPES), []
        for person, slot, count in self.rows(block):
            keep = np.flatnonzero(slots_inside.take(slot, mode="clip"))
            if len(keep):
                parts.append(tally(person.take(keep), slot.take(keep), count.take(keep)))
        return parts

    def totals(self, block: Block) -> Int64:
        """Events per slot."""
        totals = np.zeros(SLOTS, dtype=np.int64)
        for _, slot, count in self.rows(block):
            totals += slot_totals(slot, count)
        return totals

    def _parts(self, sorted_people: Int32) -> Iterator[slice | Int64]:
        """Which positions to look at, some at a time."""
        places = None if self.people is None else _places(sorted_people, self.people)
        for start in range(0, len(sorted_people) if places is None else len(places), CHUNK):
            yield slice(start, start + CHUNK) if places is None else places[start : start + CHUNK]


def _places(sorted_people: Int32, codes: Int64) -> Int64:
    """The positions of these people's rows, ascending."""
    wanted = codes.astype(np.int32)
    low, high = np.searchsorted(sorted_people, wanted), np.searchsorted(sorted_people, wanted, side="right")
    length = high - low
    before = np.cumsum(length) - length
    places: Int64 = np.arange(length.sum()) + np.repeat(low - before, length)
    return places

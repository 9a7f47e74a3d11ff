"""The questions behind every number, answered block by block on two threads.

    slot_events       events per group of quarters and type: from each block's totals, less those of people who do not count
    seen              which people acted in each group of quarters (a day): from each block's cells
    types_seen        which types each person did
    events_by_person  events per person and type

Filters: spaces first, as smaller blocks; people by the sort order; days by a table of quarters; types by bits.
"""

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
from uar.report.zones import day_number, local_days

T = TypeVar("T")
Bools = NDArray[np.bool_]
GroupOf = Callable[[int], Int64]  # week number -> the group of each of its quarters, or -1
Sums = tuple[Int64, Int64]  # groups, and events per type of each

UNKNOWN_PERSON = 0
NOWHERE = -1
THREADS = 2  # numpy lets go of Python's lock while it works; more threads gain little, as memory is the limit
CHUNK = 65_536  # rows at a time, so that what is computed on the way stays in the processor's cache
WORTH_A_THREAD = 200_000  # rows
MOST_REMEMBERED = 50_000_000  # rows of a mirror up to which its parts by spaces are worth their memory

ALL_TYPES = (1 << TYPES) - 1


def days_in_range(selection: Selection) -> int:
    """The number of days of the range."""
    return day_number(selection.last) - day_number(selection.first) + 1


def day_groups(selection: Selection) -> GroupOf:
    """Group = the day's place in the range, -1 outside."""
    first, days = day_number(selection.first), days_in_range(selection)

    def of(block: int) -> Int64:
        place = local_days(selection.zone, block) - first
        return np.where((place >= 0) & (place < days), place, NOWHERE)

    return of


def blocks_in_range(mirror: Mirror, selection: Selection) -> list[Block]:
    """The blocks that may hold activities of the range; no local date is two days away from the UTC date."""
    low = (day_number(selection.first) - 2) * 96 // QUARTERS_PER_BLOCK
    high = (day_number(selection.last) + 3) * 96 // QUARTERS_PER_BLOCK
    return [block for number, block in mirror.blocks.items() if low <= number <= high]


def seen(mirror: Mirror, selection: Selection, groups: int, quarter_groups: GroupOf) -> Bools:
    """Whether each person acted in each group of quarters: bool [groups, people by code]; never true for people who do not count."""
    marks = _Marks(mirror, selection, groups, quarter_groups)
    _each(marks.add, mirror, selection)
    return marks.found()


def slot_events(mirror: Mirror, selection: Selection, groups: int, quarter_groups: GroupOf) -> Int64:
    """Events per group of quarters and type: int64 [groups, 10]; types that are not chosen are zero."""
    sums = _Sums(mirror, selection, groups, quarter_groups)
    return sums.found(_each(sums.of, mirror, selection))


def events_and_seen(mirror: Mirror, selection: Selection, groups: int, quarter_groups: GroupOf) -> tuple[Int64, Bools]:
    """`slot_events` and `seen` in one go, as a filter by space is dear on a large mirror."""
    sums, marks = _Sums(mirror, selection, groups, quarter_groups), _Marks(mirror, selection, groups, quarter_groups)

    def both(block: Block) -> Sums:
        marks.add(block)
        return sums.of(block)

    return sums.found(_each(both, mirror, selection)), marks.found()


class _Marks:
    """A table of groups and people that is marked block by block, by several threads at once: a mark twice is a mark."""

    def __init__(self, mirror: Mirror, selection: Selection, groups: int, quarter_groups: GroupOf) -> None:
        self._groups, self._quarter_groups, self._width = groups, quarter_groups, len(mirror.people)
        self._source = _Source(_few(mirror, selection), type_bits(selection))
        self._counted = counted_people(mirror, selection)
        self._marks = np.zeros((groups + 1) * self._width, dtype=bool)  # the last line takes what is in no group

    def add(self, block: Block) -> bool:
        group = self._quarter_groups(block.number)
        lines = np.where(group == NOWHERE, self._groups, group) * self._width
        for person, quarter, _ in self._source.cells(block):
            place = lines.take(quarter, mode="clip")
            place += person
            np.put(self._marks, place, True, mode="clip")
        return True

    def found(self) -> Bools:
        if not self._width:
            return np.zeros((self._groups, 0), dtype=bool)
        found = self._marks.reshape(-1, self._width)[: self._groups]
        found[:, ~self._counted] = False
        return found


class _Sums:
    """Events per group and type, block by block."""

    def __init__(self, mirror: Mirror, selection: Selection, groups: int, quarter_groups: GroupOf) -> None:
        self._groups, self._quarter_groups, self._chosen = groups, quarter_groups, chosen_types(selection)
        kept = _kept_people(mirror, selection)
        self._only_kept = bool(np.count_nonzero(kept) <= len(kept) // 2)  # count the smaller side
        self._source = _Source(np.flatnonzero(kept == self._only_kept), ALL_TYPES)

    def of(self, block: Block) -> Sums:
        totals = self._source.totals(block)
        totals = totals if self._only_kept else block.totals - totals
        group = self._quarter_groups(block.number)
        starts = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
        return group[starts], np.add.reduceat(totals.reshape(-1, TYPES), starts, axis=0)

    def found(self, parts: list[Sums]) -> Int64:
        found = np.zeros((self._groups + 1, TYPES), dtype=np.int64)  # the last line takes what is in no group
        for group, part in parts:
            np.add.at(found, group, part)  # NOWHERE is the last line
        return np.where(self._chosen, found[: self._groups], 0)


def types_seen(mirror: Mirror, selection: Selection) -> UInt16:
    """Which types each person did in the range, bit by bit (1 << type), by code; 0 for people who do not count."""
    source = _Source(_few(mirror, selection), type_bits(selection))
    inside = day_groups(selection)
    found = np.zeros(len(mirror.people), dtype=np.uint16)
    for parts in _each(lambda block: source.types(block, inside(block.number) != NOWHERE), mirror, selection):
        for person, types in parts:
            found[person] |= types  # each person stands once in a part
    return found * counted_people(mirror, selection) & np.uint16(type_bits(selection))


def type_bits(selection: Selection) -> int:
    """The selected types, as the sum of 1 << type."""
    return sum(1 << kind for kind in selection.types)


def chosen_types(selection: Selection) -> Bools:
    """Per type: whether it is selected."""
    return np.array([kind in selection.types for kind in range(TYPES)])


def events_by_person(mirror: Mirror, selection: Selection) -> Int64:
    """Events per person code and type: int64 [people, 10]; zero for people who do not count, the unknown person included."""
    source, inside = _Source(_few(mirror, selection), ALL_TYPES), day_groups(selection)
    totals = np.zeros((len(mirror.people), TYPES), dtype=np.int64)
    for parts in _each(lambda block: source.tallies(block, inside(block.number) != NOWHERE), mirror, selection):
        for person, events in parts:
            totals[person] += events  # each person stands once in a part
    return np.where(chosen_types(selection) & counted_people(mirror, selection)[:, None], totals, 0)


@dataclass(frozen=True)
class _Source:
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

    def types(self, block: Block, inside: Bools) -> list[tuple[Int32, UInt16]]:
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


def _kept_people(mirror: Mirror, selection: Selection) -> Bools:
    """Per person code: whether this person's events count."""
    kept = np.ones(len(mirror.people), dtype=bool)
    if selection.people is not None:
        kept[:] = False
        kept[mirror.people.among(selection.people)] = True
    kept[mirror.people.among(selection.left_out)] = False
    return kept


def counted_people(mirror: Mirror, selection: Selection) -> Bools:
    """Per person code: whether this person may count as a person. The unknown person and those left out never do."""
    counted = _kept_people(mirror, selection)
    counted[mirror.people.among(frozenset({UNKNOWN_PERSON}))] = False
    return counted


def _few(mirror: Mirror, selection: Selection) -> Int64 | None:
    """The codes of the selected people if they are few; None if looking at everybody is as fast."""
    if selection.people is None or len(selection.people) > len(mirror.people) // 4:
        return None
    return mirror.people.among(selection.people)


def _places(sorted_people: Int32, codes: Int64) -> Int64:
    """The positions of these people's rows, ascending."""
    wanted = codes.astype(np.int32)
    low, high = np.searchsorted(sorted_people, wanted), np.searchsorted(sorted_people, wanted, side="right")
    length = high - low
    before = np.cumsum(length) - length
    places: Int64 = np.arange(length.sum()) + np.repeat(low - before, length)
    return places


def _each(work: Callable[[Block], T], mirror: Mirror, selection: Selection) -> list[T]:
    """What `work` makes of every block of the range, narrowed to the selected spaces, in order."""
    blocks = blocks_in_range(mirror, selection)
    narrowed = _in_spaces(mirror, selection.spaces)

    def done(block: Block) -> T | None:
        part = narrowed(block)
        return None if part is None else work(part)

    is_small = sum(map(len, blocks)) < WORTH_A_THREAD
    results = map(done, blocks) if is_small else _pool().map(done, blocks)
    return [result for result in results if result is not None]


def _in_spaces(mirror: Mirror, spaces: frozenset[int] | None) -> Callable[[Block], Block | None]:
    if spaces is None:
        return lambda block: block
    in_space = np.zeros(len(mirror.spaces), dtype=bool)
    in_space[mirror.spaces.among(spaces)] = True
    if mirror.rows > MOST_REMEMBERED:
        return lambda block: block.in_spaces(in_space)
    return lambda block: block.memo.answer(spaces, lambda: block.in_spaces(in_space))


def prepare(mirror: Mirror) -> None:
    """Make what the first questions would otherwise wait for."""
    list(_pool().map(Block.prepare, mirror.blocks.values()))


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="report")

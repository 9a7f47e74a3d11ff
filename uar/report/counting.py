"""The two questions behind every number, answered block by block on two threads.

`seen` says which people did anything in each group (a day, a type …); `slot_events` adds up events per quarter and type.
Filters: `people` picks rows by the sort order, `spaces` row by row, days and types by the group table, `left_out` at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from uar.report.mirror import QUARTERS_PER_BLOCK, SLOTS, TYPES, Block, Int64, Mirror, slot_totals
from uar.report.selection import Selection
from uar.report.zones import day_number, local_days

T = TypeVar("T")
Bools = NDArray[np.bool_]
GroupOf = Callable[[int], Int64]  # week number -> the group of each of its quarters, or -1

UNKNOWN_PERSON = 0
NOWHERE = -1
THREADS = 2  # numpy lets go of Python's lock while it works; more threads gain little, as memory is the limit
CHUNK = 65_536  # rows at a time, so that what is computed on the way stays in the processor's cache
WORTH_A_THREAD = 200_000  # rows


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


def counted_people(mirror: Mirror, selection: Selection) -> Bools:
    """Per person code: whether this person may count as a person. The unknown person and those left out never do."""
    counted = np.ones(len(mirror.people), dtype=bool)
    counted[mirror.people.among(selection.left_out | {UNKNOWN_PERSON})] = False
    if selection.people is not None:
        chosen = np.zeros(len(mirror.people), dtype=bool)
        chosen[mirror.people.among(selection.people)] = True
        counted &= chosen
    return counted


def seen(mirror: Mirror, selection: Selection, groups: int, slot_groups: GroupOf) -> Bools:
    """Whether each person acted in each group: bool [groups, people by code]; never true for people who do not count.

    `slot_groups` gives the group of each slot of a week, or -1; types and days outside the selection must be -1 there.
    """
    width = len(mirror.people)
    marks = np.zeros((groups + 1) * width, dtype=bool)  # the last line takes what is in no group

    def mark(block: Block) -> None:
        group = slot_groups(block.number)
        lines = np.where(group == NOWHERE, groups, group) * width
        for person, slot, _ in _rows(mirror, selection, block, selection.people):
            place = lines.take(slot, mode="clip")
            place += person
            np.put(marks, place, True, mode="clip")

    _each(mark, blocks_in_range(mirror, selection))
    found = marks.reshape(groups + 1, width)[:groups] if width else np.zeros((groups, 0), dtype=bool)
    found[:, ~counted_people(mirror, selection)] = False
    return found


def slots_of_days(selection: Selection) -> GroupOf:
    """Group of a slot = the day's place in the range; -1 outside the range and for types that are not chosen."""
    quarters, chosen = day_groups(selection), chosen_types(selection)

    def of(block: int) -> Int64:
        return np.where(chosen, quarters(block)[:, None], NOWHERE).ravel()

    return of


def slots_of_types(selection: Selection) -> GroupOf:
    """Group of a slot = its type; -1 outside the range and for types that are not chosen."""
    quarters, chosen = day_groups(selection), chosen_types(selection)
    types = np.where(chosen, np.arange(TYPES), NOWHERE)

    def of(block: int) -> Int64:
        return np.where(quarters(block)[:, None] == NOWHERE, NOWHERE, types).ravel()

    return of


def chosen_types(selection: Selection) -> Bools:
    """Per type: whether it is selected."""
    return np.array([kind in selection.types for kind in range(TYPES)])


def slot_events(mirror: Mirror, selection: Selection, groups: int, quarter_groups: GroupOf) -> Int64:
    """Events per group of quarters and type: int64 [groups, 10]; types that are not chosen are zero."""
    blocks = blocks_in_range(mirror, selection)
    if not blocks:
        return np.zeros((groups, TYPES), dtype=np.int64)
    totals = np.stack(_each(lambda block: _block_totals(mirror, selection, block), blocks)).reshape(-1, TYPES)
    group = np.concatenate([quarter_groups(block.number) for block in blocks])
    inside = group != NOWHERE
    bins = group[inside][:, None] * TYPES + np.arange(TYPES)
    sums = np.bincount(bins.ravel(), weights=totals[inside].ravel(), minlength=groups * TYPES)  # exact up to 2^53
    return np.where(chosen_types(selection), sums.reshape(groups, TYPES), 0).astype(np.int64)


def events_by_person(mirror: Mirror, selection: Selection) -> Int64:
    """Events per person code and type: int64 [people, 10]; zero for people who do not count, the unknown person included."""
    width = TYPES + 1  # the last column takes what is in no group
    slot_groups = slots_of_types(selection)

    def tally(block: Block) -> list[tuple[int, Int64]]:
        group = slot_groups(block.number)
        column = np.where(group == NOWHERE, TYPES, group)
        return [_tally(column, width, *rows) for rows in _rows(mirror, selection, block, selection.people)]

    totals = np.zeros(len(mirror.people) * width, dtype=np.int64)
    for parts in _each(tally, blocks_in_range(mirror, selection)):
        for start, counts in parts:
            totals[start : start + len(counts)] += counts
    table = totals.reshape(-1, width)[:, :TYPES]
    return table * counted_people(mirror, selection)[:, None]


def _tally(column: Int64, width: int, person: NDArray[Any], slot: NDArray[Any], count: NDArray[Any]) -> tuple[int, Int64]:
    """Where in the flat table of people and columns these rows begin, and their sums from there on."""
    start = int(person[0]) * width
    place = column.take(slot, mode="clip")
    place += person.astype(np.int64) * width
    place -= start
    sums = np.bincount(place)
    several = np.flatnonzero(count > 1)
    if len(several):
        sums += np.bincount(place[several], weights=count[several] - 1.0, minlength=len(sums)).astype(np.int64)
    return start, sums


def _block_totals(mirror: Mirror, selection: Selection, block: Block) -> Int64:
    """Events per slot of the block that pass the filters of people and spaces."""
    if selection.people is not None:
        return _totals_of(mirror, selection, block, selection.people - selection.left_out)
    everything = block.totals if selection.spaces is None else _totals_of(mirror, selection, block, None)
    return everything - _totals_of(mirror, selection, block, selection.left_out) if selection.left_out else everything


def _totals_of(mirror: Mirror, selection: Selection, block: Block, people: frozenset[int] | None) -> Int64:
    totals = np.zeros(SLOTS, dtype=np.int64)
    for _, slot, count in _rows(mirror, selection, block, people):
        totals += slot_totals(slot, count)
    return totals


Rows = tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[Any]]


def _rows(mirror: Mirror, selection: Selection, block: Block, people: frozenset[int] | None) -> Iterator[Rows]:
    """Person, slot and count of the rows of these people (None: all) in the selected spaces, some at a time; never empty."""
    places = None if people is None else _places(block, mirror.people.among(people))
    in_space = None if selection.spaces is None else _space_table(mirror, selection.spaces)
    for start in range(0, len(block) if places is None else len(places), CHUNK):
        part: slice | Int64 = slice(start, start + CHUNK) if places is None else places[start : start + CHUNK]
        person, slot, count = block.person[part], block.slot[part], block.count[part]
        if in_space is not None:
            # Positions and `take` cost half of what three masks do.
            keep = np.flatnonzero(in_space.take(block.space[part], mode="clip"))
            person, slot, count = person.take(keep), slot.take(keep), count.take(keep)
        if len(person):
            yield person, slot, count


def _space_table(mirror: Mirror, spaces: frozenset[int]) -> Bools:
    table = np.zeros(len(mirror.spaces), dtype=bool)
    table[mirror.spaces.among(spaces)] = True
    return table


def _places(block: Block, codes: Int64) -> Int64:
    """The positions of these people's rows, ascending."""
    wanted = codes.astype(np.int32)
    low, high = np.searchsorted(block.person, wanted), np.searchsorted(block.person, wanted, side="right")
    length = high - low
    before = np.cumsum(length) - length
    places: Int64 = np.arange(length.sum()) + np.repeat(low - before, length)
    return places


def _each(work: Callable[[Block], T], blocks: list[Block]) -> list[T]:
    if sum(map(len, blocks)) < WORTH_A_THREAD:
        return [work(block) for block in blocks]
    return list(_pool().map(work, blocks))


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="report")

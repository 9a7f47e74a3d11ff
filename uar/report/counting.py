"""The questions behind every number, answered block by block on two threads.

    slot_events       events per group of quarters and type: from each block's totals, less those of people who do not count
    seen              which people acted in each group of quarters (a day): from each block's cells
    events_by_person  events per person and type: from each block's tallies
    events_and_seen, events_and_types_seen
                      two of these in one go, as a filter by space is dear on a large mirror

Filters: spaces first, as smaller blocks; people by the sort order; days by a table of quarters; types by bits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from uar.report.blocks import TYPES, Block, Int64, UInt16
from uar.report.mirror import Mirror
from uar.report.selection import Selection
from uar.report.walk import ALL_TYPES, Bools, Source, TypeParts, each_block
from uar.report.zones import day_number, local_days

GroupOf = Callable[[int], Int64]  # week number -> the group of each of its quarters, or -1
Sums = tuple[Int64, Int64]  # groups, and events per type of each

UNKNOWN_PERSON = 0
NOWHERE = -1


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


def seen(mirror: Mirror, selection: Selection, groups: int, quarter_groups: GroupOf) -> Bools:
    """Whether each person acted in each group of quarters: bool [groups, people by code]; never true for people who do not count."""
    marks = _Marks(mirror, selection, groups, quarter_groups)
    each_block(marks.add, mirror, selection)
    return marks.by_code()


def slot_events(mirror: Mirror, selection: Selection, groups: int, quarter_groups: GroupOf) -> Int64:
    """Events per group of quarters and type: int64 [groups, 10]; types that are not chosen are zero."""
    sums = _Sums(mirror, selection, groups, quarter_groups)
    return sums.found(each_block(sums.of, mirror, selection))


def events_and_seen(mirror: Mirror, selection: Selection, groups: int, quarter_groups: GroupOf) -> tuple[Int64, Bools]:
    """`slot_events` and `seen` in one go, as a filter by space is dear on a large mirror.

    If few people are selected, only they have columns.
    """
    sums, marks = _Sums(mirror, selection, groups, quarter_groups), _Marks(mirror, selection, groups, quarter_groups)

    def both(block: Block) -> Sums:
        marks.add(block)
        return sums.of(block)

    return sums.found(each_block(both, mirror, selection)), marks.found()


class _Marks:
    """A table of groups and people that is marked block by block, by several threads at once: a mark twice is a mark.

    A table for one person among 150,000 has one column.
    """

    def __init__(self, mirror: Mirror, selection: Selection, groups: int, quarter_groups: GroupOf) -> None:
        self._groups, self._quarter_groups, self._few = groups, quarter_groups, _few(mirror, selection)
        self._source = Source(self._few, type_bits(selection))
        self._counted = counted_people(mirror, selection)
        self._width = len(self._counted) if self._few is None else len(self._few)
        self._marks = np.zeros((groups + 1) * self._width, dtype=bool)  # the last line takes what is in no group

    def add(self, block: Block) -> bool:
        group = self._quarter_groups(block.number)
        lines = np.where(group == NOWHERE, self._groups, group) * self._width
        for person, quarter, _ in self._source.cells(block):
            place = lines.take(quarter, mode="clip")
            place += person if self._few is None else np.searchsorted(self._few, person)
            np.put(self._marks, place, True, mode="clip")
        return True

    def found(self) -> Bools:
        if not self._width:
            return np.zeros((self._groups, 0), dtype=bool)
        found = self._marks.reshape(-1, self._width)[: self._groups]
        found[:, ~(self._counted if self._few is None else self._counted[self._few])] = False
        return found

    def by_code(self) -> Bools:
        """A column for everybody."""
        if self._few is None:
            return self.found()
        whole = np.zeros((self._groups, len(self._counted)), dtype=bool)
        whole[:, self._few] = self.found()
        return whole


class _Sums:
    """Events per group and type, block by block."""

    def __init__(self, mirror: Mirror, selection: Selection, groups: int, quarter_groups: GroupOf) -> None:
        self._groups, self._quarter_groups, self._chosen = groups, quarter_groups, chosen_types(selection)
        kept = _kept_people(mirror, selection)
        self._only_kept = bool(np.count_nonzero(kept) <= len(kept) // 2)  # count the smaller side
        self._source = Source(np.flatnonzero(kept == self._only_kept), ALL_TYPES)

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


def events_and_types_seen(mirror: Mirror, selection: Selection) -> tuple[Int64, UInt16]:
    """Events of the whole range per type, int64 [10], and the types of each person by code (bits, 1 << type), in one go.

    People who do not count have no types.
    """
    sums, types = _Sums(mirror, selection, days_in_range(selection), day_groups(selection)), _Types(mirror, selection)
    parts = each_block(lambda block: (sums.of(block), types.of(block)), mirror, selection)
    return sums.found([part for part, _ in parts]).sum(axis=0), types.found([part for _, part in parts])


class _Types:
    """The types of each person, block by block."""

    def __init__(self, mirror: Mirror, selection: Selection) -> None:
        self._bits, self._inside = type_bits(selection), day_groups(selection)
        self._source = Source(_few(mirror, selection), self._bits)
        self._counted = counted_people(mirror, selection)

    def of(self, block: Block) -> TypeParts:
        return self._source.types(block, self._inside(block.number) != NOWHERE)

    def found(self, blocks: list[TypeParts]) -> UInt16:
        found = np.zeros(len(self._counted), dtype=np.uint16)
        for person, types in (part for parts in blocks for part in parts):
            found[person] |= types  # each person stands once in a part
        return found * self._counted & np.uint16(self._bits)


def type_bits(selection: Selection) -> int:
    """The selected types, as the sum of 1 << type."""
    return sum(1 << kind for kind in selection.types)


def chosen_types(selection: Selection) -> Bools:
    """Per type: whether it is selected."""
    return np.array([kind in selection.types for kind in range(TYPES)])


def events_by_person(mirror: Mirror, selection: Selection) -> Int64:
    """Events per person code and type: int64 [people, 10]; zero for people who do not count, the unknown person included."""
    source, inside = Source(_few(mirror, selection), ALL_TYPES), day_groups(selection)
    totals = np.zeros((len(mirror.people), TYPES), dtype=np.int64)
    for parts in each_block(lambda block: source.tallies(block, inside(block.number) != NOWHERE), mirror, selection):
        for person, events in parts:
            totals[person] += events  # each person stands once in a part
    return np.where(chosen_types(selection) & counted_people(mirror, selection)[:, None], totals, 0)


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

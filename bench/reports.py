"""The first two rows of the budgets: the three reports, ours beside the peers, each answer checked against the others."""

from __future__ import annotations

import gc
import statistics
from dataclasses import dataclass, replace

import psutil

from bench.engines import Engine
from bench.questions import QUESTIONS, Question
from bench.site import Site, months
from bench.timing import median_ms, milliseconds, table, timed
from uar.activity import ActivityType
from uar.report.memo import Memo
from uar.report.mirror import Mirror
from uar.report.selection import Selection
from uar.report.walk import prepare

ENGINE_RUNS = {"ClickHouse": 5, "DuckDB": 5, "PostgreSQL": 1}
ZONES = ("Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "UTC")


@dataclass(frozen=True)
class Case:
    """A selection and how to call it."""

    name: str
    selection: Selection


def cases(site: Site) -> list[Case]:
    """The whole period without and with filters."""
    everything = Selection(site.first, site.last, ZONES[0], left_out=site.apps)
    some = frozenset({ActivityType.CREATE, ActivityType.UPDATE, ActivityType.VIEW})
    filtered = replace(everything, zone=ZONES[1], types=some, spaces=frozenset(range(1, site.spaces, 3)))
    return [Case("all", everything), Case("types and spaces", filtered)]


def compared(mirror: Mirror, site: Site, engines: list[Engine]) -> str:
    """The table of questions by engines; raises `AssertionError` where an engine disagrees with us."""
    rows = []
    for case in cases(site):
        for question in QUESTIONS:
            ours, times = _ours(mirror, question, case.selection)
            cells = [_peer(engine, question, case.selection, ours, times[0]) for engine in engines]
            rows.append([f"{question.name}, {case.name}", milliseconds(times[0]), milliseconds(times[1]), *cells])
    return table(["question", "ours, new", "ours, repeated", *(engine.name for engine in engines)], rows)


def first_answers(mirror: Mirror, site: Site) -> list[tuple[str, float]]:
    """Each question and its time in milliseconds, asked once of a mirror that was never asked (but is prepared)."""
    selection = cases(site)[0].selection
    return [(question.name, timed(lambda question=question: question.ours(mirror, selection))[1]) for question in QUESTIONS]  # type: ignore[misc]


def zones(mirror: Mirror, site: Site) -> str:
    """The calendar's first answer in each zone, nothing remembered."""
    rows = []
    for zone in ZONES:
        selection = Selection(site.first, site.last, zone, left_out=site.apps)
        rows.append([zone, *(milliseconds(_ours(mirror, question, selection)[1][0]) for question in QUESTIONS)])
    return table(["zone", *(question.name for question in QUESTIONS)], rows)


def generated(site: Site) -> tuple[Mirror, float]:
    """The site's mirror, grown month by month and prepared as the live one is, and the milliseconds spent on that."""
    mirror, spent = Mirror.empty(), 0.0
    for part in months(site):
        mirror, took = timed(lambda part=part, mirror=mirror: mirror.grown(part.person, part.quarter, part.type, part.space))  # type: ignore[misc]
        spent += took
    gc.collect()
    return mirror, spent + timed(lambda: prepare(mirror))[1]


def memory() -> str:
    """Resident memory of this process now, for people."""
    return f"{psutil.Process().memory_info().rss / 2**30:.1f} GiB"


def _runs(mirror: Mirror) -> int:
    return 7 if mirror.rows < 50_000_000 else 2


def _ours(mirror: Mirror, question: Question, selection: Selection) -> tuple[list[tuple[int, ...]], tuple[float, float]]:
    """The answer, and the median times of a new and of a repeated question."""
    answer = question.rows(question.ours(mirror, selection))
    new = statistics.median(_new_ms(mirror, question, selection) for _ in range(_runs(mirror)))
    return answer, (new, median_ms(lambda: question.ours(mirror, selection), _runs(mirror)))


def _new_ms(mirror: Mirror, question: Question, selection: Selection) -> float:
    """How long a question takes that nobody asked before."""
    for block in mirror.blocks.values():
        block.memo.forget()
    return timed(lambda: question.ours(replace(mirror, memo=Memo(), tables=Memo()), selection))[1]


def _peer(engine: Engine, question: Question, selection: Selection, ours: list[tuple[int, ...]], our_ms: float) -> str:
    """The engine's time and how many times ours that is."""
    sql = question.sql(selection)
    runs = ENGINE_RUNS[engine.name]
    answer, first_ms = timed(lambda: engine.answer(sql, selection.zone))
    assert answer == ours, f"{engine.name} answers the question of {question.name!r} differently"
    took = first_ms if runs == 1 else median_ms(lambda: engine.answer(sql, selection.zone), runs)
    return f"{milliseconds(took)} ({took / our_ms:.1f} ×)"

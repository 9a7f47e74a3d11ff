"""Timing: medians of wall-clock times, as a shared machine needs them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns, and how many milliseconds it took."""
    start = time.perf_counter()
    result = work()
    return result, (time.perf_counter() - start) * 1000


def median_ms(work: Callable[[], object], times: int) -> float:
    """The median duration of `times` calls, in milliseconds."""
    return statistics.median(timed(work)[1] for _ in range(times))


def milliseconds(value: float) -> str:
    """A duration for people: 0.02 ms, 4.2 ms, 47 ms, 3.1 s."""
    if value >= 10_000:
        return f"{value / 1000:.1f} s"
    return f"{value:.2f} ms" if value < 1 else f"{value:.1f} ms" if value < 10 else f"{value:,.0f} ms"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, aligned."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines)

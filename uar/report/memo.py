"""Answers about one mirror, kept for as long as the mirror lives: a viewer who clicks back pays nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

MOST_ANSWERS = 128


class Memo:
    """The last answers by question, for any number of threads. A mirror is immutable, so an answer never goes stale."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def answer(self, question: Hashable, compute: Callable[[], T]) -> T:
        """The remembered answer, else a computed one. Two threads that ask at once may both compute."""
        with self._lock:
            if question in self._answers:
                self._answers.move_to_end(question)
                return self._answers[question]  # type: ignore[no-any-return]
        found = compute()
        with self._lock:
            self._answers[question] = found
            while len(self._answers) > MOST_ANSWERS:
                self._answers.popitem(last=False)
        return found

"""Answers about something immutable, kept for as long as it lives: a viewer who clicks back pays nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

MOST_ANSWERS = 128


class Memo:
    """The last answers by question, for any number of threads. The oldest one gives way."""

    def __init__(self, most: int = MOST_ANSWERS) -> None:
        self._most = most
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def answer(self, question: Hashable, compute: Callable[[], T], is_worth: Callable[[T], bool] = lambda _: True) -> T:
        """The remembered answer, else a computed one, which is kept if it `is_worth` its memory. Two threads may both compute."""
        with self._lock:
            if question in self._answers:
                self._answers.move_to_end(question)
                return self._answers[question]  # type: ignore[no-any-return]
        found = compute()
        if not is_worth(found):
            return found
        with self._lock:
            self._answers[question] = found
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)
        return found

    def forget(self) -> None:
        """Drop every answer."""
        with self._lock:
            self._answers.clear()

"""Answers about something immutable, kept for as long as it lives: a viewer who clicks back pays nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

MOST_ANSWERS = 256


class Same:
    """A frame as part of a question: equal to itself only."""

    def __init__(self, frame: object) -> None:
        self._frame = frame

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other._frame is self._frame

    def __hash__(self) -> int:
        return id(self._frame)


class Memo:
    """The last answers by question, for any number of threads. The oldest one gives way."""

    def __init__(self, most: int = MOST_ANSWERS) -> None:
        self._most = most
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()
        self._under_way: dict[Hashable, Future[Any]] = {}
        self._lock = Lock()

    def answer(self, question: Hashable, compute: Callable[[], T], is_worth: Callable[[T], bool] = lambda _: True) -> T:
        """The remembered answer, else a computed one, which is kept if it `is_worth` its memory.

        Whoever asks what another thread computes already waits for that, also for what it raises: when new data comes, many viewers ask
        the same at once. `compute` must not ask the same question.
        """
        with self._lock:
            if question in self._answers:
                self._answers.move_to_end(question)
                return self._answers[question]  # type: ignore[no-any-return]
            under_way = self._under_way.get(question)
            if under_way is None:
                ours = self._under_way[question] = Future()
        if under_way is None:
            return self._computed(question, ours, compute, is_worth)
        try:
            return under_way.result()  # type: ignore[no-any-return]
        except CancelledError:
            return self.answer(question, compute, is_worth)

    def _computed(self, question: Hashable, ours: Future[Any], compute: Callable[[], T], is_worth: Callable[[T], bool]) -> T:
        try:
            found = compute()
            with self._lock:
                if is_worth(found):
                    self._answers[question] = found
                while len(self._answers) > self._most:
                    self._answers.popitem(last=False)
            ours.set_result(found)
        except Exception as error:
            ours.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._under_way[question]
            ours.cancel()  # without effect but where the thread itself is being ended: then somebody else computes
        return found

    def forget(self) -> None:
        """Drop every answer."""
        with self._lock:
            self._answers.clear()

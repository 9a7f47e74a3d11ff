"""Remembered answers: computed once, also for those who ask at the same time; forgotten oldest first."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from uar.report.memo import Memo


class Slow:
    """A computation that lasts until it is let go; `outcome` is raised if it is an exception."""

    def __init__(self, outcome: object) -> None:
        self.calls = 0
        self.let_go = Event()
        self._outcome = outcome

    def __call__(self) -> object:
        self.calls += 1
        assert self.let_go.wait(10)
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome


def asked_together(memo: Memo, slow: Slow, then: object = None) -> list[object]:
    """What five threads get that ask while the first one computes; `then` is what they would compute themselves."""
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(memo.answer, "question", slow)
        while not slow.calls:
            assert not first.done()
            time.sleep(0.001)
        others = [pool.submit(memo.answer, "question", lambda: then) for _ in range(5)]
        time.sleep(0.1)
        slow.let_go.set()
        return [one.exception() or one.result() for one in (first, *others)]


def test_what_many_ask_at_once_is_computed_once() -> None:
    memo, slow = Memo(), Slow("answer")
    assert asked_together(memo, slow) == ["answer"] * 6
    assert slow.calls == 1
    assert memo.answer("question", lambda: pytest.fail("it was remembered")) == "answer"


def test_what_fails_fails_for_all_who_waited_and_is_not_remembered() -> None:
    memo, error = Memo(), ValueError("no")
    assert asked_together(memo, Slow(error)) == [error] * 6
    assert memo.answer("question", lambda: "answer") == "answer"


def test_others_go_on_when_the_thread_that_computes_is_ended() -> None:
    class Ended(BaseException):
        """As Streamlit ends a run whose viewer clicks again."""

    ended = Ended()
    assert asked_together(Memo(), Slow(ended), then="answer") == [ended, *["answer"] * 5]


def test_an_answer_that_is_not_worth_its_memory_is_still_shared() -> None:
    memo = Memo()
    assert memo.answer("question", lambda: 1, is_worth=lambda _: False) == 1
    assert memo.answer("question", lambda: 2) == 2


def test_the_answer_that_nobody_asked_for_longest_gives_way() -> None:
    memo = Memo(2)
    for number in (1, 2, 1, 3):
        memo.answer(number, lambda number=number: number)  # type: ignore[misc]
    assert memo.answer(1, lambda: -1) == 1
    assert memo.answer(2, lambda: -1) == -1

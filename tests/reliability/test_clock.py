"""A clock that jumps: deadlines hold, nothing is lost, no time span is negative, and a token is judged by the clock that stands now."""

from __future__ import annotations

import itertools
import platform
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.capture.senders import APP_ID, claims, forge_token, key_host
from tests.reliability.running import RunningWorker
from tests.reliability.sender import Ledger, Sender, datacenter_request
from tests.reliability.test_pressure import forge_request, read_status
from tests.reliability.verdict import assert_nothing_lost
from uar.store.database import open_store, read_transaction
from uar.store.reads import coverage

LIBRARY = Path(f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketime.so.1")
RATE = 40.0  # every look at the fake clock reads a file
HOUR, TEN_YEARS = 3_600, 10 * 365 * 86_400


class FakeClock:
    """The wall clock of a worker, moved by a file. The monotonic clock stays real, as it does in life."""

    def __init__(self, folder: Path) -> None:
        if not LIBRARY.exists():
            pytest.fail(
                f"{LIBRARY} is missing, so no clock can jump: apt-get install libfaketime (scripts/find_operation_tools.sh does it)"
            )
        self._file = folder / "clock"
        self.jump(0)
        self.environment = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        """Lets the clock be so many seconds ahead of the real one from now on."""
        self._file.write_text(f"{seconds:+d}\n")


class AcrossJumps:
    """Connections that a jump of the wall clock must not end: one that is idle, and one with half a delivery on it."""

    def __init__(self, worker: RunningWorker, ledger: Ledger) -> None:
        self._ledger = ledger
        self._numbers = itertools.count(1_000_000)
        self._idle, self._half = (socket.create_connection(("127.0.0.1", worker.port), timeout=10) for _ in range(2))
        self._answers = {connection: connection.makefile("rb") for connection in (self._idle, self._half)}
        self._send(self._idle, self._next())

    def __enter__(self) -> AcrossJumps:
        return self

    def __exit__(self, *_: object) -> None:
        for connection, answers in self._answers.items():
            answers.close()
            connection.close()

    @contextmanager
    def jump(self) -> Iterator[None]:
        """The clock jumps inside; afterwards both connections serve as before, with no new one made."""
        request = self._next()
        self._half.sendall(request[:-5])
        yield
        self._send(self._half, request[-5:])
        self._send(self._idle, self._next())

    def _next(self) -> bytes:
        number = next(self._numbers)
        self._ledger.sent.add(number)
        self._ledger.acked.add(number)
        return datacenter_request(number, self._ledger.newest)

    def _send(self, connection: socket.socket, sent: bytes) -> None:
        connection.sendall(sent)
        assert read_status(self._answers[connection]) == 202


def test_a_clock_that_jumps_loses_nothing_and_delays_nothing(tmp_path: Path) -> None:
    clock = FakeClock(tmp_path)
    ledger = Ledger()
    worker = RunningWorker(tmp_path / "data")
    worker.environment = clock.environment
    with worker, Sender(worker.port, ledger, itertools.count(), rate=RATE) as sender, AcrossJumps(worker, ledger) as open_across:
        for seconds in (0, HOUR, -HOUR, TEN_YEARS, -2 * HOUR, 0):
            with open_across.jump():
                clock.jump(seconds)
                time.sleep(0.5)
            assert worker.readiness() == (200, b"ready\n")
            assert worker.metric("uar_spool_oldest_age_seconds") >= 0
            assert worker.metric("uar_drain_lag_seconds") >= 0
        sender.stop()
        worker.wait_drained()
        assert worker.terminate()[0] == 0
    assert (set(ledger.statuses), ledger.broken) == ({202}, 0)
    assert max(ledger.seconds) < 5.0
    assert_nothing_lost(worker.database_url, ledger)


def test_a_run_of_a_worker_whose_clock_went_back_does_not_end_before_it_began(tmp_path: Path) -> None:
    clock = FakeClock(tmp_path)
    worker = RunningWorker(tmp_path / "data")
    worker.environment = clock.environment
    with worker:
        clock.jump(-HOUR)
        assert worker.terminate()[0] == 0
    with read_transaction(open_store(worker.database_url)) as connection:
        runs = coverage(connection)
    assert not runs.empty
    assert (runs["ended_at"] >= runs["started_at"]).all()


def test_a_token_is_judged_by_the_clock_that_stands_now(tmp_path: Path) -> None:
    clock = FakeClock(tmp_path)
    with key_host() as keys:
        worker = RunningWorker(tmp_path / "data", forge_app_id=APP_ID, forge_jwks_url=keys.url)
        worker.environment = clock.environment
        with worker:
            statuses = []
            for seconds in (0, HOUR, 0, -HOUR, 0):
                clock.jump(seconds)
                statuses.append(worker.post(forge_request(forge_token(claims(jti=str(seconds))))))
            assert statuses == [202, 401, 202, 401, 202]
            clock.jump(HOUR)
            assert worker.post(forge_request(forge_token(claims(time.time() + HOUR)))) == 202

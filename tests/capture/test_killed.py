"""A worker that dies or stops under load: nothing acknowledged is lost, nothing counts twice, on both databases.

A ledger of what was sent and what was acknowledged is compared with the rows in the store. Killing a process cannot show what a power
cut would do; that commits wait for the disk is asserted in `test_spool.py`.
"""

from __future__ import annotations

import http.client
import random
import signal
import threading
import time
from pathlib import Path

import orjson
import pytest

from tests.capture.running import RunningWorker, all_sources, running_worker
from tests.capture.senders import datacenter_headers, forge_headers, key_host
from uar.store.database import Engine, read_transaction

ROUNDS = 4
SENDERS = 8


class Ledger:
    """What was sent and what was acknowledged, by page id."""

    def __init__(self) -> None:
        self.sent: set[int] = set()
        self.acknowledged: set[int] = set()
        self.other_answers: set[int] = set()
        self._next = 0
        self._lock = threading.Lock()

    def next_id(self) -> int:
        """The id of a new delivery."""
        with self._lock:
            self._next += 1
            self.sent.add(self._next)
            return self._next

    def compare(self, store: Engine) -> None:
        """Fails on any loss or double, and if nothing was acknowledged at all."""
        with read_transaction(store) as connection:
            rows = connection.exec_driver_sql("SELECT content_id, count(*) FROM activity_log GROUP BY content_id").fetchall()
        stored = {int(row[0]): int(row[1]) for row in rows}
        assert len(self.acknowledged) > 100
        assert self.acknowledged - stored.keys() == set(), "acknowledged and lost"
        assert {number for number, count in stored.items() if count > 1} == set(), "counted twice"
        assert stored.keys() - self.sent == set()
        assert self.other_answers <= {503}


def send_until(stop: threading.Event, worker: RunningWorker, ledger: Ledger) -> None:
    """One sender on one connection: a new delivery as soon as the last is answered; what got no answer is sent once more."""
    unanswered: list[int] = []
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=5)
    while not stop.is_set():
        number = unanswered.pop() if unanswered else ledger.next_id()
        body = orjson.dumps({"timestamp": 1_772_532_000_000 + number, "event": "page_updated", "userKey": "k", "page": {"id": number}})
        try:
            connection.request("POST", "/webhooks/datacenter/wiki", body, datacenter_headers(body, request_id=str(number)))
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            unanswered.append(number)
            connection.close()
            time.sleep(0.02)
            continue
        if answer.status == 202:
            ledger.acknowledged.add(number)
        else:
            ledger.other_answers.add(answer.status)
    connection.close()


def under_load(worker: RunningWorker, ledger: Ledger, seconds: float, number: signal.Signals) -> int:
    """Sends from all sides, then ends the worker in the midst of it; its exit code."""
    stop = threading.Event()
    senders = [threading.Thread(target=send_until, args=(stop, worker, ledger)) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    time.sleep(seconds)
    code = worker.stop(number)
    stop.set()
    for sender in senders:
        sender.join()
    return code


def test_a_killed_worker_loses_nothing_it_acknowledged_and_counts_nothing_twice(store: Engine, store_url: str, tmp_path: Path) -> None:
    ledger, chance = Ledger(), random.Random(7)
    environ = all_sources() | {"UAR_DATABASE_URL": store_url}
    for _ in range(ROUNDS):
        worker = RunningWorker(tmp_path, environ)
        assert under_load(worker, ledger, chance.uniform(0.4, 1.2), signal.SIGKILL) == -signal.SIGKILL
    with running_worker(tmp_path, **environ) as last:
        last.wait_until_drained()
        ledger.compare(store)


def test_a_stopped_worker_answers_what_it_took_and_ends_in_time(store: Engine, store_url: str, tmp_path: Path) -> None:
    ledger = Ledger()
    environ = all_sources() | {"UAR_DATABASE_URL": store_url}
    for number in (signal.SIGTERM, signal.SIGINT):
        worker = RunningWorker(tmp_path, environ)
        started_at = time.monotonic()
        assert under_load(worker, ledger, 0.7, number) == 0, worker.log()
        assert time.monotonic() - started_at < 10
    with running_worker(tmp_path, **environ) as last:
        last.wait_until_drained()
        ledger.compare(store)


def test_a_second_worker_on_the_same_data_directory_refuses_to_start(tmp_path: Path) -> None:
    with running_worker(tmp_path, **all_sources()) as first:
        with pytest.raises(AssertionError, match="Another worker uses"):
            RunningWorker(tmp_path, all_sources())
        assert first.request("GET", "/readyz").status == 200


def test_a_worker_starts_and_acknowledges_while_its_store_is_down(tmp_path: Path) -> None:
    away = "postgresql://nobody:secret-word@127.0.0.1:9/none"
    body = b'{"event": "page_created", "page": {"id": 1}}'
    with running_worker(tmp_path, UAR_DATABASE_URL=away, **all_sources()) as worker:
        assert worker.post_datacenter(body) == 202
        deadline = time.monotonic() + 60
        while not (ready := worker.request("GET", "/readyz")).text.startswith(b"degraded"):  # type: ignore[attr-defined]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert ready.status == 200
        assert worker.metric("uar_spool_deliveries") == 1
        assert worker.metric("uar_store_errors_total") >= 1
        assert "secret-word" not in worker.log()
    with running_worker(tmp_path, **all_sources()) as worker:
        worker.wait_until_drained()
        assert worker.metric('uar_drained_deliveries_total{outcome="accepted",source="datacenter"}') == 1


def test_two_workers_feed_one_store_and_a_delivery_to_both_counts_once(store: Engine, store_url: str, tmp_path: Path) -> None:
    environ = all_sources() | {"UAR_DATABASE_URL": store_url}
    with running_worker(tmp_path / "a", **environ) as one, running_worker(tmp_path / "b", **environ) as two:
        for number in range(60):
            body = orjson.dumps({"timestamp": 1_772_532_000_000, "event": "page_created", "userKey": "k", "page": {"id": number}})
            assert one.post_datacenter(body, request_id=str(number)) == 202
            if number % 2:
                assert two.post_datacenter(body, request_id=str(number)) == 202
        one.wait_until_drained()
        two.wait_until_drained()
    with read_transaction(store) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM activity_log").scalar() == 60


def test_a_worker_started_without_network_knows_the_keys_of_its_last_run(tmp_path: Path) -> None:
    body = b'{"eventType": "avi:confluence:viewed:page"}'
    with key_host() as keys:
        environ = all_sources(keys.url)
        with running_worker(tmp_path, **environ) as worker:
            assert worker.post("/webhooks/forge", body, forge_headers()) == 202
    with running_worker(tmp_path, **environ) as worker:
        assert worker.post("/webhooks/forge", body, forge_headers()) == 202
    (tmp_path / "jwks.json").unlink()
    with running_worker(tmp_path, **environ) as worker:
        answer = worker.request("POST", "/webhooks/forge", body, forge_headers())
        assert (answer.status, answer.getheader("retry-after")) == (503, "30")

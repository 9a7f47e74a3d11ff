"""Many, slow and hostile senders at once: memory and files stay bounded, good deliveries are answered in time, too much gets 503."""

from __future__ import annotations

import itertools
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.capture.senders import APP_ID, forge_token, key_host
from tests.reliability.running import RunningWorker
from tests.reliability.sender import SITE, Ledger, Sender, body_of, datacenter_request, send_until_acked, signed_request
from tests.reliability.test_disk import UNREACHABLE, attached, slow_syncs, wait_for
from tests.reliability.verdict import assert_nothing_lost

GOOD_P99_S = 0.25
MEMORY_GROWTH_MB = 50
CONNECTIONS = 10_000


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for ten thousand connections in this process and in those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CONNECTIONS + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.fail(f"Only {hard} files may be open at once, and this test opens {needed}: raise the hard limit (ulimit -Hn).")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def good_deliveries(worker: RunningWorker, ledger: Ledger, count: int = 100) -> float:
    """Sends so many good deliveries at 50 a second; the 99th percentile of their answers, in seconds."""
    ledger.seconds.clear()
    start = max(ledger.sent, default=-1) + 1
    with Sender(worker.port, ledger, range(start, start + count), connections=4, rate=50) as sender:
        sender.join()
    assert (ledger.broken, ledger.acked) == (0, ledger.sent)
    return ledger.percentile(0.99)


def in_time(worker: RunningWorker, ledger: Ledger) -> float:
    """How late a good delivery may be while others press, in seconds: where the machine is busy anyway, four times as late as in calm."""
    return max(GOOD_P99_S, 4 * good_deliveries(worker, ledger, 50))


def wait_for_few_files(worker: RunningWorker, count: int, limit_s: float = 60.0) -> None:
    """Waits until the worker has at most so many files open, because it has ended connections."""
    deadline = time.monotonic() + limit_s
    while worker.files() > count:
        assert time.monotonic() < deadline, f"{worker.files()} files are still open"
        time.sleep(0.2)


@pytest.mark.usefixtures("many_files")
def test_ten_thousand_silent_connections_neither_block_a_delivery_nor_stay(tmp_path: Path) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data") as worker, ExitStack() as silent:
        limit_s, before_mb, before_files = in_time(worker, ledger), worker.memory_mb(), worker.files()
        for number in range(CONNECTIONS):
            connection = silent.enter_context(socket.create_connection(("127.0.0.1", worker.port), timeout=10))
            if number % 2:
                connection.send(b"POST /webhooks/forge HTTP/1.1\r\nHost: a")
        assert good_deliveries(worker, ledger) < max(1.0, limit_s)
        assert worker.memory_mb() - before_mb < 3 * MEMORY_GROWTH_MB
        wait_for_few_files(worker, before_files + 50)
        assert good_deliveries(worker, ledger) < limit_s
        worker.wait_drained()
        assert_nothing_lost(worker.database_url, ledger)


def test_slow_senders_are_cut_off_and_disturb_nobody(tmp_path: Path) -> None:
    ledger = Ledger()
    halves = [
        b"POST /webhooks/datacenter/wiki HT",
        b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
        b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ]
    with RunningWorker(tmp_path / "data") as worker, ExitStack() as slow:
        limit_s = in_time(worker, ledger)
        connections = [slow.enter_context(socket.create_connection(("127.0.0.1", worker.port), timeout=10)) for _ in range(900)]
        for number, connection in enumerate(connections):
            connection.sendall(halves[number % len(halves)])
        assert good_deliveries(worker, ledger, 200) < limit_s
        wait_for_few_files(worker, 100)
        for connection in connections[:8]:
            answer = b"".join(iter(lambda source=connection: source.recv(4096), b""))  # type: ignore[misc]
            assert answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")[:13] in (b"", b"HTTP/1.1 408 ")
        worker.wait_drained()
        assert_nothing_lost(worker.database_url, ledger)


def test_a_thousand_unknown_key_ids_cost_two_fetches_and_good_tokens_pass(tmp_path: Path) -> None:
    with key_host() as keys:
        settings = {"forge_app_id": APP_ID, "forge_jwks_url": keys.url}
        with RunningWorker(tmp_path / "data", **settings) as worker:
            statuses = set()
            with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as connection:
                answers = connection.makefile("rb")
                for number in range(1_000):
                    connection.sendall(forge_request(forge_token(key="key-1", kid=f"unknown-{number}")))
                    statuses.add(read_status(answers))
                connection.sendall(forge_request(forge_token()))
                assert read_status(answers) == 202
            assert statuses <= {401, 503}
            assert keys.fetches <= 3  # one at the start, and at most two for the unknown ones


def forge_request(token: str) -> bytes:
    """A Forge delivery with this token."""
    body = b'{"eventType":"avi:confluence:viewed:page","atlassianId":"user-123","content":{"id":"1","type":"page"}}'
    head = f"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def read_status(answers: object) -> int:
    """The status of the next answer on a connection, which is read to its end."""
    line = answers.readline()  # type: ignore[attr-defined]
    length = 0
    while (header := answers.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
        if header.lower().startswith(b"content-length:"):
            length = int(header.split(b":")[1])
    answers.read(length)  # type: ignore[attr-defined]
    return int(line[9:12])


def test_pipelined_deliveries_are_all_answered_in_order(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.sent |= set(range(100))
    with RunningWorker(tmp_path / "data") as worker:
        with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as connection:
            wrong = datacenter_request(50, ledger.newest).replace(b"sha256=", b"sha256=0")
            requests = [datacenter_request(number, ledger.newest) for number in range(100)]
            connection.sendall(b"".join([*requests[:50], wrong, *requests[50:]]))
            answers = connection.makefile("rb")
            statuses = [read_status(answers) for _ in range(101)]
        assert statuses == [202] * 50 + [401] + [202] * 50
        ledger.acked |= set(range(100))
        worker.wait_drained()
        assert_nothing_lost(worker.database_url, ledger)


def test_one_connection_serves_thousands_of_deliveries(tmp_path: Path) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data") as worker:
        with Sender(worker.port, ledger, range(1_000), connections=1) as sender:
            sender.join()
        assert (dict(ledger.statuses), ledger.broken) == ({202: 1_000}, 0)
        worker.wait_drained()
        assert_nothing_lost(worker.database_url, ledger)


def test_the_same_delivery_from_sixteen_senders_a_thousand_times_is_one_row(tmp_path: Path) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data") as worker:
        with Sender(worker.port, ledger, itertools.repeat(7, 1_000), connections=16) as sender:
            sender.join()
        assert dict(ledger.statuses) == {202: 1_000}
        worker.wait_drained()
        assert_nothing_lost(worker.database_url, ledger)


def test_more_than_it_can_carry_is_shed_with_503_and_memory_stays_bounded(tmp_path: Path) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data", UNREACHABLE) as worker:
        before = worker.memory_mb()
        # 200 bodies of nearly a mebibyte under way at any time; 64 MiB of them are taken, the rest is told to come again.
        make = lambda number: large_request(number, ledger.newest)  # noqa: E731
        with ExitStack() as slow:
            slow.enter_context(attached(slow_syncs(tmp_path, 300), worker.pid))
            with Sender(worker.port, ledger, range(300), connections=200, make_request=make) as sender:
                wait_for(ledger, 503)
                slow.close()
                sender.join()
        assert ledger.statuses.keys() == {202, 503}
        assert worker.answers("accepted") == ledger.statuses[202]
        assert 20 <= worker.answers("overloaded") <= ledger.statuses[503]
        assert ledger.without_retry_after == 0
        assert max(ledger.seconds) < 10.0
        assert worker.peak_memory_mb() - before < 200
        worker.terminate()
        worker.database_url = f"sqlite:///{tmp_path / 'uar.db'}"
        worker.start()
        send_until_acked(worker.port, ledger)
        worker.wait_drained()
        assert_nothing_lost(worker.database_url, ledger)


def test_large_bodies_of_strangers_take_little_memory_and_keep_no_delivery_out(tmp_path: Path) -> None:
    head = f"POST /webhooks/datacenter/{SITE} HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n".encode()
    ledger = Ledger()
    with RunningWorker(tmp_path / "data") as worker, ExitStack() as strangers:
        before = worker.memory_mb()
        for _ in range(300):
            stranger = strangers.enter_context(socket.create_connection(("127.0.0.1", worker.port), timeout=10))
            stranger.sendall(head + b"x" * 1_048_000)
        with Sender(worker.port, ledger, range(20)) as sender:
            sender.join()
        assert dict(ledger.statuses) == {202: 20}
        assert worker.memory_mb() - before < 150
        assert worker.answers("overloaded") > 200
        strangers.close()
        with Sender(worker.port, ledger, range(20, 40), make_request=lambda number: large_request(number, ledger.newest)) as sender:
            sender.join()  # what the strangers held is free again
        assert dict(ledger.statuses) == {202: 40}
        worker.wait_drained()
        assert_nothing_lost(worker.database_url, ledger)


def large_request(number: int, newest: int) -> bytes:
    """A delivery whose body is filled up with blanks to 900 kB, signed as it is."""
    return signed_request(number, body_of(number, newest) + b" " * 900_000)


def test_under_steady_load_the_store_is_never_seconds_behind(tmp_path: Path, database_url: str) -> None:
    ledger = Ledger()
    with RunningWorker(tmp_path / "data", database_url) as worker:
        ages = []
        with Sender(worker.port, ledger, range(4_000), connections=64, rate=1_000) as sender:
            for _ in range(8):
                time.sleep(0.5)
                ages.append(worker.metric("uar_spool_oldest_age_seconds"))
            sender.join()
        worker.wait_drained()
        assert set(ledger.statuses) == {202}
        assert max(ages) < 5.0
        assert_nothing_lost(database_url, ledger)

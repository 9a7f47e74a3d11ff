"""What a connection does beyond one request and one answer: order, halves, ends, and senders that do not read."""

from __future__ import annotations

import asyncio
import hmac
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.reliability.running import RunningWorker
from tests.reliability.sender import SECRET, SITE, datacenter_request
from uar.capture.answers import ALIVE, Answer
from uar.capture.protocol import MESSAGE_DEADLINE_S, Request, WebhookProtocol

NEWEST = 1_795_500_000_000
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
REFUSED = f"POST /webhooks/datacenter/{SITE} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorker]:
    with RunningWorker(tmp_path_factory.mktemp("worker") / "data") as running:
        yield running


def talk(worker: RunningWorker, sent: bytes, *, is_half_closed: bool = False) -> bytes:
    """All that comes back until the worker closes the connection, or is silent for a second."""
    with socket.create_connection(("127.0.0.1", worker.port), timeout=1) as connection:
        connection.sendall(sent)
        if is_half_closed:
            connection.shutdown(socket.SHUT_WR)
        heard = b""
        try:
            while chunk := connection.recv(65536):
                heard += chunk
        except TimeoutError:
            heard += b"(still open)"
    return heard


def statuses(heard: bytes) -> list[int]:
    return [int(part[:3]) for part in heard.split(b"HTTP/1.1 ")[1:]]


def good(number: int) -> bytes:
    return datacenter_request(number, NEWEST)


def test_answers_leave_in_the_order_of_the_requests_whenever_they_were_known(worker: RunningWorker) -> None:
    heard = talk(worker, good(1) + REFUSED + HEALTH + good(2) + b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert statuses(heard) == [202, 401, 200, 202, 404]
    assert heard.count(b"connection: close") == 1


def test_a_sender_that_has_said_all_still_gets_its_answer(worker: RunningWorker) -> None:
    heard = talk(worker, good(3), is_half_closed=True)
    assert statuses(heard) == [202]
    assert not heard.endswith(b"(still open)")
    assert talk(worker, good(4)[:-5], is_half_closed=True) == b""


def test_what_is_said_behind_the_last_request_is_not_heard(worker: RunningWorker) -> None:
    last = good(5).replace(b"Host:", b"Connection: close\r\nHost:", 1)
    assert statuses(talk(worker, last + good(6))) == [202]
    assert statuses(talk(worker, good(7).replace(b"HTTP/1.1", b"HTTP/1.0", 1) + good(8))) == [202]


def test_rubbish_behind_a_delivery_does_not_cost_its_answer(worker: RunningWorker) -> None:
    heard = talk(worker, good(9) + b"rubbish\r\n\r\n" + good(10))
    assert statuses(heard) == [202, 400]
    assert not heard.endswith(b"(still open)")


def test_a_request_that_asks_for_another_protocol_is_answered_in_this_one(worker: RunningWorker) -> None:
    heard = talk(worker, HEALTH.replace(b"Host:", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost:", 1) + HEALTH)
    assert statuses(heard) == [200]
    assert not heard.endswith(b"(still open)")


def test_the_body_of_a_refused_request_is_passed_over_and_the_connection_serves_on(worker: RunningWorker) -> None:
    large = f"POST /webhooks/datacenter/{SITE} HTTP/1.1\r\nHost: x\r\nContent-Length: {2_000_000}\r\n\r\n".encode() + b"x" * 2_000_000
    assert statuses(talk(worker, large + good(12))) == [413, 202]
    endless = large.replace(b"2000000", b"20000000", 1) + b"x" * 18_000_000
    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        talk(worker, endless + endless)


def chunked(number: int, chunks: bytes) -> bytes:
    head = good(number).split(b"\r\n\r\n")[0].replace(b"Host:", b"Transfer-Encoding: chunked\r\nHost:", 1)
    return re.sub(rb"\r\nContent-Length: \d+", b"", head) + b"\r\n\r\n" + chunks


def test_a_body_may_come_in_chunks_of_a_byte(worker: RunningWorker) -> None:
    body = good(15).split(b"\r\n\r\n")[1]
    for spaces in (0, 200_000):
        spaced = body + b" " * spaces
        signature = hmac.digest(SECRET.encode(), spaced, "sha256").hex().encode()
        request = chunked(15, b"".join(b"1\r\n%c\r\n" % byte for byte in spaced) + b"0\r\n\r\n")
        assert statuses(talk(worker, re.sub(rb"sha256=\w+", b"sha256=" + signature, request))) == [202]


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(b"2;" + b"x" * 4_000_000, id="chunk"),
        pytest.param(b"0\r\n" + b"X-A: b\r\n" * 400_000, id="trailers"),
        pytest.param(b"0\r\nX-A: " + b"b" * 4_000_000, id="trailer"),
    ],
)
def test_what_brings_nothing_is_not_heard_without_end(worker: RunningWorker, endless: bytes) -> None:
    began_at = time.monotonic()
    with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as connection:
        with suppress(ConnectionError):
            connection.sendall(chunked(16, endless))
        with suppress(ConnectionError):
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - began_at < MESSAGE_DEADLINE_S


def test_a_sender_that_waits_for_a_word_gets_it(worker: RunningWorker) -> None:
    head, body = good(13).replace(b"Host:", b"Expect: 100-Continue\r\nHost:", 1).split(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", worker.port), timeout=2) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 202 Accepted\r\n")


def test_an_answer_to_head_has_no_body_and_every_answer_a_date(worker: RunningWorker) -> None:
    heard = talk(worker, HEALTH.replace(b"GET", b"HEAD") + HEALTH)
    first, second = heard.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"405 ")
    assert first.endswith(b"\r\n\r\n")
    assert second.endswith(b"\r\n\r\nalive\n(still open)")
    assert heard.count(b"\r\ndate: ") == 2


def test_a_sender_that_does_not_read_its_answers_is_not_read_either(worker: RunningWorker) -> None:
    before = worker.memory_mb()
    with socket.create_connection(("127.0.0.1", worker.port), timeout=0.5) as connection:
        with pytest.raises(TimeoutError):
            connection.sendall(HEALTH * 1_000_000)
        assert worker.memory_mb() - before < 30
        assert worker.post(good(14)) == 202


class Echo:
    """An application that answers whole requests at once."""

    held_bytes = 0

    def begin(self, request: Request) -> None:
        """Waits for the body."""

    def finish(self, request: Request) -> None:
        request.reply(ALIVE)

    def reject(self, request: Request, answer: Answer) -> None:
        request.reply(answer)


@pytest.mark.parametrize(
    ("sent", "patience_s", "last_words"),
    [
        (b"", 5, b""),
        (HEALTH[:20], 5, b""),
        (REFUSED[:-1], 5, b"HTTP/1.1 408 "),
        (HEALTH, 65, b""),
        (HEALTH + REFUSED[:-1], 5, b"HTTP/1.1 408 "),
    ],
    ids=["nothing", "half a head", "half a body", "one request", "one and a half"],
)
def test_a_connection_is_ended_after_five_seconds_of_half_a_request_or_65_of_nothing(
    sent: bytes, patience_s: int, last_words: bytes
) -> None:
    transport = Mock(asyncio.Transport, **{"is_closing.return_value": False})
    connection = WebhookProtocol(Mock(loaded_app=Echo()), Mock(connections=set(), default_headers=[]), {})
    connection.connection_made(transport)
    if sent:
        connection.data_received(sent)
    now = time.monotonic()
    transport.write.reset_mock()
    connection.look(now + patience_s - 1)
    transport.close.assert_not_called()
    connection.look(now + patience_s + 1)
    transport.close.assert_called()
    assert b"".join(call.args[0] for call in transport.write.call_args_list)[:13] == last_words


def test_what_was_begun_when_the_worker_stops_is_still_answered(tmp_path: Path) -> None:
    with RunningWorker(tmp_path / "data") as stopping:
        one = good(15)
        with (
            socket.create_connection(("127.0.0.1", stopping.port), timeout=5) as slow,
            socket.create_connection(("127.0.0.1", stopping.port), timeout=5) as silent,
        ):
            slow.sendall(one[:-5])
            time.sleep(0.2)
            stopping.signal(15)
            time.sleep(0.5)
            slow.sendall(one[-5:])
            assert slow.recv(1000).startswith(b"HTTP/1.1 202 ")
            assert slow.recv(1000) == b""
            assert silent.recv(1000) == b""
        assert stopping.wait_end() == 0

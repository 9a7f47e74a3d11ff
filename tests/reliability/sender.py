"""A sender of signed deliveries over real sockets, and the ledger of what it sent and what was acknowledged.

    Sender     a thread with its own event loop: a number of connections that each keep one delivery under way
    Ledger     every number that was sent, the numbers that got a 2xx, every status, how long answers took

Delivery `n` is one page event of one person at one instant, all three told by `n` alone, so that whoever knows the numbers knows the rows.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import uvloop

from uar.activity import DAY_MS

SITE = "wiki"
SECRET = "example-secret-of-the-reliability-tests"
PEOPLE = 97
DAYS = 30
ANSWER_LIMIT_S = 6.0  # senders give up after five
JOIN_LIMIT_S = 120.0

MakeRequest = Callable[[int], bytes]


def occurred_at(number: int, newest: int) -> int:
    """The instant of a delivery's event: within the `DAYS` before `newest`, epoch milliseconds."""
    return newest - (number * 7_919_777) % (DAYS * DAY_MS)


def account(number: int) -> str:
    """Who acted."""
    return f"ff80818154510724{number % PEOPLE:016x}"


def body_of(number: int, newest: int) -> bytes:
    """The body of one delivery, as Data Center writes it."""
    return b'{"timestamp":%d,"event":"page_updated","userKey":"%b","page":{"id":%d}}' % (
        occurred_at(number, newest),
        account(number).encode(),
        number,
    )


def datacenter_request(number: int, newest: int) -> bytes:
    """The whole request of one signed delivery."""
    return signed_request(number, body_of(number, newest))


def signed_request(number: int, body: bytes) -> bytes:
    """The whole request of a body, signed as it is; `number` is the sender's id of the delivery."""
    signature = hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()
    return (
        f"POST /webhooks/datacenter/{SITE} HTTP/1.1\r\nHost: worker\r\nContent-Type: application/json\r\nX-Event-Key: page_updated\r\n"
        f"X-Request-Id: {number}\r\nX-Hub-Signature: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@dataclass
class Ledger:
    """What was sent and how it was answered. `newest` is the instant below which all events lie, epoch milliseconds."""

    newest: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    sent: set[int] = field(default_factory=set)
    acked: set[int] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    broken: int = 0
    without_retry_after: int = 0

    @property
    def unacked(self) -> set[int]:
        """Sent, but without a 2xx: whether the store has them is open."""
        return self.sent - self.acked

    def percentile(self, share: float) -> float:
        """How long that share of the answers took at most, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def note(self, number: int, status: int, head: bytes, seconds: float) -> None:
        """One answer."""
        self.statuses[status] += 1
        self.seconds.append(seconds)
        if 200 <= status < 300:
            self.acked.add(number)
        elif status == 503 and b"retry-after:" not in head.lower():
            self.without_retry_after += 1


class Connection(asyncio.Protocol):
    """One connection that has at most one request under way; `answer` ends with its status and head."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the worker closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        head = self._received[:end]
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(self._received) >= end + 4 + length:
            self._received = b""
            self._answer.set_result((int(head[9:12]), head))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Sends one request; status and head of its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Drops the connection."""
        if self._transport is not None:
            self._transport.abort()


class Sender:
    """Sends numbers to a port until `stop` or until there are none left. With a `rate` (per second), each number has its time."""

    def __init__(
        self,
        port: int,
        ledger: Ledger,
        numbers: Iterable[int],
        *,
        connections: int = 8,
        rate: float | None = None,
        make_request: MakeRequest | None = None,
    ) -> None:
        self.ledger = ledger
        self._port = port
        self._numbers = iter(numbers)
        self._count = connections
        self._rate = rate
        self._make = make_request or (lambda number: datacenter_request(number, ledger.newest))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), name="sender", daemon=True)

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Sends nothing new and waits for the answers under way."""
        self._stopping.set()
        self._thread.join(2 * ANSWER_LIMIT_S)
        assert not self._thread.is_alive(), "the sender does not end: an answer is missing"

    def join(self, limit_s: float = JOIN_LIMIT_S) -> None:
        """Waits until every number was sent and answered."""
        self._thread.join(limit_s)
        assert not self._thread.is_alive(), f"the sender has not sent everything: {dict(self.ledger.statuses)}, {self.ledger.broken} broken"

    async def _run(self) -> None:
        due = self._due()
        await asyncio.gather(*(self._keep_sending(due) for _ in range(self._count)))

    def _due(self) -> Iterator[tuple[int, float | None]]:
        """Each number with the time at which it is to be sent, if there is a rate."""
        start = asyncio.get_running_loop().time()
        for place, number in enumerate(self._numbers):
            yield number, None if self._rate is None else start + place / self._rate

    async def _keep_sending(self, due: Iterator[tuple[int, float | None]]) -> None:
        loop = asyncio.get_running_loop()
        connection: Connection | None = None
        for number, at in due:
            if self._stopping.is_set():
                break
            if at is not None and at > loop.time():
                await asyncio.sleep(at - loop.time())
            connection = await self._send(connection, number, at or loop.time())
        if connection is not None:
            connection.close()

    async def _send(self, connection: Connection | None, number: int, since: float) -> Connection | None:
        """Sends one delivery once; the connection if it can be used again."""
        loop = asyncio.get_running_loop()
        self.ledger.sent.add(number)
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                if connection is None or not connection.is_open:
                    _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
                status, head = await connection.ask(self._make(number))
        except (OSError, TimeoutError):
            self.ledger.broken += 1
            if connection is not None:
                connection.close()
            await asyncio.sleep(0.02)
            return None
        self.ledger.note(number, status, head, loop.time() - since)
        return connection


def send_until_acked(port: int, ledger: Ledger, limit_s: float = 60.0) -> None:
    """Sends again what was not acknowledged, as a sender with retries does, until all of it is."""
    deadline = time.monotonic() + limit_s
    while ledger.unacked:
        assert time.monotonic() < deadline, f"{len(ledger.unacked)} deliveries are still refused: {dict(ledger.statuses)}"
        with Sender(port, ledger, sorted(ledger.unacked)) as sender:
            sender.join()

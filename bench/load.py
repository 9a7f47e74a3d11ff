"""The worker under load: what a verified, durable, acknowledged delivery costs, and whether a minute at 3,000 a second loses nothing.

    rates      the worker beside the same server with an empty handler, in turns, with latencies
    sustained  60 s at a fixed rate into SQLite and into PostgreSQL, drained, recounted, and how late a report is

Sender, worker and database share the machine's cores, so the figures are a lower bound.
"""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.timing import milliseconds, table
from tests.capture.senders import APP_ID, claims, forge_token, key_host
from tests.reliability.conftest import ready
from tests.reliability.postgres import PostgresServer, free_port
from tests.reliability.running import RunningWorker
from tests.reliability.sender import SITE, Ledger, Sender, datacenter_request, send_until_acked
from tests.reliability.verdict import judge
from uar.live import LiveMirror
from uar.store.database import open_store, read_transaction
from uar.store.reads import find_site

CONNECTIONS = (64, 256)  # with few, every delivery waits for the disk; with many, a commit takes more of them along
ROUND_S = 6.0
ROUNDS = 3
RATE = 3_000
SECONDS = 60
PREPARED = 40_000
LOOK_S = 0.5

# uvicorn as it comes, with the worker's event loop and parser: reads the body, answers.
EMPTY = """
import sys, uvicorn

START = {"type": "http.response.start", "status": 202, "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"{}"}

async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send(BODY)

uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, backlog=2048)
"""


@dataclass(frozen=True)
class Burst:
    """One round as fast as the answers come: deliveries a second, median and 99th percentile of an answer in seconds."""

    rate: float
    median_s: float
    p99_s: float


def load() -> None:
    """Both tables, printed as Markdown."""
    print("## Worker: verified, durable, acknowledged\n", flush=True)
    print(rates(), flush=True)
    print(f"\n## End to end: {RATE:,} deliveries a second for {SECONDS} s\n", flush=True)
    print(sustained(), flush=True)


def rates() -> str:
    """The worker with two kinds of proof beside the empty handler, in turns; medians over the rounds."""
    with tempfile.TemporaryDirectory(prefix="uar-bench-") as name, key_host() as keys, empty_server() as empty:
        newest = time.time_ns() // 1_000_000
        signed = [datacenter_request(number, newest) for number in range(PREPARED)]
        tokened = [forge_request(number, newest, token) for number, token in enumerate(fresh_tokens(PREPARED))]
        with RunningWorker(Path(name) / "data", forge_app_id=APP_ID, forge_jwks_url=keys.url) as worker:
            cases = {
                "empty handler": (empty, signed),
                "worker, Data Center signature": (worker.port, signed),
                "worker, Forge token": (worker.port, tokened),
            }
            bursts: dict[tuple[int, str], list[Burst]] = {(count, case): [] for count in CONNECTIONS for case in cases}
            for _, (count, case) in itertools.product(range(ROUNDS), bursts):
                port, requests = cases[case]
                bursts[count, case].append(burst(port, requests, count))
                worker.wait_drained(300)
    rows = []
    for (count, case), found in bursts.items():
        base = statistics.median(one.rate for one in bursts[count, "empty handler"])
        rate = statistics.median(one.rate for one in found)
        times = [milliseconds(1000 * statistics.median(getattr(one, name) for one in found)) for name in ("median_s", "p99_s")]
        rows.append([case, str(count), f"{rate:,.0f}", f"{rate / base:.0%}", *times])
    return table(["server", "connections", "deliveries/s", "of empty", "median", "p99"], rows)


def burst(port: int, requests: list[bytes], connections: int) -> Burst:
    """One round from a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_burst, (port, requests, connections))


def _burst(port: int, requests: list[bytes], connections: int) -> Burst:
    gc.freeze()
    ledger = Ledger()
    started_at = time.monotonic()
    make = lambda number: requests[number % len(requests)]  # noqa: E731
    with Sender(port, ledger, itertools.count(), connections=connections, make_request=make) as sender:
        time.sleep(ROUND_S)
        sender.stop()
    seconds = time.monotonic() - started_at
    if set(ledger.statuses) != {202}:
        raise RuntimeError(f"not every delivery was acknowledged: {dict(ledger.statuses)}")
    return Burst(ledger.statuses[202] / seconds, ledger.percentile(0.5), ledger.percentile(0.99))


@contextmanager
def empty_server() -> Iterator[int]:
    """The port of the same server whose handler reads the body and answers."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", EMPTY, str(port)])
    try:
        time.sleep(1.5)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def fresh_tokens(count: int) -> list[str]:
    """Tokens of Forge as they come in life, each for one delivery, good for the time of the measurement."""
    now = int(time.time())
    return [forge_token(claims(now, exp=now + 800)) for _ in range(count)]


def forge_request(number: int, newest: int, token: str) -> bytes:
    """One delivery of a Forge app."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime((newest - number * 61_000 % 2_592_000_000) / 1000))
    body = (
        f'{{"eventType":"avi:confluence:viewed:page","atlassianId":"user-{number % 97}","eventCreatedDate":"{at}",'
        f'"content":{{"id":"{number}","type":"page","status":"current","title":"Page","space":{{"id":42,"key":"ENG","name":"Engineering"}}}}}}'
    )
    head = f"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def sustained(rate: int = RATE, seconds: int = SECONDS) -> str:
    """The fixed rate into both databases."""
    server = PostgresServer(shared_buffers="256MB")
    server.start()
    try:
        rows = []
        for kind in ("SQLite", "PostgreSQL"):
            with tempfile.TemporaryDirectory(prefix="uar-bench-") as name:
                url = f"sqlite:///{Path(name) / 'uar.db'}" if kind == "SQLite" else server.new_database()
                rows.append([kind, *one_minute(Path(name), url, rate, seconds)])
                print(f"{kind}: done.", file=sys.stderr, flush=True)
    finally:
        server.remove()
    header = [
        "store",
        "offered/s",
        "acknowledged",
        "shed (503)",
        "median",
        "p99",
        "slowest",
        "visible after",
        "drained after",
        "lost",
        "twice",
    ]
    return table(header, rows)


def one_minute(folder: Path, url: str, rate: int, seconds: int) -> list[str]:
    """One store: offers the rate, drains, recounts every number."""
    ready(url)
    with RunningWorker(folder / "data", url) as worker:
        looks = Looks(url)
        ledger, offered = send_from_process(worker.port, rate, seconds)
        drained = worker.wait_drained(300)
        visible = looks.stop()
        at_once, shed = len(ledger.acked), ledger.statuses[503]
        times = [ledger.percentile(0.5), ledger.percentile(0.99), max(ledger.seconds)]
        send_until_acked(worker.port, ledger, 120)
        worker.wait_drained(120)
    engine = open_store(url)
    verdict = judge(engine, ledger)
    engine.dispose()
    if not (verdict.is_clean and verdict.stored == len(ledger.sent)):
        raise RuntimeError(str(verdict))
    shown = [milliseconds(1000 * value) for value in times]
    return [
        f"{offered:,.0f}",
        f"{at_once:,}",
        f"{shed:,}",
        *shown,
        f"≤ {visible:.1f} s",
        f"{drained:.1f} s",
        str(len(verdict.lost)),
        str(len(verdict.twice)),
    ]


def send_from_process(port: int, rate: int, seconds: int) -> tuple[Ledger, float]:
    """The ledger of a sender in a process of its own, and the rate it really offered."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_send, (port, rate, seconds))


def _send(port: int, rate: int, seconds: int) -> tuple[Ledger, float]:
    gc.freeze()  # else the sender's own pauses count as the worker's
    ledger = Ledger()
    started_at = time.monotonic()
    with Sender(port, ledger, range(rate * seconds), connections=CONNECTIONS[-1], rate=rate) as sender:
        sender.join()
    return ledger, len(ledger.sent) / (time.monotonic() - started_at)


class Looks:
    """Refreshes a report all the time and notes how old the newest delivery is that it does not show yet: the time from 202 to visible."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._worst_s = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The longest time, in seconds."""
        self._stopping.set()
        self._thread.join()
        return self._worst_s

    def _run(self) -> None:
        engine = open_store(self._url)
        live: LiveMirror | None = None
        while not self._stopping.wait(LOOK_S):
            if live is None:
                live = self._mirror(engine)
                continue
            asked_at = time.time()
            newest = live.refresh().last_received_at
            if newest is not None:
                self._worst_s = max(self._worst_s, asked_at - newest / 1000)
        engine.dispose()

    def _mirror(self, engine: object) -> LiveMirror | None:
        with read_transaction(engine) as connection:  # type: ignore[arg-type]
            site_id = find_site(connection, SITE)
        return None if site_id is None else LiveMirror(engine, site_id, 0, None)  # type: ignore[arg-type]


def main() -> None:
    """`python -m bench.load` measures the worker alone."""
    steps: tuple[Callable[[], None], ...] = (load,)
    print(f"{os.cpu_count()} cores\n")
    for step in steps:
        step()


if __name__ == "__main__":
    main()

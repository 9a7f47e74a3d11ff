"""The worker's ASGI application: takes a delivery, proves the sender, makes it durable, answers. The rest happens later in the drain.

Every answer is in `uar.capture.answers`; which one is given when, in `Worker._deliver` and `Worker._take`. A defect answers 503, never 500.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from uar.activity import Source
from uar.app_tokens import AppTokens
from uar.capture import answers
from uar.capture.answers import Answer, bytes_answer, come_again, make_answer
from uar.capture.delivery import REUSED_TOKEN, Delivery, Refused, Undecided
from uar.capture.drain import Drain
from uar.capture.forge_token import Proven, Trust, TrustedTokens, app_token
from uar.capture.keyset import KeySet
from uar.capture.metrics import Metrics
from uar.capture.sources import connect, datacenter, forge
from uar.capture.spool import Spool, SpoolFull
from uar.capture.used_tokens import UsedTokens
from uar.config import Secret, Settings
from uar.store.database import Engine, migrate, open_store

MAX_BODY = 1024 * 1024
SMALL_BODY = 64 * 1024  # is read in the loop; a larger one on a thread of its own
BODY_DEADLINE_S = 5.0
# Forge gives up after 5 s; whoever waits longer than this for a commit is told to come again.
COMMIT_DEADLINE_S = 3.0
SWEEP_S = 0.25
DRAIN_STOP_S = 5.0
SAY_AGAIN_S = 60.0

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """What an address says: the source, and for all but Forge the site, and for Cloud webhooks the event."""

    source: Source
    site: str = ""
    event_name: str | None = None


@lru_cache(1024)
def route(path: str) -> Route | None:
    """The route of a path below /webhooks/, matched exactly; None if there is none."""
    match path.split("/"):
        case ["", "webhooks", "forge"]:
            return Route(Source.FORGE)
        case ["", "webhooks", "datacenter", site] if site:
            return Route(Source.DATACENTER, site)
        case ["", "webhooks", "connect", site, event_name] if site and event_name:
            return Route(Source.CONNECT, site, event_name)
    return None


def make_app(settings: Settings, *, now_ms: Callable[[], int] | None = None, app_tokens: AppTokens | None = None) -> Worker:
    """The application with its spool open; `serve` runs it. `app_tokens` gets the Forge app's tokens. Raises `SpoolBroken`."""
    return Worker(settings, now_ms or (lambda: time.time_ns() // 1_000_000), app_tokens)


class Worker:
    """The ASGI application. Its life is the server's: the drain and the key set start and stop with it."""

    def __init__(self, settings: Settings, now_ms: Callable[[], int], app_tokens: AppTokens | None = None) -> None:
        self._now_ms = now_ms
        self._app_tokens = app_tokens
        self.metrics = Metrics()
        self.key_set = KeySet(settings.forge_jwks_url, settings.data_dir / "jwks.json")
        self._tokens = TrustedTokens(self.key_set, Trust.of(settings))
        self._used = UsedTokens()
        self._secrets = {
            Source.DATACENTER: by_site(settings.datacenter_secrets),
            Source.CONNECT: by_site(settings.connect_tokens),
        }
        self._is_forge_on = bool(settings.forge_app_id)
        self.spool = Spool(settings.spool_path, settings.spool_limit_mb * 1024 * 1024, self._committed)
        name = f"{socket.gethostname()}:{settings.data_dir.resolve()}"
        self.drain = Drain(self.spool, lambda: ready_store(settings), settings, self.metrics, name, now_ms)
        self._waiting: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._said_at: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        try:
            answer = await self._answer(scope, receive)
        except Exception:
            log.exception("A request failed because of a defect.")
            answer = answers.FAILED
        if answer is not None:
            with suppress(RuntimeError):  # the sender went away before its answer: uvloop refuses to write
                await send(answer.start)
                await send(answer.body)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | None:
        path = scope["path"]
        if path.startswith("/webhooks/"):
            found = route(path)
            return answers.NOT_FOUND if found is None else await self._deliver(found, scope, receive)
        pages = {"/healthz": self._health, "/readyz": self._readiness, "/metrics": self._metrics_page}
        if path not in pages:
            return answers.NOT_FOUND
        return pages[path]() if scope["method"] == "GET" else answers.GET_ONLY

    async def _deliver(self, at: Route, scope: Scope, receive: Receive) -> Answer | None:
        """The answer to one delivery, counted; None if the sender went away."""
        started_at = time.monotonic()
        if not (self._is_forge_on if at.source is Source.FORGE else self._secrets[at.source]):
            self._say(f"A delivery came for {at.source.key}, which is not configured; it was answered 404.")
            return answers.NOT_CONFIGURED
        if scope["method"] != "POST":
            return answers.POST_ONLY
        try:
            outcome, answer = await self._take(at, scope, receive)
        except Refused as error:
            self._say(f"A delivery of {at.source.key} was refused: {error}.")
            self.metrics.refused(at.source, at.site if at.site in self._secrets.get(at.source, ()) else "", str(error))
            outcome, answer = "refused", answers.REFUSED
        except Undecided as error:
            self._say(f"A delivery of {at.source.key} could not be judged: {error}.")
            outcome, answer = "undecided", come_again("The proof cannot be judged now; come again.\n", error.retry_after_s)
        self.metrics.answered(at.source, outcome, time.monotonic() - started_at)
        return answer

    async def _take(self, at: Route, scope: Scope, receive: Receive) -> tuple[str, Answer | None]:
        """Proves, reads and keeps one delivery; how it ended and the answer. Raises `Refused` and `Undecided`."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        objection = head_objection(headers)
        if objection is not None:
            return "bad_form", objection
        site, delivery_id, event_name, proven = at.site, None, at.event_name, None
        if at.source is Source.FORGE:
            proven = await self._forge_proof(headers)
            site = proven.site
        elif at.source is Source.CONNECT:
            connect.verify(scope["query_string"], self._secrets[at.source].get(site, ()))
        body = await self._body(receive)
        if not isinstance(body, bytes):
            return "bad_form", body
        if at.source is Source.DATACENTER:
            if datacenter.verify(headers, body, self._secrets[at.source].get(site, ())):
                return "test", answers.TEST_PASSED
            event_name, delivery_id = datacenter.header_event(headers), datacenter.request_id(headers)
        if proven is not None and await self._is_reused(proven, body):
            delivery_id = REUSED_TOKEN
        return await self._keep(Delivery(at.source, site, event_name, delivery_id, self._now_ms(), body))

    async def _forge_proof(self, headers: list[tuple[bytes, bytes]]) -> Proven:
        """What the delivery's token proves; what it brings for reading the directory is held. Raises `Refused` and `Undecided`."""
        at = self._now_ms()
        proven = await self._tokens.proven(headers, at / 1000)
        if self._app_tokens is not None and proven.is_at_gateway and (token := app_token(headers)) is not None:
            self._app_tokens.keep(proven.site, token, at)
        return proven

    async def _is_reused(self, proven: Proven, body: bytes) -> bool:
        """Whether a token has come before with another body: somebody sees the tokens of others, which the log and the metrics tell."""
        said = forge.said(body) if len(body) <= SMALL_BODY else await asyncio.to_thread(forge.said, body)
        is_reused = self._used.is_for_another(proven.signed, proven.expires_at, said, self._now_ms() / 1000)
        if is_reused:
            self._say("A Forge token came again with another body; the delivery goes to quarantine. The Collection page says what to do.")
            self.metrics.token_reused()
        return is_reused

    async def _body(self, receive: Receive) -> bytes | Answer | None:
        """The body, or what `_sweep` makes of it when it takes too long: a timer for each request would cost more than the rest."""
        task = asyncio.current_task()
        assert task is not None
        self._reading[task] = time.monotonic() + BODY_DEADLINE_S
        try:
            return await read_body(receive)
        except asyncio.CancelledError:
            if task in self._reading:  # the server's own end, not the deadline
                raise
            task.uncancel()
            return answers.TOO_SLOW
        finally:
            self._reading.pop(task, None)

    async def _keep(self, delivery: Delivery) -> tuple[str, Answer]:
        """Waits until the delivery is durable."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        try:
            self.spool.append(delivery, future)
        except SpoolFull:
            self._say("The spool or its queue is full; senders are told to come again.")
            return "overloaded", answers.OVERLOADED
        self._waiting.append((time.monotonic() + COMMIT_DEADLINE_S, future))
        if not await future:
            return "not_durable", answers.NOT_DURABLE
        self.metrics.arrived(delivery.source, delivery.received_at / 1000)
        return "accepted", answers.ACCEPTED

    def _committed(self, waiters: Sequence[asyncio.Future[bool]], is_durable: bool) -> None:
        """From the spool's thread: one hop into the loop for the whole group."""
        self._loop.call_soon_threadsafe(settle, waiters, is_durable)

    async def _sweep(self) -> None:
        """Ends the waiting for slow commits (the delivery may become durable later, and comes again anyway) and for slow senders."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] < now):
                settle([self._waiting.popleft()[1]], False)
            for task in [task for task, deadline in self._reading.items() if deadline < now]:
                del self._reading[task]
                task.cancel()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._loop = asyncio.get_running_loop()
        self._tasks = [asyncio.create_task(self._sweep())]
        if self._is_forge_on:
            self._tasks.append(asyncio.create_task(self.key_set.run()))
        self.drain.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self.drain.stop, DRAIN_STOP_S)
        await asyncio.to_thread(self.spool.stop, DRAIN_STOP_S)
        await send({"type": "lifespan.shutdown.complete"})

    def _health(self) -> Answer:
        return answers.ALIVE

    def _readiness(self) -> Answer:
        """Ready means: a delivery sent now would be kept. The store is not asked, the spool stands in for it."""
        if self._is_stopping:
            return come_again("stopping\n", 5)
        if not self.spool.is_writable:
            return come_again("the spool cannot commit\n", 5)
        if self.spool.is_full():
            return come_again("the spool is full\n", 30)
        return make_answer(200, "degraded: the store cannot be used\n" if self.drain.is_degraded else "ready\n")

    def _metrics_page(self) -> Answer:
        oldest = self.drain.oldest_received_at
        self.metrics.show(
            spool_deliveries=self.spool.depth,
            spool_bytes=self.spool.used_bytes,
            spool_oldest_age_seconds=0.0 if oldest is None else max(0.0, (self._now_ms() - oldest) / 1000),
            keyset_age_seconds=self.key_set.age_s(),
        )
        return bytes_answer(200, self.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")

    def _say(self, sentence: str) -> None:
        """Logs a sentence, the same one at most once a minute: senders must not be able to fill the log."""
        now = time.monotonic()
        if now - self._said_at.get(sentence, float("-inf")) >= SAY_AGAIN_S:
            self._said_at[sentence] = now
            log.warning(sentence)


def settle(waiters: Sequence[asyncio.Future[bool]], is_durable: bool) -> None:
    """Tells each one that still waits."""
    for future in waiters:
        if not future.done():
            future.set_result(is_durable)


def by_site(pairs: Sequence[tuple[str, Secret]]) -> dict[str, tuple[bytes, ...]]:
    """All live secrets of each site, as bytes."""
    sites: dict[str, tuple[bytes, ...]] = {}
    for site, secret in pairs:
        sites[site] = (*sites.get(site, ()), secret.reveal().encode())
    return sites


def head_objection(headers: list[tuple[bytes, bytes]]) -> Answer | None:
    """What speaks against reading the body at all: compression (nothing is ever inflated), or a declared size above the limit."""
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return answers.COMPRESSED
        if name == b"content-length" and value.isdigit() and (len(value) > 9 or int(value) > MAX_BODY):
            return answers.TOO_LARGE
    return None


async def read_body(receive: Receive) -> bytes | Answer | None:
    """The whole body; an answer if it is too large, None if the sender went away."""
    message = await receive()
    if message["type"] == "http.request" and not message["more_body"]:
        body: bytes = message["body"]
        return body if len(body) <= MAX_BODY else answers.TOO_LARGE
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message["body"]
        if len(parts) > MAX_BODY:
            return answers.TOO_LARGE
        if not message["more_body"]:
            return bytes(parts)
        message = await receive()
    return None


def ready_store(settings: Settings) -> Engine:
    """The store, migrated. Raises `StoreUnavailable` and `StoreError`."""
    engine = open_store(settings.database_url.reveal())
    migrate(engine)
    return engine

"""The worker's application: takes a delivery, proves the sender, makes it durable, answers. The rest happens later in the drain.

A request comes in two steps, `begin` with its head and `finish` with its body, straight from `uar.capture.protocol`; the answer to a
delivery leaves when the spool has committed it. Every answer is in `uar.capture.answers`. ASGI only tells when the server starts and ends.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any

from uar.activity import Source
from uar.app_tokens import AppTokens
from uar.capture import answers
from uar.capture.answers import Answer, bytes_answer, come_again, make_answer
from uar.capture.delivery import REUSED_TOKEN, Refused, Undecided
from uar.capture.drain import Drain
from uar.capture.forge_token import UnknownKey
from uar.capture.keyset import KeySet
from uar.capture.metrics import SOURCES, Metrics
from uar.capture.proofs import Proofs, Route, route
from uar.capture.protocol import MAX_BODY, Request, WebhookProtocol
from uar.capture.spool import Spool, SpoolFull
from uar.capture.spool_file import is_low
from uar.capture.writer_process import WriterProcess
from uar.config import Settings
from uar.store.database import Engine, migrate, open_store

# Forge gives up after 5 s; whoever waits longer than this for a commit is told to come again.
COMMIT_DEADLINE_S = 3.0
SWEEP_S, LOOK_S = 0.25, 1.0
DRAIN_STOP_S, SPOOL_STOP_S = 2.0, 1.0
SAY_AGAIN_S = 60.0

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

log = logging.getLogger(__name__)


def make_app(settings: Settings, *, now_ms: Callable[[], int] | None = None, app_tokens: AppTokens | None = None) -> Worker:
    """The application with its spool open; `serve` runs it. `app_tokens` gets the Forge app's tokens. Raises `SpoolBroken`."""
    return Worker(settings, now_ms or (lambda: time.time_ns() // 1_000_000), app_tokens)


class Worker:
    """The application. Its life is the server's: the drain and the key set start and stop with it."""

    def __init__(self, settings: Settings, now_ms: Callable[[], int], app_tokens: AppTokens | None = None) -> None:
        self._now_ms = now_ms
        self.key_set = KeySet(settings.forge_jwks_url, settings.data_dir / "jwks.json")
        self._proofs = Proofs(settings, self.key_set, app_tokens, now_ms)
        self.metrics = Metrics([source for source in SOURCES if self._proofs.is_configured(source)])
        self.spool = Spool(settings.spool_path, settings.spool_limit_mb * 1024 * 1024, self._committed)
        name = f"{socket.gethostname()}:{settings.data_dir.resolve()}"
        self.drain = Drain(self.spool, WriterProcess(settings), self.metrics, name, now_ms)
        self._waiting: deque[tuple[float, Request]] = deque()
        self.connections: Collection[WebhookProtocol] = ()  # the server's
        self.held_bytes = 0
        self._pages = {"/healthz": lambda: answers.ALIVE, "/readyz": self._readiness, "/metrics": self._metrics_page}
        self._said_at: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_handing_over = self._is_stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The life of the server, as ASGI tells it. Requests come by `begin`, `finish` and `reject`."""
        await receive()
        self._loop = asyncio.get_running_loop()
        self._spawn(self._sweep())
        if self._proofs.is_configured(Source.FORGE):
            self._spawn(self.key_set.run())
        self.drain.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self.drain.stop, DRAIN_STOP_S)
        await asyncio.to_thread(self.spool.stop, SPOOL_STOP_S)
        await send({"type": "lifespan.shutdown.complete"})

    def begin(self, request: Request) -> None:
        """The head of a request is there. Whatever can be answered now is: no body is kept of a sender whose head proves nothing."""
        self._judge(self._begin, request)

    def finish(self, request: Request) -> None:
        """The body is there too. A delivery whose proof still waits for a key goes on when that has come."""
        if request.proof is not None:
            self._judge(self._keep, request)

    def reject(self, request: Request, answer: Answer) -> None:
        """The message itself is not acceptable: too large, too slow, malformed."""
        at = route(request.path)
        if at is None or not self._proofs.is_configured(at.source):
            request.reply(answer)
        else:
            self._end(request, at.source, "overloaded" if answer is answers.OVERLOADED else "bad_form", answer)

    def _judge(self, step: Callable[[Request], None], request: Request) -> None:
        """One step of a request; what it raises is an answer."""
        try:
            step(request)
        except Exception as error:  # noqa: BLE001 - a defect is 503, never 500
            self._fail(request, error)

    def _fail(self, request: Request, error: Exception) -> None:
        if isinstance(error, Refused):
            self._refuse(request, str(error))
        elif isinstance(error, Undecided):
            source = delivery_route(request).source
            self._say(f"A delivery of {source.key} could not be judged: {error}.")
            self._end(request, source, "undecided", come_again("The proof cannot be judged now; come again.\n", error.retry_after_s))
        else:
            log.error("A request failed because of a defect.", exc_info=error)
            request.reply(answers.FAILED)

    def _refuse(self, request: Request, reason: str) -> None:
        at = delivery_route(request)
        self._say(f"A delivery of {at.source.key} was refused: {reason}.")
        self.metrics.refused(at.source, self._proofs.known_site(at), reason)
        self._end(request, at.source, "refused", answers.REFUSED)

    def _begin(self, request: Request) -> None:
        if request.path.startswith("/webhooks/"):
            self._begin_delivery(request)
        elif (page := self._pages.get(request.path)) is None:
            request.reply(answers.NOT_FOUND)
        else:
            request.reply(page() if request.method == b"GET" else answers.GET_ONLY)

    def _begin_delivery(self, request: Request) -> None:
        at = route(request.path)
        if at is None:
            request.reply(answers.NOT_FOUND)
        elif not self._proofs.is_configured(at.source):
            self._say(f"A delivery came for {at.source.key}, which is not configured; it was answered 404.")
            request.reply(answers.NOT_CONFIGURED)
        elif request.method != b"POST":
            request.reply(answers.POST_ONLY)
        elif (objection := head_objection(request.headers)) is not None:
            self._end(request, at.source, "bad_form", objection)
        else:
            self._prove(request, at)

    def _prove(self, request: Request, at: Route) -> None:
        """Notes whose delivery it is, as far as the head can prove it; by a key that is still unknown, later. Raises `Refused`."""
        try:
            request.proof = self._proofs.of_head(request, at)
        except UnknownKey as error:
            self._spawn(self._prove_later(request, error.kid))

    async def _prove_later(self, request: Request, kid: str) -> None:
        """The same once the key host has told the key."""
        try:
            await self.key_set.resolve(kid)
        except (Refused, Undecided) as error:
            self._fail(request, error)
        if request.answer is None:
            self._judge(self._begin, request)
        if request.answer is None and request.is_complete:
            self.finish(request)

    def _keep(self, request: Request) -> None:
        """Hands the delivery to the spool; `_committed` answers. Raises `Refused`."""
        at = delivery_route(request)
        delivery = self._proofs.delivery(request, at)
        if delivery is None:
            self._end(request, at.source, "test", answers.TEST_PASSED)
            return
        if at.source is Source.FORGE and delivery.delivery_id == REUSED_TOKEN:
            self._say("A Forge token came again with another body; the delivery goes to quarantine. The Collection page says what to do.")
            self.metrics.token_reused()
        try:
            self.spool.append(delivery, request)
        except SpoolFull:
            self._say("The spool or its queue is full; senders are told to come again.")
            self._end(request, at.source, "overloaded", answers.OVERLOADED)
        else:
            self._waiting.append((time.monotonic() + COMMIT_DEADLINE_S, request))
            if not self._is_handing_over:
                self._is_handing_over = True
                self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """At the end of a turn of the loop: all that came in it is one group for the spool."""
        self._is_handing_over = False
        self.spool.hand_over()

    def _end(self, request: Request, source: Source, outcome: str, answer: Answer) -> None:
        """Answers and counts, once."""
        if request.answer is None:
            self.metrics.answered(source, outcome, time.monotonic() - request.began_at)
            request.reply(answer)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _committed(self, requests: Sequence[Request], is_durable: bool) -> None:
        """From the spool's thread: one hop into the loop for the whole group."""
        self._loop.call_soon_threadsafe(self._settle, requests, is_durable)

    def _settle(self, requests: Iterable[Request], is_durable: bool) -> None:
        """The end of those that still wait."""
        outcome, answer = ("accepted", answers.ACCEPTED) if is_durable else ("not_durable", answers.NOT_DURABLE)
        for request in requests:
            source = delivery_route(request).source
            if is_durable:
                self.metrics.arrived(source, self._now_ms() / 1000)
            self._end(request, source, outcome, answer)

    async def _sweep(self) -> None:
        """Ends the waiting for slow commits (the delivery may become durable later, and comes again anyway) and for slow senders."""
        look_at = 0.0
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            while self._waiting and (self._waiting[0][0] < now or self._waiting[0][1].answer is not None):
                self._settle([self._waiting.popleft()[1]], False)
            if now >= look_at:
                look_at = now + LOOK_S
                for connection in tuple(self.connections):
                    connection.look(now)

    def _readiness(self) -> Answer:
        """Ready means: a delivery sent now would be kept. The store is not asked, the spool stands in for it."""
        if self._is_stopping:
            return come_again("stopping\n", 5)
        if not self.spool.is_writable:
            return come_again("the spool cannot commit\n", 5)
        if self.spool.is_full():
            return come_again("the spool is full\n", 30)
        if is_low(self.spool.free_share):
            return make_answer(200, "degraded: the disk of UAR_DATA_DIR is nearly full\n")
        return make_answer(200, "degraded: the store cannot be used\n" if self.drain.is_degraded else "ready\n")

    def _metrics_page(self) -> Answer:
        oldest = self.spool.oldest_received_at
        self.metrics.show(
            spool_deliveries=self.spool.depth,
            spool_bytes=self.spool.used_bytes,
            spool_oldest_age_seconds=0.0 if oldest is None else max(0.0, (self._now_ms() - oldest) / 1000),
            disk_free_ratio=self.spool.free_share,
            keyset_age_seconds=self._key_set_age_s(),
        )
        return bytes_answer(200, self.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")

    def _key_set_age_s(self) -> float | None:
        """None where no key set is needed, or none was fetched yet."""
        age_s = self.key_set.age_s()
        return age_s if self._proofs.is_configured(Source.FORGE) and age_s < float("inf") else None

    def _say(self, sentence: str) -> None:
        """Logs a sentence, the same one at most once a minute: senders must not be able to fill the log."""
        now = time.monotonic()
        if now - self._said_at.get(sentence, float("-inf")) >= SAY_AGAIN_S:
            self._said_at[sentence] = now
            log.warning(sentence)


def head_objection(headers: list[tuple[bytes, bytes]]) -> Answer | None:
    """What speaks against reading the body at all: compression (nothing is ever inflated), or a declared size above the limit."""
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return answers.COMPRESSED
        if name == b"content-length" and value.isdigit() and (len(value) > 9 or int(value) > MAX_BODY):
            return answers.TOO_LARGE
    return None


def delivery_route(request: Request) -> Route:
    """The route of what was found to be a delivery."""
    at = route(request.path)
    assert at is not None
    return at


def ready_store(settings: Settings) -> Engine:
    """The store, migrated. Raises `StoreUnavailable` and `StoreError`."""
    engine = open_store(settings.database_url.reveal())
    migrate(engine)
    return engine

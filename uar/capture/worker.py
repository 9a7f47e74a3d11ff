"""The worker's process: one owner of the data directory, the store made ready, the server, a clean end.

make_app   the ASGI application (`uar.capture.app`)
serve      runs it until SIGTERM or SIGINT
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from uar.app_tokens import AppTokens
from uar.capture.app import Worker, make_app, ready_store
from uar.capture.logs import log_patiently
from uar.capture.protocol import WebhookProtocol
from uar.capture.spool import DataDirInUse, SpoolBroken, sole_owner
from uar.config import Settings
from uar.store.database import StoreError, StoreUnavailable

__all__ = ["WorkerError", "make_app", "serve"]

STOP_WITHIN_S = 4  # for what is under way: a commit is waited for 3 s; drain, spool and what runs beside add 5 s at most
BACKLOG = 2048
SWITCH_S = 0.001  # the spool's thread must not wait 5 ms (Python's default) for its turn after each sync
HOW_TO_CONFIGURE = "Set UAR_FORGE_APP_ID, UAR_DATACENTER_SECRETS or UAR_CONNECT_TOKENS."

log = logging.getLogger(__name__)


class WorkerError(Exception):
    """The worker cannot start; the message is a sentence."""


def serve(settings: Settings, app_tokens: AppTokens | None = None) -> None:
    """Runs the worker until SIGTERM or SIGINT; raises `WorkerError` if it cannot start. A store that is down does not stop it.

    `app_tokens` gets the Forge app's tokens for the sites' REST interfaces.
    """
    lines = log_patiently(settings.log_format)
    sys.setswitchinterval(SWITCH_S)
    try:
        with sole_owner(settings.data_dir), listening(settings) as listener:
            prepare_store(settings)
            if not settings.has_source():
                log.warning("No source is configured, so every delivery is answered 404. %s", HOW_TO_CONFIGURE)
            server = Server(server_config(make_app(settings, app_tokens=app_tokens)))
            gc.collect()
            gc.freeze()  # what is loaded now stays; looking through it again and again would hold up every answer for some 50 ms
            server.run([listener])
    except (DataDirInUse, SpoolBroken, StoreError) as error:
        raise WorkerError(str(error)) from error
    except OSError as error:
        raise WorkerError(f"The worker cannot start: {error.strerror or error} ({error.filename or settings.data_dir}).") from error
    finally:
        lines.flush()


def prepare_store(settings: Settings) -> None:
    """Migrates before the first delivery if the store is up; raises `StoreError` if it was made by a newer version."""
    try:
        ready_store(settings).dispose()
    except StoreUnavailable as error:
        log.error("%s The worker starts all the same; deliveries wait in the spool.", error)


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The listening socket; raises `WorkerError` if the port is taken."""
    host, port = settings.worker_host, settings.worker_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise WorkerError(
            f"UAR_WORKER_PORT: cannot listen on {host}:{port} ({error.strerror}). Stop what uses it or choose another."
        ) from error
    with listener:
        yield listener


def server_config(app: Worker) -> uvicorn.Config:
    """uvicorn without an access log (it would hold tokens), without its own log set-up, and with our bounds."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="uvloop",
        http=WebhookProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )


class Server(uvicorn.Server):
    """uvicorn's server that says where it listens, and that ends with exit code 0 after a signal instead of raising it again."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.connections = self.server_state.connections  # type: ignore[union-attr]
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            log.info("The worker %d listens on http://%s:%d", os.getpid(), f"[{host}]" if ":" in host else host, port)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Both signals stop the server; a second one does not wait for open connections."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

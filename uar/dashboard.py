"""The dashboard as one ASGI application: Streamlit's pages, security headers around them, and a mirror that is warm before the first visit.

`serve` runs it; `streamlit run streamlit_app.py` serves the same pages without what stands here.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import importlib
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config as streamlit_config
from streamlit.runtime.pages_manager import PagesManager

from uar.capture.logs import formatter
from uar.config import ConfigError, Settings

ROOT = Path(__file__).parent.parent
INDEX = Path(st.__file__).parent / "static" / "index.html"
# AG Grid compiles its expressions; they are constant text of our own source and run in a frame of its own.
GRID_PATH = "/component/st_aggrid."
STOP_WITHIN_S = 5
BACKLOG = 2048
log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve the dashboard until a signal; raises `ConfigError` if its port is taken."""
    lines = logging.StreamHandler()
    lines.setFormatter(formatter(settings.log_format))
    logging.basicConfig(level=logging.WARNING, handlers=[lines])
    logging.getLogger("uar").setLevel(logging.INFO)
    app = make_app()
    streamlit_config.set_option("server.port", settings.dashboard_port)
    streamlit_config.set_option("server.address", settings.dashboard_host)
    options = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=STOP_WITHIN_S)
    with _listening(settings.dashboard_host, settings.dashboard_port) as listener:
        uvicorn.Server(options).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG)
    except OSError as error:
        reason = f"cannot listen on {host}:{port} ({error.strerror}). Stop what uses it or choose another."
        raise ConfigError(f"UAR_DASHBOARD_PORT: {reason}") from error


def make_app() -> st.App:
    """The ASGI application around `streamlit_app.py`."""
    PagesManager.uses_pages_directory = False  # `st.navigation` knows the pages; see `uar.ui.frame.current_view`
    return st.App(
        ROOT / "streamlit_app.py",
        lifespan=_lifespan,
        middleware=[Middleware(SecurityHeaders)],
        on_script_error=_say_what_happened,
    )


class SecurityHeaders:
    """Adds the content security policy and its companions to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._policy = content_security_policy(INDEX.read_text(encoding="utf-8"))
        self._grid_policy = self._policy.replace("script-src 'self'", "script-src 'self' 'unsafe-eval'")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_to(MutableHeaders(scope=message), scope["path"])
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)

    def _add_to(self, headers: MutableHeaders, path: str) -> None:
        headers["Content-Security-Policy"] = self._grid_policy if path.startswith(GRID_PATH) else self._policy
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "SAMEORIGIN"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


def content_security_policy(index: str) -> str:
    """The policy for Streamlit's page: nothing from other hosts, nothing inline but the scripts that `index.html` itself holds."""
    inline = re.findall(r"<script>(.*?)</script>", index, flags=re.DOTALL)
    hashes = "".join(f" 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in inline)
    return (
        f"default-src 'self'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; frame-src 'self'; frame-ancestors 'self'; "
        "base-uri 'self'; form-action 'self'; object-src 'none'"
    )


@asynccontextmanager
async def _lifespan(app: st.App) -> AsyncIterator[dict[str, Any]]:
    """Load the mirrors while the server already answers; whoever comes meanwhile waits for the same loading."""
    _import_pages()
    warming = asyncio.create_task(asyncio.to_thread(_warm_up))
    try:
        yield {}
    finally:
        warming.cancel()


def _import_pages() -> None:
    """Import what the pages need before any thread does: two that import SQLAlchemy for the first time at once can see it half made.

    Not at the top of this module: cached functions are imported once Streamlit's runtime is up, else they would get a storage of their own.
    """
    for name in ("frame", "calendar", "sections", "people"):  # not the grid: its component registers itself in the first run of a script
        importlib.import_module(f"uar.ui.{name}")


def _warm_up() -> None:
    from uar.ui import data, people

    try:
        sites = data.sites()
        for site_id, name in zip(sites["id"], sites["name"], strict=True):
            data.snapshot(int(site_id))
            people.warm_up(str(name))
    except data.OutOfOrder as error:
        log.error("%s The dashboard starts all the same and says so.", error)
    gc.collect()
    gc.freeze()  # what is loaded now stays; later collections need not look at it


def _say_what_happened(error: Exception) -> bool:
    """A sentence instead of a traceback; where it happened goes to the log."""
    from uar.ui import data
    from uar.ui.words import plain

    if isinstance(error, data.OutOfOrder):
        log.error("%s", error)
        st.error(plain(str(error)), icon=":material/cloud_off:")
    else:
        log.error("A page failed.", exc_info=error)
        st.error("This page could not be shown. Reload it; if that does not help, the dashboard's log says why.", icon=":material/error:")
    return True

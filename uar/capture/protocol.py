"""uvicorn's HTTP protocol with bounds: on the size of a request's head, and on how long half a request may keep a connection open.

uvicorn with httptools has neither. The reverse proxy in front has its own bounds; these hold when there is none. The time to read a body
is the application's (`uar.capture.worker`).
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_REST_BYTES = 8 * 1024 * 1024  # of a body that is already answered, so that the sender gets to read the answer
HEAD_DEADLINE_S = 5.0
IDLE_LIMIT_S = 65.0
WATCH_S = 1.0


def closing(status: bytes, sentence: bytes, headers: bytes = b"") -> bytes:
    """An answer that the application is not asked for, and the last one of its connection."""
    head = b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n"
    return head % (status, len(sentence), headers) + sentence


URL_TOO_LONG = closing(b"414 URI Too Long", b"The address is too long.\n")
HEAD_TOO_LARGE = closing(b"431 Request Header Fields Too Large", b"The headers are too large.\n")
UNKNOWN_METHOD = closing(b"405 Method Not Allowed", b"Only POST is answered here.\n", b"allow: POST\r\n")
# The parser knows its methods and refuses every other word; whether it was a request at all, it does not tell.
REQUEST_LINE = re.compile(rb"[A-Za-z]{1,32} /\S* HTTP/1\.[01]\r\n")


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A timer looks at it once a second; a request itself costs two attributes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._rest_bytes = 0
        self._data = b""
        self._is_head_open = False
        self._is_message_open = False
        self._touched_at = self._began_at = self.loop.time()
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._is_head_open = True  # a connection that sends nothing at all counts as half a head
        self._watch = self.loop.call_later(WATCH_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._touched_at = self.loop.time()
        if self._is_head_open:
            self._head_bytes += len(data)
        self._data = data
        super().data_received(data)
        self._data = b""
        if self._is_head_open and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_head_open = self._is_message_open = True
        self._began_at = self._touched_at
        self._head_bytes = self._rest_bytes = 0

    def on_headers_complete(self) -> None:
        self._is_head_open = False
        if len(self.headers) > MAX_HEADERS or self._head_size() > MAX_HEAD_BYTES:
            self._refuse_head()
            raise httptools.HttpParserError("head too large")
        if self.url[:1] != b"/" or self.parser.get_http_version() == "0.9":
            raise httptools.HttpParserError("neither HTTP/1.0 nor HTTP/1.1 with a path")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete:
            self._rest_bytes += len(body)
            if self._rest_bytes > MAX_REST_BYTES:
                self.transport.close()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_message_open = False

    def send_400_response(self, msg: str) -> None:
        if self.transport.is_closing():
            return
        if isinstance(sys.exception(), httptools.HttpParserInvalidMethodError) and REQUEST_LINE.match(self._data):
            self.transport.write(UNKNOWN_METHOD)
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse_head(self) -> None:
        self.transport.write(URL_TOO_LONG if len(self.url) > MAX_HEAD_BYTES // 2 else HEAD_TOO_LARGE)
        self.transport.close()

    def _look(self) -> None:
        """Closes what has been half a head, or an answered but unfinished request, for too long, or nothing at all."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        is_answered = self.cycle is not None and self.cycle.response_complete
        is_half = self._is_head_open or (self._is_message_open and is_answered)
        is_idle = not self._is_message_open and (self.cycle is None or is_answered)
        if (is_half and now - self._began_at > HEAD_DEADLINE_S) or (is_idle and now - self._touched_at > IDLE_LIMIT_S):
            self.transport.close()
            return
        self._watch = self.loop.call_later(WATCH_S, self._look)

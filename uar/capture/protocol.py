"""HTTP for the worker: one object a connection, no task a request, and bounds on size and time that servers lack.

The parser is httptools', the sockets and the server's life are uvicorn's. What uvicorn puts between them and an ASGI application (a scope,
a task, an event, two writes to the socket) costs more than proving and keeping a delivery does. Here the application sees a `Request`
twice, when its head is there and when its body is, and answers whenever it knows; answers leave in the order of the requests.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol
from urllib.parse import unquote

import httptools

from uar.capture.answers import FAILED, HEAD_TOO_LARGE, MALFORMED, OVERLOADED, TOO_LARGE, TOO_SLOW, UNKNOWN_METHOD, URL_TOO_LONG, Answer

MAX_BODY = 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_REST_BYTES = 8 * 1024 * 1024  # of a message that is already answered, so that the sender gets to read the answer
MAX_BYTES_FOR_ONE = 8  # a body in chunks of a single byte has six on the wire for each
MAX_PIPELINED = 100
# Whoever sends a body may be a stranger until it is whole. All bodies of unanswered requests together may take so much; what an ordinary
# delivery has always passes, so that strangers with large ones keep nobody out.
MAX_HELD_BYTES = 64 * 1024 * 1024
ORDINARY_BYTES = 16 * 1024
MESSAGE_DEADLINE_S = 5.0
IDLE_LIMIT_S = 65.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# The parser knows its methods and refuses every other word; whether it was a request at all, and not only what came behind one, it does
# not tell.
REQUEST_LINE = re.compile(rb"(?!(?:POST|GET|HEAD|PUT|PATCH|DELETE|OPTIONS) )[A-Za-z]{1,32} /\S* HTTP/1\.[01]\r\n")


class Application(Protocol):
    """What is behind the connections. `held_bytes` are those of all bodies whose requests are not answered; only requests change it."""

    held_bytes: int

    def begin(self, request: Request) -> None:
        """The head is there. May answer already."""

    def finish(self, request: Request) -> None:
        """The body is there too, and nothing has been answered yet."""

    def reject(self, request: Request, answer: Answer) -> None:
        """The message is too large or too slow, or no HTTP at all: counts it and answers so."""


class Request:
    """One request, from its first byte to its answer. Header names are in lower case; `body` is whole once `is_complete`."""

    __slots__ = (
        "_connection",
        "answer",
        "began_at",
        "body",
        "headers",
        "held_bytes",
        "is_complete",
        "is_last",
        "method",
        "path",
        "proof",
        "query",
        "url",
    )

    def __init__(self, connection: WebhookProtocol) -> None:
        self._connection = connection
        self.began_at = time.monotonic()
        self.url = self.method = self.query = b""
        self.path = ""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: bytes | bytearray = b""
        self.held_bytes = 0
        self.is_complete = False
        self.is_last = False  # of its connection
        self.answer: Answer | None = None
        self.proof: Any = None  # what the application knows of the sender

    def reply(self, answer: Answer) -> None:
        """Answers, unless that has happened already."""
        if self.answer is None:
            self.answer = answer
            self.let_go()
            self._connection.flush()

    def hold(self, more: int) -> bool:
        """Counts so many more bytes of its body; False if all requests together hold too many."""
        app = self._connection.app
        self.held_bytes += more
        app.held_bytes += more
        return app.held_bytes <= MAX_HELD_BYTES or self.held_bytes <= ORDINARY_BYTES

    def let_go(self) -> None:
        """Its body is needed no more."""
        self._connection.app.held_bytes -= self.held_bytes
        self.held_bytes, self.body = 0, b""

    def wire(self, answer: Answer, date: bytes) -> bytes:
        """Its answer as it goes over the wire; `date` is a header line."""
        close = b"connection: close\r\n" if self.is_last or answer.is_last else b""
        return b"".join((answer.head, date, close, b"\r\n", b"" if self.method == b"HEAD" else answer.body))


class WebhookProtocol(asyncio.Protocol):
    """One connection. Whoever runs the server calls `look` on each of `server_state.connections` about once a second."""

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.app: Application = config.loaded_app
        self._state = server_state
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()  # not answered yet, or behind one that is not
        self._open: Request | None = None  # whose message is not whole
        self._is_head_open = True  # a connection that sends nothing at all counts as half a head
        self._head_bytes = self._message_bytes = 0
        self._is_deaf = self._is_ending = self._is_crowded = self._is_blocked = False
        self._touched_at = self._began_at = time.monotonic()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._state.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        if self._open is not None:  # half a request, which nobody will answer
            self._open.let_go()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._touched_at = time.monotonic()
        if self._is_head_open:
            self._head_bytes += len(data)
        else:
            self._message_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # no other protocol is spoken here; what was asked is answered in this one
            self._is_deaf = True
            self.shutdown()
        except httptools.HttpParserInvalidMethodError:
            self._give_up(UNKNOWN_METHOD if REQUEST_LINE.match(data) else MALFORMED)
        except httptools.HttpParserCallbackError as error:  # what was raised here below, such as want of memory for a body
            self._give_up(MALFORMED if isinstance(error.__context__, httptools.HttpParserError) else FAILED)
        except httptools.HttpParserError:
            self._give_up(MALFORMED)
        if self._is_head_open and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        if self._open is not None and self._message_bytes > self._most_bytes(self._open):
            self._give_up(TOO_LARGE)
        if len(self._waiting) > MAX_PIPELINED:
            self._is_crowded = True
            self._regulate()

    def eof_received(self) -> bool:
        """A sender that has said all may still wait for its answers: True keeps its half of the connection open."""
        self._is_ending = True
        return bool(self._waiting) and self._open is None

    def pause_writing(self) -> None:
        """A sender that does not read its answers is not read either."""
        self._is_blocked = True
        self._regulate()

    def resume_writing(self) -> None:
        self._is_blocked = False
        self._regulate()

    def on_message_begin(self) -> None:
        self._open = Request(self)
        self._is_head_open = True
        self._began_at = self._touched_at
        self._head_bytes = self._message_bytes = 0

    def on_url(self, url: bytes) -> None:
        assert self._open is not None
        self._open.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._open is not None
        if self._is_head_open:  # else it is a trailer, which nothing here heeds
            self._open.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        request = self._open
        assert request is not None
        self._is_head_open = False
        if len(request.headers) > MAX_HEADERS or len(request.url) + sum(map(len, chain.from_iterable(request.headers))) > MAX_HEAD_BYTES:
            self._refuse_head()
        version = self._parser.get_http_version()
        if self._is_deaf or request.url[:1] != b"/" or version == "0.9":
            raise httptools.HttpParserError("too large, or neither HTTP/1.0 nor HTTP/1.1 with a path")
        path, _, request.query = request.url.partition(b"?")
        request.path = unquote(path.decode("ascii", "replace")) if b"%" in path else path.decode("ascii", "replace")
        request.method = self._parser.get_method()
        request.is_last = not self._parser.should_keep_alive() or version == "1.0"
        self._waiting.append(request)
        self.app.begin(request)
        if request.answer is None and self._waiting[0] is request and expects_continue(request.headers):
            self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        request = self._open
        assert request is not None
        if request.answer is not None:
            return
        if len(request.body) + len(body) > MAX_BODY:
            request.body = b""
            self.app.reject(request, TOO_LARGE)
        elif not request.hold(len(body)):
            request.body = b""
            self.app.reject(request, OVERLOADED)
        elif not request.body:
            request.body = body
        else:
            request.body = bytearray(request.body) if isinstance(request.body, bytes) else request.body
            request.body += body

    def on_message_complete(self) -> None:
        request, self._open = self._open, None
        assert request is not None
        request.is_complete = True
        if request.answer is None:
            request.body = bytes(request.body)
            self.app.finish(request)
        else:
            self.flush()

    def flush(self) -> None:
        """Writes the answers whose turn it is, and closes the connection behind its last one, once that one's request is whole."""
        waiting, wires, is_over = self._waiting, [], False
        while waiting and (answer := waiting[0].answer) is not None and not is_over:
            request = waiting.popleft()
            wires.append(request.wire(answer, self._date()))
            is_over = answer.is_last or (request.is_last and request.is_complete)
            self._is_ending = self._is_ending or request.is_last
        if self._transport.is_closing():
            return
        if wires:
            self._transport.write(wires[0] if len(wires) == 1 else b"".join(wires))
        if is_over or (self._is_ending and not waiting and self._open is None):
            self._transport.close()
        elif self._is_crowded and len(waiting) <= MAX_PIPELINED:
            self._is_crowded = False
            self._regulate()

    def look(self, now: float) -> None:
        """Ends what has been half a request, or nothing at all, for too long."""
        if self._is_head_open or self._open is not None:
            if now - self._began_at > MESSAGE_DEADLINE_S:
                self._end_half()
        elif not self._waiting and now - self._touched_at > IDLE_LIMIT_S:
            self._transport.close()

    def shutdown(self) -> None:
        """The server ends: what is under way is still answered, and nothing follows."""
        self._is_ending = True
        self.flush()

    def _most_bytes(self, request: Request) -> int:
        """How many bytes may have come since the head, by what they brought: what dresses up chunks, and trailers, may be endless."""
        return MAX_REST_BYTES if request.answer is not None else MAX_HEAD_BYTES + MAX_BYTES_FOR_ONE * len(request.body)

    def _end_half(self) -> None:
        if self._open is None or self._is_head_open or self._open.answer is not None:
            self._transport.close()
        else:
            self._give_up(TOO_SLOW)

    def _refuse_head(self) -> None:
        is_long = self._open is not None and len(self._open.url) > MAX_HEAD_BYTES // 2
        self._give_up(URL_TOO_LONG if is_long else HEAD_TOO_LARGE)

    def _give_up(self, answer: Answer) -> None:
        """Hears no more; the answer to what is half said goes out in its turn, as the last one."""
        if self._is_deaf:
            return
        self._is_deaf, self._is_head_open = True, False
        request, self._open = self._open or Request(self), None
        request.is_last = True
        if request.answer is None:
            if request not in self._waiting:
                self._waiting.append(request)
            self.app.reject(request, answer)
        else:
            self.shutdown()

    def _regulate(self) -> None:
        if self._transport.is_closing():
            return
        if self._is_blocked or self._is_crowded:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _date(self) -> bytes:
        """uvicorn makes it once a second."""
        return header_lines(tuple(self._state.default_headers))


@lru_cache(1)
def header_lines(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Headers as they go over the wire."""
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def expects_continue(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the sender waits for a word before it sends the body."""
    for name, value in headers:
        if name == b"expect":
            return value.lower() == b"100-continue"
    return False

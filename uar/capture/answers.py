"""Every answer the worker can give, made once: DESIGN's status policy as data. No answer holds anything of the request."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, in pieces that need only be joined; with `is_last` the connection is closed behind it."""

    head: bytes
    body: bytes
    is_last: bool = False


def make_answer(status: int, text: str, content_type: str = PLAIN, *, is_last: bool = False, **headers: str) -> Answer:
    """An answer with a fixed body; header names are written with underscores."""
    return bytes_answer(status, text.encode(), content_type, is_last=is_last, **headers)


def bytes_answer(status: int, body: bytes, content_type: str, *, is_last: bool = False, **headers: str) -> Answer:
    """An answer with the given body."""
    named = {"content-type": content_type, "content-length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in named.items()), ""]
    return Answer("\r\n".join(lines).encode(), body, is_last)


def come_again(text: str, retry_after_s: int) -> Answer:
    """503: nothing is wrong with the delivery; the sender should send it again."""
    return make_answer(503, text, retry_after=str(retry_after_s))


# Forge wants a JSON answer and does not read it (developer.atlassian.com/platform/forge/remote/sending-product-events).
ACCEPTED = make_answer(202, "{}", "application/json")
TEST_PASSED = make_answer(200, "{}", "application/json")
MALFORMED = make_answer(400, "This is no HTTP request.\n", is_last=True)
REFUSED = make_answer(401, "The proof of the sender is missing or wrong.\n")
NOT_FOUND = make_answer(404, "There is nothing here.\n")
NOT_CONFIGURED = make_answer(404, "This source is not configured.\n")
POST_ONLY = make_answer(405, "Only POST is answered here.\n", allow="POST")
GET_ONLY = make_answer(405, "Only GET is answered here.\n", allow="GET")
UNKNOWN_METHOD = make_answer(405, "Only POST is answered here.\n", is_last=True, allow="POST")
TOO_SLOW = make_answer(408, "The body did not arrive in time.\n", is_last=True)
TOO_LARGE = make_answer(413, "The body is larger than 1 MiB.\n")
URL_TOO_LONG = make_answer(414, "The address is too long.\n", is_last=True)
COMPRESSED = make_answer(415, "Send the body uncompressed.\n")
HEAD_TOO_LARGE = make_answer(431, "The headers are too large.\n", is_last=True)
OVERLOADED = come_again("Too many deliveries wait; come again.\n", 2)
NOT_DURABLE = come_again("The delivery could not be kept; come again.\n", 5)
FAILED = come_again("Something went wrong here; come again.\n", 10)
ALIVE = make_answer(200, "alive\n")

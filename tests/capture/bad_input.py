"""The list of bad inputs as data: what is sent, numbered as the list numbers it, and the outcome that each must have.

Case        one request, its row in the list, the answer, and what becomes of it: nothing, quarantine, or a row
all_cases   everything that is one request with one outcome
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt

from tests.capture.reading import sample_body
from tests.capture.senders import APP_ID, CLOUD_ID, CONNECT_TOKEN, claims, forge_token, private_key, signature
from tests.capture.test_forge_token import OTHER_APP, app, by_hand, confused

FORGE = "/webhooks/forge"
DATACENTER = "/webhooks/datacenter/wiki"
CONNECT = "/webhooks/connect/acme"
MEBIBYTE = 1024 * 1024
NOTHING, QUARANTINE, STORED = "nothing", "quarantine", "stored"
CLOSED = 0  # no answer, or one that the closing took along


@dataclass(frozen=True)
class Case:
    """One request. `statuses` are the answers allowed; `content_id` and `row` tell the stored row and some of its columns."""

    number: int
    name: str
    request: bytes
    statuses: tuple[int, ...]
    fate: str
    body: bytes = b""
    content_id: str = ""
    row: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"row {self.number}: {self.name}"


def http(path: str, body: bytes = b"", *headers: str | bytes, method: str = "POST", length: bool = True) -> bytes:
    """A whole request whose connection is closed by the answer."""
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: worker", b"Connection: close"]
    lines += [header if isinstance(header, bytes) else header.encode("latin-1") for header in headers]
    lines += [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Pages:
    """Bodies of one page event each, whose content id tells which row came of it."""

    def __init__(self) -> None:
        self.last = 7_000_000

    def next(self) -> int:
        self.last += 1
        return self.last


PAGES = Pages()


def forge_page(**changes: Any) -> dict[str, Any]:
    """A Forge body with a content id of its own."""
    payload = sample_body("forge__avi_confluence_updated_page.json") | changes
    return payload | {"content": payload["content"] | {"id": str(PAGES.next())}}


def page(**changes: Any) -> dict[str, Any]:
    """A Data Center body with a content id of its own."""
    return {"timestamp": 1_772_532_000_000, "event": "page_updated", "userKey": "k", "page": {"id": PAGES.next()}} | changes


def refused_token(number: int, name: str, *authorization: str | bytes) -> Case:
    headers = [b"Authorization: " + (value if isinstance(value, bytes) else value.encode("latin-1")) for value in authorization]
    return Case(number, name, http(FORGE, json.dumps(forge_page()).encode(), *headers), (401,), NOTHING)


def accepted_token(number: int, name: str, token: str) -> Case:
    body = json.dumps(made := forge_page()).encode()
    request = http(FORGE, body, f"Authorization: Bearer {token}")
    return Case(number, name, request, (202,), STORED, body, made["content"]["id"])


def changed(**changes: Any) -> str:
    """A token with some claims changed, signed as it should be."""
    return forge_token(claims(**changes))


def malformed_tokens() -> Iterator[Case]:
    """Rows 1 to 4."""
    good = forge_token()
    yield refused_token(1, "no Authorization")
    yield Case(1, "no signature", http(DATACENTER, b"{}"), (401,), NOTHING)
    yield Case(1, "no token in the address", http(f"{CONNECT}/page_updated", b"{}"), (401,), NOTHING)
    yield refused_token(2, "empty token", "Bearer ")
    yield refused_token(2, "two Authorization headers", f"Bearer {good}", f"Bearer {good}")
    head, payload, signed = good.split(".")
    for name, token in {
        "two parts": f"{head}.{payload}",
        "four parts": f"{good}.x",
        "no part": "",
        "dots": "..",
        "not base64url": f"{head}!.{payload}.{signed}",
        "padded": f"{head}=.{payload}.{signed}",
    }.items():
        yield refused_token(3, name, f"Bearer {token}")
    yield refused_token(3, "binary", b"Bearer \x80\xff.\xfe.\xa0")
    yield refused_token(4, "just too long to be decoded", f"Bearer {good}{'x' * 8192}")
    yield Case(4, "5 MB", http(FORGE, b"{}", f"Authorization: Bearer {'x' * 5_000_000}"), (CLOSED, 401, 431), NOTHING)


def confused_tokens() -> Iterator[Case]:
    """Rows 5 to 11."""
    for algorithm in ("none", "None", "nOnE"):
        yield refused_token(5, f"alg {algorithm}", f"Bearer {by_hand({'alg': algorithm, 'kid': 'key-1'}, b'')}")
        yield refused_token(5, f"alg {algorithm}, signed", f"Bearer {by_hand({'alg': algorithm, 'kid': 'key-1'})}")
    for kind in ("pem", "der", "jwk"):
        yield refused_token(6, f"HS256 with the public key as {kind}", f"Bearer {confused(kind)}")
    yield refused_token(7, "foreign key", f"Bearer {forge_token(key='foreign', kid='key-1')}")
    for algorithm in ("RS512", "PS256"):
        by_algorithm = jwt.encode(claims(), private_key(), algorithm=algorithm, headers={"kid": "key-1"})
        yield refused_token(8, f"{algorithm} by the right key", f"Bearer {by_algorithm}")
        yield refused_token(8, f"RS256 that says {algorithm}", f"Bearer {forge_token(alg=algorithm)}")
    for name in ("jku", "x5u", "x5c", "jwk"):
        value: Any = {"kty": "RSA", "n": "AQAB", "e": "AQAB"} if name == "jwk" else "http://127.0.0.1:9/keys"
        yield refused_token(9, f"{name} in the header", f"Bearer {forge_token(key='foreign', kid='key-1', **{name: value})}")
    yield refused_token(10, "crit", f"Bearer {forge_token(crit=['unknown'], unknown=1)}")
    for name, kid in {"no": None, "empty": "", "10 kB": "x" * 10_000, "path": "../../etc/passwd", "SQL": "' OR 1=1--"}.items():
        yield refused_token(11, f"kid {name}", f"Bearer {by_hand({'alg': 'RS256', 'kid': kid})}")
    yield refused_token(11, "kid a number", f"Bearer {by_hand({'alg': 'RS256', 'kid': 1})}")


def wrong_claims() -> Iterator[Case]:
    """Rows 13 to 18; the worker of the list takes one site and one deployment."""
    now = int(time.time())
    for name, changes in {
        "expired by leeway and a second": {"iat": now - 60, "nbf": now - 60, "exp": now - 31},
        "no exp": {"exp": None},
        "exp a text": {"exp": str(now + 25)},
        "exp 1e400": {"exp": 10**400},
        "exp -1": {"exp": -1},
        "ten years": {"exp": now + 315_360_000},
    }.items():
        yield refused_token(13, name, f"Bearer {changed(**changes)}")
    for name in ("nbf", "iat"):
        yield accepted_token(14, f"{name} 20 s ahead", changed(**{name: now + 20}))
        yield refused_token(14, f"{name} 10 min ahead", f"Bearer {changed(**{name: now + 600})}")
    yield refused_token(15, "another app", f"Bearer {changed(aud=OTHER_APP, app=app(id=OTHER_APP))}")
    elsewhere = {"contexts": [{"name": "confluence", "cloudId": "another"}]}
    yield refused_token(16, "another site", f"Bearer {changed(app=app(installation=elsewhere))}")
    yield refused_token(16, "another deployment", f"Bearer {changed(app=app(environment={'type': 'DEVELOPMENT'}))}")
    for name, audience in {"no": None, "ours and another": [APP_ID, OTHER_APP], "empty": [], "object": {APP_ID: 1}}.items():
        yield refused_token(17, f"aud {name}", f"Bearer {changed(aud=audience)}")
    yield accepted_token(17, "aud exactly ours in a list", changed(aud=[APP_ID]))
    for issuer in ("https://evil.example", "forge/invocation-token/", "FORGE/INVOCATION-TOKEN"):
        yield refused_token(18, f"iss {issuer}", f"Bearer {changed(iss=issuer)}")


def wrong_addresses() -> Iterator[Case]:
    """Rows 21 to 23: the token in the address is our proof for Cloud webhooks."""
    for number, name, path in (
        (21, "wrong token", f"{CONNECT}/page_updated?token={CONNECT_TOKEN[:-1]}"),
        (21, "empty token", f"{CONNECT}/page_updated?token="),
        (21, "token under another name", f"{CONNECT}/page_updated?Token={CONNECT_TOKEN}"),
        (21, "token twice", f"{CONNECT}/page_updated?token={CONNECT_TOKEN}&token={CONNECT_TOKEN}"),
        (21, "token within another word", f"{CONNECT}/page_updated?x=token={CONNECT_TOKEN}"),
        (21, "token of odd bytes", f"{CONNECT}/page_updated?token=%C3%A9%00"),
        (22, "another site's token", f"{CONNECT}/page_updated?token=another-token"),
        (22, "our token at another site", f"/webhooks/connect/other/page_updated?token={CONNECT_TOKEN}"),
        (23, "addon_disabled without token", f"{CONNECT}/addon_disabled"),
    ):
        yield Case(number, name, http(path, b"{}"), (401,), NOTHING)


def wrong_signatures() -> Iterator[Case]:
    """Rows 24 to 30."""
    body = json.dumps(page()).encode()
    right = signature(body)
    digest = right.removeprefix("sha256=")
    nibble = "0" if digest[-1] != "0" else "1"
    wrong = [(24, f"prefix {prefix!r}", prefix + digest) for prefix in ("", "sha1=", "sha512=", "md5=", "SHA256=")]
    wrong += [
        (24, "empty", ""),
        (26, "no digest", "sha256="),
        (26, "one nibble off", right[:-1] + nibble),
        (26, "truncated", right[:-2]),
        (26, "doubled", right + digest),
        (26, "padded with blanks", f"sha256= {digest}"),
        (26, "not ASCII", "sha256=" + "é" * 64),
        (26, "another site's secret", signature(body, "another-secret")),
        (27, "two in one header", f"{right}, {right}"),
        (28, "the old secret after the overlap", signature(body, "an-old-secret")),
    ]
    for number, name, value in wrong:
        yield Case(number, name, http(DATACENTER, body, f"X-Hub-Signature: {value}"), (401,), NOTHING)
    yield Case(26, "NUL", http(DATACENTER, body, f"X-Hub-Signature: sha256=\0{digest}"), (400, 401), NOTHING)
    two = ("X-Hub-Signature: sha256=00", f"X-Hub-Signature: {right}")
    yield Case(27, "two signatures, the second right", http(DATACENTER, body, *two), (401,), NOTHING)
    yield Case(27, "two signatures, the first right", http(DATACENTER, body, *reversed(two)), (401,), NOTHING)
    ordered = json.dumps(json.loads(body), sort_keys=True).encode()
    for name, altered in {"one byte": body.replace(b"k", b"K", 1), "key order": ordered, "white space": body + b" "}.items():
        yield Case(30, f"{name} altered", http(DATACENTER, altered, f"X-Hub-Signature: {right}"), (401,), NOTHING)
    yield signed(25, "digest in upper case", page(), STORED, signature_of=lambda raw: "sha256=" + signature(raw)[7:].upper())
    yield signed(28, "the next secret in the overlap", page(), STORED, signature_of=lambda raw: signature(raw, "the-next-secret"))


def signed(
    number: int,
    name: str,
    payload: dict[str, Any] | bytes,
    fate: str,
    *headers: str,
    statuses: tuple[int, ...] = (202,),
    signature_of: Any = signature,
    **row: Any,
) -> Case:
    """A genuine Data Center delivery; `row` are columns of `activity_log` that it must come to."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    content_id = str(payload["page"].get("id")) if isinstance(payload, dict) and isinstance(payload.get("page"), dict) else ""
    request = http(DATACENTER, body, f"X-Hub-Signature: {signature_of(body)}", *headers)
    return Case(number, name, request, statuses, fate, body, content_id, tuple(row.items()))


def from_everywhere(number: int, name: str, body: bytes) -> Iterator[Case]:
    """The same unreadable body as a genuine delivery of each source."""
    yield signed(number, f"{name}, Data Center", body, QUARANTINE)
    by_token = http(FORGE, body, f"Authorization: Bearer {forge_token()}")
    yield Case(number, f"{name}, Forge", by_token, (202,), QUARANTINE, body)
    by_address = http(f"{CONNECT}/page_updated?token={CONNECT_TOKEN}", body)
    yield Case(number, f"{name}, Cloud webhook", by_address, (202,), QUARANTINE, body)


UNREADABLE: dict[tuple[int, str], bytes] = {
    (31, "empty"): b"",
    (32, "half an object"): b"{",
    (32, "half a word"): b"nul",
    (32, "something behind"): b"{} x",
    (32, "trailing comma"): b'{"a":1,}',
    (32, "single quotes"): b"{'a':1}",
    (33, "array"): b"[]",
    (33, "text"): b'"x"',
    (33, "number"): b"5",
    (33, "null"): b"null",
    (33, "true"): b"true",
    (34, "NaN"): b'{"a":NaN}',
    (34, "Infinity"): b'{"a":Infinity}',
    (34, "1e999"): b'{"a":1e999}',
    (35, "5,000 digits"): b'{"a":' + b"9" * 5_000 + b"}",
    (35, "2^63"): b'{"a":9223372036854775808}',
    (35, "-2^63-1"): b'{"a":-9223372036854775809}',
    (36, "arrays 1,000 deep"): b"[" * 1_000 + b"]" * 1_000,
    (36, "arrays 100,000 deep"): b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    (36, "objects 100,000 deep"): b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    (37, "100,000 equal keys"): b'{"a":1' + b',"a":1' * 100_000 + b"}",
    (38, "another user under the same key"): b'{"event":"page_updated","eventType":"x","userKey":"a","userKey":"b","page":{"id":1}}',
    (39, "not UTF-8"): b'{"a":"\xff"}',
    (39, "UTF-16"): '{"a":1}'.encode("utf-16"),
    (39, "overlong"): b'{"a":"\xc0\xaf"}',
    (41, "lone surrogate"): b'{"a":"\\ud800"}',
}


def genuine_but_odd() -> Iterator[Case]:
    """Rows 31 to 42 as far as nobody can read them or only some of it."""
    for (number, name), body in UNREADABLE.items():
        yield from from_everywhere(number, name, body)
    many = page() | {f"k{count}": 1 for count in range(80_000)}
    yield signed(37, "80,000 keys", many, STORED)
    yield signed(35, "time 1e308", page(timestamp=1e308), QUARANTINE)
    for name, made in {"BOM": b"\xef\xbb\xbf", "charset=zzz": b""}.items():
        payload = page()
        case = signed(39, name, made + json.dumps(payload).encode(), STORED, "Content-Type: application/json; charset=zzz")
        yield Case(**{**vars(case), "content_id": str(payload["page"]["id"])})
    for number, name, title in (
        (40, "NUL in the title", "a\0b"),
        (41, "10,000 combining marks", "a" + "\u0301" * 10_000),
        (41, "right to left", "\u202egpj.exe"),
        (41, "title of 1 MB", "t" * 1_000_000),
    ):
        titled = page()
        titled["page"]["title"] = title
        yield signed(number, name, titled, STORED, title=title[:1024].replace("\0", "\ufffd"))
    yield signed(40, "NUL in the account", page(userKey="a\0b"), QUARANTINE)
    yield signed(42, "unknown event", page(event="page_exploded"), QUARANTINE)
    for name, wrong in {"missing": None, "list": ["page_updated"], "object": {"a": 1}, "number": 5}.items():
        yield signed(42, f"event {name}", page(event=wrong), QUARANTINE)
        yield signed(42, f"page {name}", page(page=wrong), QUARANTINE)
    for wrong in (["k"], {"a": 1}, 5):
        yield signed(42, f"user {type(wrong).__name__}", page(userKey=wrong), QUARANTINE)


def odd_people_and_times() -> Iterator[Case]:
    """Rows 43 to 45."""
    for account in ("__proto__", "' OR 1=1--", "=cmd|' /C calc'!A0", "<img src=x onerror=alert(1)>", "../x"):
        yield signed(43, f"account {account}", page(userKey=account), STORED, person=account)
    yield signed(43, "account of 10 kB", page(userKey="x" * 10_000), QUARANTINE)
    for name, moment in {
        "missing": None,
        "text": "soon",
        "negative": -5,
        "seconds": 1_772_532_000,
        "1970": 0,
        "9999": 253_370_764_800_000,
    }.items():
        yield signed(44, f"time {name}", page(timestamp=moment), STORED, time_from="arrival")
    for name, instant in {"leap second": "2016-12-31T23:59:60.000Z", "without a zone": "2026-03-02T10:15:30.250"}.items():
        body = json.dumps(made := forge_page(eventCreatedDate=instant)).encode()
        request = http(FORGE, body, f"Authorization: Bearer {forge_token()}")
        yield Case(44, f"time {name}", request, (202,), STORED, body, made["content"]["id"], (("time_from", "arrival"),))
    now = int(time.time() * 1000)
    for name, moment in {"400 days old": now - 400 * 86_400_000, "10 min ahead": now + 600_000}.items():
        yield signed(45, name, page(timestamp=moment), STORED, time_from="event", occurred_at=iso(moment))


def iso(moment: int) -> str:
    """An instant as `activity_log` spells it."""
    return datetime.fromtimestamp(moment // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{moment % 1000:03d}Z"


def sizes_and_labels() -> Iterator[Case]:
    """Rows 48 to 52."""
    raw = json.dumps(page()).encode()
    whole = json.loads(raw)
    filled = raw + b" " * (MEBIBYTE - len(raw))
    case = signed(48, "the limit", filled, STORED)
    yield Case(**{**vars(case), "content_id": str(whole["page"]["id"])})
    yield signed(48, "the limit and one", filled + b" ", NOTHING, statuses=(413,))
    yield signed(48, "2 MB", filled * 2, NOTHING, statuses=(413,))
    chunks = b"".join(b"10000\r\n" + b" " * 65_536 + b"\r\n" for _ in range(32)) + b"0\r\n\r\n"
    yield Case(48, "2 MB in chunks", http(DATACENTER, b"", "Transfer-Encoding: chunked", length=False) + chunks, (413,), NOTHING)
    for name, encoding, body in (
        ("bomb", "gzip", gzip.compress(b"0" * 50_000_000)),
        ("br", "br", b"x"),
        ("deflate", "deflate", b"x"),
        ("nested", "gzip, gzip", b"x"),
    ):
        yield signed(50, name, body, NOTHING, f"Content-Encoding: {encoding}", statuses=(415,))
    for label in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ""):
        yield signed(52, f"label {label!r}", page(), STORED, f"Content-Type: {label}")
    yield signed(52, "no label", page(), STORED)
    yield signed(
        52, "form", b"payload=%7B%22event%22%3A%22page_updated%22%7D", QUARANTINE, "Content-Type: application/x-www-form-urlencoded"
    )


def lengths_and_codings() -> Iterator[Case]:
    """Rows 49 and 51, of which nothing may come, whatever the bytes behind them are."""
    body = json.dumps(page()).encode()
    proof = f"X-Hub-Signature: {signature(body)}"
    for name, lengths in {
        "negative": ("-1",),
        "with a plus": ("+5",),
        "twice different": ("5", "6"),
        "no number": ("x",),
        "of an exabyte": ("1" + "0" * 18,),
        "beyond all numbers": ("9" * 40,),
    }.items():
        headers = [f"Content-Length: {length}" for length in lengths]
        yield Case(49, f"length {name}", http(DATACENTER, body, proof, *headers, length=False), (400, 413), NOTHING)
    both = (f"Content-Length: {len(body)}", "Transfer-Encoding: chunked")
    yield Case(49, "length and chunks", http(DATACENTER, b"0\r\n\r\n", proof, *both, length=False), (400,), NOTHING)
    yield Case(49, "length too small", http(DATACENTER, body, proof, f"Content-Length: {len(body) - 5}", length=False), (400, 401), NOTHING)
    yield Case(49, "length too large", http(DATACENTER, body, proof, f"Content-Length: {len(body) + 5}", length=False), (408,), NOTHING)
    for name, coding, chunks in (
        ("unknown coding", "xchunked", b"0\r\n\r\n"),
        ("bad chunk size", "chunked", b"zz\r\n\r\n"),
        ("endless chunk extension", "chunked", b"5;" + b"x" * 20_000_000),
    ):
        request = http(DATACENTER, b"", proof, f"Transfer-Encoding: {coding}", length=False) + chunks
        yield Case(51, name, request, (CLOSED, 400, 408, 413, 431, 501), NOTHING)
    of_braces = f"X-Hub-Signature: {signature(b'{}')}"
    trailing = http(DATACENTER, b"", "Transfer-Encoding: chunked", length=False) + b"2\r\n{}\r\n0\r\n" + of_braces.encode() + b"\r\n\r\n"
    yield Case(51, "signature in a trailer", trailing, (401,), NOTHING)


def wrong_requests() -> Iterator[Case]:
    """Rows 53 to 57."""
    body = json.dumps(page()).encode()
    proof = f"X-Hub-Signature: {signature(body)}"
    for method in ("GET", "HEAD", "PUT", "TRACE", "CONNECT", "FOO", "post"):
        yield Case(53, method, http(DATACENTER, body, proof, method=method), (405,), NOTHING)
    for name, path in {
        "root": "/",
        "half": "/webhooks/datacenter",
        "slash behind": f"{DATACENTER}/",
        "slash behind Forge": f"{FORGE}/",
        "two slashes": f"/{DATACENTER}",
        "two slashes within": "/webhooks//forge",
        "more behind": f"{FORGE}/x",
        "no event": CONNECT,
        "no event, slash": f"{CONNECT}/",
        "another source": "/webhooks/other",
        "upper case": "/WEBHOOKS/FORGE",
        "metrics/": "/metrics/",
        "upwards": "/webhooks/datacenter/../../metrics",
        "NUL": f"{FORGE}%00",
        "upwards, escaped": "/webhooks/%2e%2e/metrics",
        "50 kB": "/" + "x" * 50_000,
        "100 kB": "/webhooks/" + "x" * 100_000,
        "absolute": f"http://worker{DATACENTER}",
    }.items():
        yield Case(54, name, http(path, body, proof), (400, 404, 414), NOTHING)
    for name, header in {
        "5,000 headers": b"\r\n".join([b"X-A: b"] * 5_000),
        "100 kB header": b"X-A: " + b"x" * 100_000,
        "NUL in a header": b"X-A: b\0c",
        "CR in a header": b"X-A: b\rc",
        "folded header": b"X-A: b\r\n c",
        "space before the colon": b"X-A : b",
    }.items():
        yield Case(55, name, http(DATACENTER, body, proof, header), (CLOSED, 400, 431) if len(header) > 1_000 else (400, 431), NOTHING)
    for name, spoofed in {
        "address": "X-Forwarded-For: 127.0.0.1",
        "scheme": "X-Forwarded-Proto: https",
        "host": "Forwarded: host=x",
    }.items():
        yield signed(56, f"spoofed {name} is ignored", page(), STORED, spoofed)
    for name, sent in {
        "HTTP/0.9": b"GET /healthz\r\n\r\n",
        "HTTP/9.9": http(DATACENTER, body, proof).replace(b"HTTP/1.1", b"HTTP/9.9"),
        "HTTP/2 in clear": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 512,
    }.items():
        yield Case(57, name, sent, (400, 405, 505), NOTHING)


def all_cases() -> list[Case]:
    """Every case, in the order of the list."""
    return [
        *malformed_tokens(),
        *confused_tokens(),
        *wrong_claims(),
        *wrong_addresses(),
        *wrong_signatures(),
        *genuine_but_odd(),
        *odd_people_and_times(),
        *sizes_and_labels(),
        *lengths_and_codings(),
        *wrong_requests(),
    ]


ACCEPTS = {"UAR_FORGE_CLOUD_IDS": CLOUD_ID, "UAR_FORGE_ENVIRONMENTS": "production", "UAR_STORE_TITLES": "true"}

"""What a running worker answers: the whole contract over real sockets."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.capture.reading import SAMPLES
from tests.capture.running import RunningWorker, all_sources, log_lines, running_worker
from tests.capture.senders import (
    CONNECT_TOKEN,
    DATACENTER_SECRET,
    KeyHost,
    claims,
    datacenter_headers,
    forge_headers,
    forge_token,
    key_host,
    signature,
)

FORGE = "/webhooks/forge"
DATACENTER = "/webhooks/datacenter/wiki"
PAGE = (SAMPLES / "datacenter__page_updated.json").read_bytes()
FORGE_PAGE = (SAMPLES / "forge__avi_confluence_updated_page.json").read_bytes()
CONNECT_PAGE = (SAMPLES / "connect__page_updated__cloud_admin.json").read_bytes()
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def keys() -> Iterator[KeyHost]:
    with key_host() as host:
        yield host


@pytest.fixture(scope="module")
def worker(keys: KeyHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorker]:
    with running_worker(tmp_path_factory.mktemp("contract"), **all_sources(keys.url)) as running:
        yield running


def accepted(worker: RunningWorker) -> float:
    """How many deliveries were made durable so far."""
    return sum(worker.metric(f'uar_deliveries_total{{outcome="accepted",source="{name}"}}') for name in ("forge", "connect", "datacenter"))


@contextmanager
def nothing_kept(worker: RunningWorker) -> Iterator[None]:
    """Nothing inside makes a delivery durable."""
    before = accepted(worker)
    yield
    assert accepted(worker) == before


def test_a_genuine_delivery_of_each_source_is_accepted(worker: RunningWorker) -> None:
    before = accepted(worker)
    answer = worker.request("POST", FORGE, FORGE_PAGE, forge_headers())
    assert (answer.status, answer.getheader("content-type")) == (202, "application/json")
    assert worker.post_datacenter(PAGE) == 202
    assert worker.post_connect("page_updated", CONNECT_PAGE) == 202
    assert accepted(worker) == before + 3


def test_the_next_secret_is_accepted_as_well(worker: RunningWorker) -> None:
    assert worker.post_datacenter(PAGE, secret="the-next-secret") == 202
    assert worker.post_connect("page_updated", CONNECT_PAGE, token="the-next-token") == 202


def test_an_upper_case_digest_is_the_same_number(worker: RunningWorker) -> None:
    shouted = "sha256=" + signature(PAGE).removeprefix("sha256=").upper()
    assert worker.post(DATACENTER, PAGE, {"X-Hub-Signature": shouted}) == 202


RIGHT = signature(PAGE)
DIGEST = RIGHT.removeprefix("sha256=")


@pytest.mark.parametrize(
    "given_signature",
    [
        "",
        DIGEST,
        "sha1=" + DIGEST,
        "sha512=" + DIGEST,
        "md5=" + DIGEST,
        "SHA256=" + DIGEST,
        RIGHT[:-1] + ("0" if RIGHT[-1] != "0" else "1"),
        RIGHT[:-2],
        RIGHT + DIGEST,
        "sha256= " + DIGEST,
        "sha256=" + "é" * 32,
        "sha256=",
        f"{RIGHT}, {RIGHT}",
        signature(PAGE, "another-secret"),
        signature(PAGE, "an-old-secret"),
    ],
)
def test_a_wrong_signature_is_refused(worker: RunningWorker, given_signature: str) -> None:
    with nothing_kept(worker):
        head = f"POST {DATACENTER} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Hub-Signature: {given_signature}\r\n"
        answer = worker.raw(head.encode() + f"Content-Length: {len(PAGE)}\r\n\r\n".encode() + PAGE)
        assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_missing_or_second_signature_is_refused(worker: RunningWorker) -> None:
    with nothing_kept(worker):
        assert worker.post(DATACENTER, PAGE) == 401
        head = f"POST {DATACENTER} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Hub-Signature: {RIGHT}\r\nx-hub-signature: sha256=0\r\n"
        answer = worker.raw(head.encode() + f"Content-Length: {len(PAGE)}\r\n\r\n".encode() + PAGE)
        assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_body_altered_in_any_way_is_refused(worker: RunningWorker) -> None:
    with nothing_kept(worker):
        for altered in (PAGE + b" ", PAGE[:-1] + b"]", json.dumps(json.loads(PAGE), sort_keys=True).encode(), b""):
            assert worker.post(DATACENTER, altered, {"X-Hub-Signature": RIGHT}) == 401


def test_the_connection_test_is_answered_signed_or_not_and_kept_nowhere(worker: RunningWorker) -> None:
    body = (SAMPLES / "datacenter__diagnostics_ping.json").read_bytes()
    with nothing_kept(worker):
        assert worker.post(DATACENTER, body) == 200
        assert worker.post(DATACENTER, b'{"test":true}') == 200
        assert worker.post_datacenter(body) == 200
        assert worker.post_datacenter(b"{}", event="diagnostics:ping") == 200
        assert worker.post(DATACENTER, body, {"X-Hub-Signature": "sha256=00"}) == 401
        assert worker.post(DATACENTER, b"{}", {"X-Event-Key": "diagnostics:ping"}) == 401
        assert worker.post("/webhooks/datacenter/nowhere", body) == 401
        for other in (b'{"test": 1}', b'{"test": false}', b'{"test": true, "event": "page_created"}', b'{"test"'):
            assert worker.post(DATACENTER, other) == 401


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?token=",
        "?token=wrong",
        f"?Token={CONNECT_TOKEN}",
        f"?token={CONNECT_TOKEN}x",
        f"?token={CONNECT_TOKEN[:-1]}",
        f"?token={CONNECT_TOKEN}&token={CONNECT_TOKEN}",
        "?token=%C3%A9%00",
        "?token=another-token",
        f"?x=token={CONNECT_TOKEN}",
    ],
)
def test_a_wrong_token_in_the_address_is_refused(worker: RunningWorker, query: str) -> None:
    with nothing_kept(worker):
        assert worker.post("/webhooks/connect/acme/page_updated" + query, CONNECT_PAGE) == 401
        assert worker.post("/webhooks/connect/nowhere/page_updated" + query, CONNECT_PAGE) == 401


def test_other_words_in_the_query_do_no_harm(worker: RunningWorker) -> None:
    assert worker.post(f"/webhooks/connect/acme/page_updated?a=1&token={CONNECT_TOKEN}&b", CONNECT_PAGE) == 202
    escaped = CONNECT_TOKEN.replace("-", "%2D")
    assert worker.post(f"/webhooks/connect/acme/page_updated?token={escaped}", CONNECT_PAGE) == 202


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer x", "Bearer a.b.c", "Basic YTpi", "Bearer " + "x" * 9000, "JWT a.b.c"])
def test_what_is_no_forge_token_is_refused(worker: RunningWorker, header: str) -> None:
    with nothing_kept(worker):
        assert worker.post(FORGE, FORGE_PAGE, {"authorization": header} if header else {}) == 401


def test_a_forge_token_by_a_foreign_key_or_for_another_app_is_refused(worker: RunningWorker) -> None:
    forged = forge_token(key="foreign").split(".")
    renamed = ".".join([forge_token().split(".")[0], *forged[1:]])
    with nothing_kept(worker):
        assert worker.post(FORGE, FORGE_PAGE, forge_headers(renamed)) == 401
        assert worker.post(FORGE, FORGE_PAGE, forge_headers(forge_token(claims(aud="another-app")))) == 401
        assert worker.post(FORGE, FORGE_PAGE, forge_headers(forge_token(claims(exp=int(time.time()) - 60)))) == 401


def test_a_large_header_is_refused(worker: RunningWorker) -> None:
    for header in (b"Authorization: Bearer " + b"x" * 5_000_000, b"X-A: b\r\n" * 5000):
        answer = worker.raw(b"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
        assert answer[:13] in (b"HTTP/1.1 431 ", b""), answer[:60]
    assert worker.request("GET", "/healthz").status == 200


def test_bodies_up_to_a_mebibyte_are_read(worker: RunningWorker) -> None:
    body = b'{"event":"page_created","page":{"id":1},"x":"' + b"x" * (MEBIBYTE - 47) + b'"}'
    assert len(body) == MEBIBYTE
    assert worker.post_datacenter(body) == 202
    with nothing_kept(worker):
        assert worker.post_datacenter(body + b" ") == 413
        assert worker.post_datacenter(body + body) == 413
        chunked = iter([body, body])
        assert worker.post(DATACENTER, chunked, {"X-Hub-Signature": "sha256=00"}) == 413
        assert worker.post(DATACENTER, b"", {"Content-Length": "1" + "0" * 18}) == 413


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "GZIP", "gzip, gzip", "zstd", "x"])
def test_compressed_bodies_are_not_inflated(worker: RunningWorker, encoding: str) -> None:
    with nothing_kept(worker):
        assert worker.post(DATACENTER, PAGE, datacenter_headers(PAGE) | {"Content-Encoding": encoding}) == 415


def test_a_content_type_is_only_a_label(worker: RunningWorker) -> None:
    for label in ("text/plain", "multipart/form-data", "application/json; charset=zzz", "", "x" * 500):
        assert worker.post(DATACENTER, PAGE, datacenter_headers(PAGE) | {"content-type": label}) == 202
    assert worker.post(DATACENTER, PAGE, datacenter_headers(PAGE) | {"Content-Encoding": "identity"}) == 202


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_post_delivers(worker: RunningWorker, method: str) -> None:
    for path in (FORGE, DATACENTER, f"/webhooks/connect/acme/page_viewed?token={CONNECT_TOKEN}"):
        answer = worker.request(method, path)
        assert (answer.status, answer.getheader("allow")) == (405, "POST")
    assert worker.request("POST" if method == "GET" else method, "/healthz").status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/webhooks",
        "/webhooks/",
        "/webhooks/forge/",
        "//webhooks/forge",
        "/webhooks//forge",
        "/webhooks/forge/x",
        "/webhooks/datacenter",
        "/webhooks/datacenter/",
        "/webhooks/datacenter/wiki/",
        "/webhooks/connect/acme",
        "/webhooks/connect/acme/",
        "/webhooks/other",
        "/webhooks/forge/../../metrics",
        "/webhooks/forge%00",
        "/webhooks/%2e%2e/metrics",
        "/WEBHOOKS/FORGE",
        "/metrics/",
        "/" + "x" * 50000,
    ],
)
def test_other_paths_are_nowhere(worker: RunningWorker, path: str) -> None:
    with nothing_kept(worker):
        assert worker.post(path, PAGE, datacenter_headers(PAGE)) == 404


def test_authentic_rubbish_is_accepted(worker: RunningWorker) -> None:
    for body in (b"", b"{", b"[]", b"null", b'{"event":"never_heard_of"}', b"\xff", b"[" * 100_000, b'{"a":1,"a":2}'):
        assert worker.post_datacenter(body) == 202
        assert worker.post_connect("page_viewed", body) == 202
        assert worker.post(FORGE, body, forge_headers()) == 202


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /webhooks/forge HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde",
        b"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /webhooks/f\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"FOO /webhooks/forge HTTP/1.1\r\nHost: x\r\n\r\n",
        b"post /webhooks/forge HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        b"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:50]),
)
def test_malformed_requests_are_answered_4xx_or_closed(worker: RunningWorker, sent: bytes) -> None:
    with nothing_kept(worker):
        answer = worker.raw(sent, wait_s=0.5)
        assert b" 500 " not in answer
        assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200 "))
    assert worker.request("GET", "/healthz").status == 200


def test_half_a_head_and_half_a_body_are_not_waited_for(worker: RunningWorker) -> None:
    halves = {
        "nothing": b"",
        "head": b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: x\r\nX-Hub",
        "body": b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        "continue": b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
        "refused": b"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    }
    started_at = time.monotonic()
    connections = {name: socket.create_connection(("127.0.0.1", worker.port), timeout=12) for name in halves}
    for name, half in halves.items():
        connections[name].sendall(half)
    answers = {}
    for name, connection in connections.items():
        with connection:
            answers[name] = b""
            while chunk := connection.recv(65536):
                answers[name] += chunk
    assert 4.5 < time.monotonic() - started_at < 8.5
    assert (answers["nothing"], answers["head"]) == (b"", b"")
    assert answers["body"].startswith(b"HTTP/1.1 408 ")
    assert answers["continue"].startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408 ")
    assert answers["refused"].startswith(b"HTTP/1.1 401 ")


def test_pipelined_requests_are_answered_in_order(worker: RunningWorker) -> None:
    one = f"POST {DATACENTER} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature: {RIGHT}\r\nContent-Length: {len(PAGE)}\r\n\r\n".encode() + PAGE
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = worker.raw(one * 100 + last)
    assert answer.count(b"HTTP/1.1 202 ") == 100
    assert answer.endswith(b"alive\n")


def test_a_sender_that_leaves_before_its_answer_does_no_harm(worker: RunningWorker) -> None:
    one = f"POST {DATACENTER} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature: {RIGHT}\r\nContent-Length: {len(PAGE)}\r\n\r\n".encode() + PAGE
    for cut in (len(one), len(one) - 5, 40):
        with socket.create_connection(("127.0.0.1", worker.port)) as connection:
            connection.sendall(one[:cut])
    assert worker.post_datacenter(PAGE) == 202


def test_operators_see_health_readiness_and_metrics(worker: RunningWorker) -> None:
    assert worker.request("GET", "/healthz").status == 200
    ready = worker.request("GET", "/readyz")
    assert (ready.status, ready.text) == (200, b"ready\n")  # type: ignore[attr-defined]
    text = worker.request("GET", "/metrics").text.decode()  # type: ignore[attr-defined]
    for name in (
        'uar_deliveries_total{outcome="accepted",source="forge"}',
        "uar_spool_deliveries",
        "uar_spool_oldest_age_seconds",
        "uar_drain_lag_seconds",
        "uar_store_errors_total",
        'uar_last_delivery_timestamp_seconds{source="datacenter"}',
        'uar_ack_duration_seconds_bucket{le="0.1"}',
    ):
        assert f"\n{name} " in text


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60),
    st.sampled_from(["authorization", "x-hub-signature", "content-encoding", "x-event-key", "content-type", "x-request-id", "expect"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30),
    st.sampled_from([FORGE, DATACENTER, f"/webhooks/connect/acme/x?token={CONNECT_TOKEN}", "/webhooks/connect/acme/x?token=%zz"]),
    st.booleans(),
)
def test_whatever_is_posted_the_worker_answers_and_goes_on(
    worker: RunningWorker, body: bytes, name: str, value: str, path: str, is_signed: bool
) -> None:
    headers = {name: value}
    if is_signed:
        headers |= datacenter_headers(body) | {"authorization": f"Bearer {forge_token()}"}
    try:
        status = worker.post(path, body, headers)
    except http.client.HTTPException:
        status = 400
    assert status in (200, 202, 400, 401, 408, 413, 415)


def test_the_log_holds_nothing_of_what_was_sent(worker: RunningWorker) -> None:
    worker.post(f"/webhooks/connect/acme/page_viewed?token=marker-{CONNECT_TOKEN}", b'{"marker-body": 1}', {"x-marker": "marker-header"})
    worker.post("/webhooks/datacenter/marker-site", b'{"marker-body": 1}', {"X-Hub-Signature": "marker-signature"})
    worker.post_datacenter(b'{"event": "marker-event", "userKey": "marker-person"}')
    worker.wait_until_drained()
    time.sleep(0.1)
    assert log_lines(worker)
    for secret in ("marker", CONNECT_TOKEN, DATACENTER_SECRET, "Bearer", forge_token().split(".")[0]):
        assert secret not in worker.log()


def test_a_source_without_a_secret_is_not_there(tmp_path: Path) -> None:
    with running_worker(tmp_path, UAR_CONNECT_TOKENS=f"acme={CONNECT_TOKEN}") as lone:
        assert lone.post(FORGE, FORGE_PAGE, forge_headers()) == 404
        assert lone.post_datacenter(PAGE) == 404
        assert lone.post(DATACENTER, b'{"test": true}') == 404
        assert lone.request("GET", FORGE).status == 404
        assert lone.post_connect("page_updated", CONNECT_PAGE) == 202
        time.sleep(0.1)
        assert "forge, which is not configured" in lone.log()

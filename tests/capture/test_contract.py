"""What a running worker answers over real sockets. Bad input of one request: `tests.capture.test_bad_input`."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
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
from uar.store.database import open_store, read_transaction

START = time.monotonic()
FORGE = "/webhooks/forge"
DATACENTER = "/webhooks/datacenter/wiki"
PAGE = (SAMPLES / "datacenter__page_updated.json").read_bytes()
FORGE_PAGE = (SAMPLES / "forge__avi_confluence_updated_page.json").read_bytes()
CONNECT_PAGE = (SAMPLES / "connect__page_updated__cloud_admin.json").read_bytes()


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
    return worker.total("uar_deliveries_total", 'outcome="accepted"')


def stored(worker: RunningWorker) -> float:
    """How many deliveries came out of the spool so far, whatever became of them."""
    worker.wait_until_drained()
    return worker.total("uar_drained_deliveries_total")


@contextmanager
def nothing_kept(worker: RunningWorker) -> Iterator[None]:
    """Nothing inside makes a delivery durable."""
    before = accepted(worker)
    yield
    assert accepted(worker) == before


def test_a_genuine_delivery_of_each_source_is_accepted(worker: RunningWorker) -> None:
    before, drained, began_at = accepted(worker), stored(worker), time.time()
    answer = worker.request("POST", FORGE, FORGE_PAGE, forge_headers())
    assert (answer.status, answer.getheader("content-type")) == (202, "application/json")
    assert worker.post_datacenter(PAGE) == 202
    assert worker.post_connect("page_updated", CONNECT_PAGE) == 202
    assert accepted(worker) == before + 3
    assert stored(worker) == drained + 3
    for source in ("forge", "datacenter", "connect"):
        assert began_at - 0.01 < worker.metric(f'uar_last_delivery_timestamp_seconds{{source="{source}"}}') < time.time() + 0.01


def test_every_answer_is_counted_as_what_it_is(worker: RunningWorker) -> None:
    def counted() -> Counter[str]:
        names = ("accepted", "refused", "undecided", "overloaded", "not_durable", "bad_form", "test")
        return Counter({name: int(worker.metric(f'uar_deliveries_total{{outcome="{name}",source="datacenter"}}')) for name in names})

    for status, outcome, body, headers in (
        (202, "accepted", PAGE, datacenter_headers(PAGE)),
        (401, "refused", PAGE, {}),
        (413, "bad_form", b"x" * 1_048_577, {}),
        (413, "bad_form", iter([b"x" * 65_536] * 17), {}),  # in chunks, without a length
        (415, "bad_form", PAGE, {"Content-Encoding": "gzip"}),
        (200, "test", b'{"test": true}', {}),
    ):
        before, answers = counted(), worker.metric("uar_ack_duration_seconds_count")
        assert worker.post(DATACENTER, body, headers) == status
        assert counted() - before == Counter({outcome: 1})
        assert worker.metric("uar_ack_duration_seconds_count") == answers + 1


def test_the_next_secret_is_accepted_as_well(worker: RunningWorker) -> None:
    assert worker.post_datacenter(PAGE, secret="the-next-secret") == 202
    assert worker.post_connect("page_updated", CONNECT_PAGE, token="the-next-token") == 202


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


def test_any_site_and_deployment_of_the_app_is_accepted_where_none_is_set(worker: RunningWorker) -> None:
    for name in ("site-of-one", "site-of-another"):
        contexts = [{"name": "confluence", "cloudId": name}]
        app = claims()["app"] | {"environment": {"type": "DEVELOPMENT"}, "installation": {"contexts": contexts}}
        assert worker.post(FORGE, FORGE_PAGE, forge_headers(forge_token(claims(app=app)))) == 202
    worker.wait_until_drained()
    with read_transaction(open_store(f"sqlite:///{worker.data_dir / 'uar.db'}")) as connection:
        sites = [row[0] for row in connection.exec_driver_sql("SELECT site FROM activity_log WHERE site LIKE 'site-of-%' ORDER BY site")]
    assert sites == ["site-of-another", "site-of-one"]


def test_a_signed_body_counts_though_its_request_id_came_before_with_another(worker: RunningWorker) -> None:
    """The body is signed and the id is not: whoever could set the id of a delivery must not be able to make another one vanish."""
    for number in (7_001, 7_002, 7_001):
        body = json.dumps({"timestamp": 1_772_532_000_000, "event": "page_created", "userKey": "k", "page": {"id": number}}).encode()
        assert worker.post_datacenter(body, request_id="the-same-id") == 202
    worker.wait_until_drained()
    with read_transaction(open_store(f"sqlite:///{worker.data_dir / 'uar.db'}")) as connection:
        found = connection.exec_driver_sql(
            "SELECT content_id FROM activity_log WHERE content_id LIKE '700_' ORDER BY content_id"
        ).fetchall()
    assert [row[0] for row in found] == ["7001", "7002"]


def test_other_words_in_the_query_do_no_harm(worker: RunningWorker) -> None:
    assert worker.post(f"/webhooks/connect/acme/page_updated?a=1&token={CONNECT_TOKEN}&b", CONNECT_PAGE) == 202
    escaped = CONNECT_TOKEN.replace("-", "%2D")
    assert worker.post(f"/webhooks/connect/acme/page_updated?token={escaped}", CONNECT_PAGE) == 202


def trickle(connection: socket.socket) -> None:
    """Sends a byte every half second until the other side has had enough."""
    with suppress(OSError):
        for _ in range(16):
            connection.sendall(b" ")
            time.sleep(0.5)


def test_half_a_head_and_half_a_body_are_not_waited_for(worker: RunningWorker) -> None:
    halves = {
        "nothing": b"",
        "head": b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: x\r\nX-Hub",
        "body": b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        "trickle": b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        "continue": b"POST /webhooks/datacenter/wiki HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
        "refused": b"POST /webhooks/forge HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    }
    started_at = time.monotonic()
    connections = {name: socket.create_connection(("127.0.0.1", worker.port), timeout=12) for name in halves}
    for name, half in halves.items():
        connections[name].sendall(half)
    threading.Thread(target=trickle, args=(connections["trickle"],), daemon=True).start()
    answers = {}
    for name, connection in connections.items():
        with connection:
            answers[name] = b""
            while chunk := connection.recv(65536):
                answers[name] += chunk
    assert 4.5 < time.monotonic() - started_at < 8.5
    assert (answers["nothing"], answers["head"]) == (b"", b"")
    assert answers["body"].startswith(b"HTTP/1.1 408 ")
    assert answers["trickle"].startswith(b"HTTP/1.1 408 ")
    assert answers["continue"].startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408 ")
    assert answers["refused"].startswith(b"HTTP/1.1 401 ")


def test_a_sender_that_leaves_before_its_answer_does_no_harm(worker: RunningWorker) -> None:
    one = (
        f"POST {DATACENTER} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature: {signature(PAGE)}\r\nContent-Length: {len(PAGE)}\r\n\r\n".encode()
        + PAGE
    )
    for cut in (len(one), len(one) - 5, 40):
        with socket.create_connection(("127.0.0.1", worker.port)) as connection:
            connection.sendall(one[:cut])
    assert worker.post_datacenter(PAGE) == 202
    assert not [line for line in log_lines(worker) if line["level"] not in ("info", "warning")]


def test_operators_see_health_readiness_and_metrics(worker: RunningWorker) -> None:
    assert worker.post(FORGE, FORGE_PAGE, forge_headers()) == 202  # the keys are fetched
    assert worker.request("GET", "/healthz").status == 200
    for method, path, allowed in (("POST", "/healthz", "GET"), ("GET", FORGE, "POST"), ("foo", FORGE, "POST")):
        answer = worker.request(method, path)
        assert (answer.status, answer.getheader("allow")) == (405, allowed)
    ready = worker.request("GET", "/readyz")
    assert (ready.status, ready.text) == (200, b"ready\n")  # type: ignore[attr-defined]
    assert worker.post_datacenter(PAGE) == 202
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
    age_s = worker.metric("uar_keyset_age_seconds")
    assert 0 < age_s < time.monotonic() - START
    time.sleep(0.05)
    assert worker.metric("uar_keyset_age_seconds") >= age_s + 0.05


def test_whatever_is_posted_the_worker_answers_and_keeps_only_what_it_accepted(worker: RunningWorker) -> None:
    statuses: Counter[int] = Counter()

    @settings(deadline=None, max_examples=150)
    @given(
        st.binary(max_size=60),
        st.sampled_from(["authorization", "x-hub-signature", "content-encoding", "x-event-key", "content-type", "x-request-id", "expect"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30),
        st.sampled_from([FORGE, DATACENTER, f"/webhooks/connect/acme/x?token={CONNECT_TOKEN}", "/webhooks/connect/acme/x?token=%zz"]),
        st.booleans(),
    )
    def post(body: bytes, name: str, value: str, path: str, is_signed: bool) -> None:
        headers = {name: value}
        if is_signed:
            headers |= datacenter_headers(body) | {"authorization": f"Bearer {forge_token()}"}
        before = accepted(worker)
        status = worker.post(path, body, headers)
        assert status in (200, 202, 400, 401, 408, 413, 415)
        assert accepted(worker) - before == (status == 202)
        statuses[status] += 1

    before = stored(worker)
    post()
    assert stored(worker) - before == statuses[202] > 0
    assert statuses[401] > 0


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

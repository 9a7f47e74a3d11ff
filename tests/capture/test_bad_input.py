"""Every row of the list of bad inputs, sent to one running worker over real sockets, and what became of each in the store.

The requests are in `tests.capture.bad_input`, with their numbers in the list. What is more than one request is below, or in a module that
`ELSEWHERE` names; `test_no_row_of_the_list_is_missing` holds all of it together.
"""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pysqlite3 import dbapi2 as sqlite

from tests.capture.bad_input import (
    ACCEPTS,
    CLOSED,
    FORGE,
    NOTHING,
    QUARANTINE,
    STORED,
    Case,
    all_cases,
    forge_page,
    http,
    page,
    signed,
)
from tests.capture.running import ROOT, RunningWorker, all_sources, log_lines, running_worker
from tests.capture.senders import CONNECT_TOKEN, DATACENTER_SECRET, KeyHost, claims, forge_headers, forge_token, key_host
from tests.capture.test_forge_token import app, by_hand
from uar.capture.delivery import ANOTHER_BODY

# Only what they are called: tokens live for seconds, so what is sent is made right before.
CALLED = {str(case): case.number for case in all_cases()}
GOOD_P95_S = 0.25
MEMORY_GROWTH_MB = 50
# The last character of a signature of 256 bytes holds two bits; the other four mean nothing.
OTHER_SPELLING = {"A": "B", "Q": "R", "g": "h", "w": "x"}
HERE = "tests/capture/test_bad_input.py"
CONTRACT = "tests/capture/test_contract.py"
PRESSURE = "tests/reliability/test_pressure.py"

ELSEWHERE = {
    12: f"{HERE}::test_row_12_ten_thousand_unknown_key_ids_cost_two_fetches",
    16: f"{CONTRACT}::test_any_site_and_deployment_of_the_app_is_accepted_where_none_is_set",
    19: f"{HERE}::test_row_19_the_same_token_with_the_same_body_is_a_second_try",
    20: f"{HERE}::test_row_20_the_same_token_with_another_body_is_kept_aside_with_an_alarm",
    29: f"{HERE}::test_row_29_an_empty_secret_stops_the_start",
    47: f"{HERE}::test_row_47_one_act_told_by_two_versions_of_the_app_counts_once",
    58: f"{CONTRACT}::test_half_a_head_and_half_a_body_are_not_waited_for",
    59: f"{CONTRACT}::test_half_a_head_and_half_a_body_are_not_waited_for",
    60: f"{CONTRACT}::test_a_sender_that_leaves_before_its_answer_does_no_harm",
    61: f"{CONTRACT}::test_half_a_head_and_half_a_body_are_not_waited_for",
    62: f"{HERE}::test_row_62_ten_thousand_requests_on_one_connection_are_answered_in_order",
    63: f"{PRESSURE}::test_more_than_it_can_carry_is_shed_with_503_and_memory_stays_bounded",
    64: "tests/deploy/test_nginx.py::test_old_tls_is_refused",
}
ALSO = {
    43: "tests/report/test_export.py",  # harmless in a CSV
    56: "tests/deploy/test_nginx.py",  # the names of hosts are the proxy's
}
NOT_APPLICABLE = {46: "Nobody can be erased yet, so there is no list of erased people to look up."}


class GoodSender(threading.Thread):
    """Sends good deliveries, one after the other, 50 a second at most; how each was answered and how long that took, in seconds."""

    def __init__(self, worker: RunningWorker) -> None:
        super().__init__(daemon=True)
        self._worker = worker
        self._stopping = threading.Event()
        self.sent: list[str] = []
        self.statuses: set[int] = set()
        self.seconds: list[float] = []

    def __enter__(self) -> GoodSender:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        while not self._stopping.wait(0.02):
            made = page()
            self.sent.append(str(made["page"]["id"]))
            started_at = time.monotonic()
            self.statuses.add(self._worker.post_datacenter(json.dumps(made).encode()))
            self.seconds.append(time.monotonic() - started_at)


@dataclass
class Outcome:
    """What the worker answered and what it kept."""

    worker: RunningWorker
    keys: KeyHost
    cases: dict[str, Case]
    statuses: dict[str, int]
    seconds: dict[str, float]
    fetches: int
    grown_mb: float
    good: GoodSender

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """All rows of a statement on the store, by column."""
        connection = sqlite.connect(f"file:{self.worker.data_dir / 'uar.db'}?mode=ro", uri=True)
        connection.row_factory = sqlite.Row
        try:
            return [dict(row) for row in connection.execute(statement)]
        finally:
            connection.close()

    def stored(self) -> dict[str, dict[str, Any]]:
        """The stored activities by content id."""
        found = self.rows("SELECT log.*, title FROM activity_log AS log JOIN activities USING (id)")
        return {row["content_id"]: row for row in found}


def memory_mb(worker: RunningWorker) -> float:
    """Resident memory of the worker."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def sent(worker: RunningWorker, case: Case) -> tuple[Case, int, float]:
    """The status of a case's answer and how long it took, in seconds."""
    started_at = time.monotonic()
    answer = worker.raw(case.request)
    return case, int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else CLOSED, time.monotonic() - started_at


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """One worker that has got every case, with good deliveries beside them."""
    with (
        key_host() as keys,
        running_worker(tmp_path_factory.mktemp("bad"), **all_sources(keys.url), **ACCEPTS) as worker,
    ):
        assert worker.post(FORGE, b"{}", forge_headers()) == 202  # the keys are fetched
        fetches, before_mb = keys.fetches, memory_mb(worker)
        cases, statuses, seconds = all_cases(), {}, {}
        with GoodSender(worker) as good, ThreadPoolExecutor(4) as senders:  # two cases wait five seconds for their answer
            for case, status, took in senders.map(lambda case: sent(worker, case), cases):
                statuses[str(case)], seconds[str(case)] = status, took
        worker.wait_until_drained()
        named = {str(case): case for case in cases}
        yield Outcome(worker, keys, named, statuses, seconds, keys.fetches - fetches, memory_mb(worker) - before_mb, good)


@pytest.mark.parametrize("name", CALLED)
def test_the_outcome_is_the_lists(outcome: Outcome, name: str) -> None:
    case = outcome.cases[name]
    assert outcome.statuses[name] in case.statuses
    if case.fate == QUARANTINE:
        kept = outcome.rows("SELECT body, reason FROM quarantine")
        reasons = [row["reason"] for row in kept if bytes(row["body"]) == case.body]
        assert reasons
        assert all(reason.endswith(".") for reason in reasons)
    if case.fate == STORED:
        assert case.row == tuple((name, outcome.stored()[case.content_id][name]) for name, _ in case.row)


def test_nothing_else_was_kept(outcome: Outcome) -> None:
    expected = {case.content_id for case in outcome.cases.values() if case.fate == STORED}
    assert outcome.stored().keys() - expected == set(outcome.good.sent)
    kept = {bytes(row["body"]) for row in outcome.rows("SELECT body FROM quarantine")}
    assert kept == {case.body for case in outcome.cases.values() if case.fate == QUARANTINE} | {b"{}"}


def test_good_deliveries_beside_them_are_answered_in_time_and_memory_is_bounded(outcome: Outcome) -> None:
    assert len(outcome.good.seconds) > 20
    assert outcome.good.statuses == {202}
    assert sorted(outcome.good.seconds)[int(0.95 * len(outcome.good.seconds))] < GOOD_P95_S
    assert outcome.grown_mb < MEMORY_GROWTH_MB


def test_no_key_was_fetched_and_no_file_touched_for_them(outcome: Outcome) -> None:
    assert outcome.fetches == 0
    assert {path.name.split("-")[0] for path in outcome.worker.data_dir.iterdir()} <= {"jwks.json", "spool.db", "uar.db", "worker.lock"}


def test_a_huge_body_is_never_read_in_the_way_of_its_answer(outcome: Outcome) -> None:
    slow = {name: found for name, found in outcome.seconds.items() if name.startswith(("row 36", "row 37")) and found > 2.0}
    assert slow == {}


def test_every_kind_of_refusal_is_a_line_in_the_log_without_anything_of_the_request(outcome: Outcome) -> None:
    time.sleep(0.2)
    messages = [line["message"] for line in log_lines(outcome.worker)]
    for source in ("forge", "connect", "datacenter"):
        assert [message for message in messages if message.startswith(f"A delivery of {source} was refused: ")]
    assert "Traceback" not in outcome.worker.log()
    for value in (
        CONNECT_TOKEN,
        DATACENTER_SECRET,
        "another-token",
        "evil.example",
        "passwd",
        "__proto__",
        "onerror",
        "OR 1=1",
        "page_exploded",
    ):
        assert value not in outcome.worker.log()


def test_refusals_are_counted_by_their_reason(outcome: Outcome) -> None:
    outcome.worker.wait_until_drained()
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        counted = {row["outcome"]: row["count"] for row in outcome.rows("SELECT outcome, count FROM deliveries WHERE site <> 'wiki'")}
        if "refused: no token in the address" in counted:
            break
        time.sleep(0.5)
    assert counted["refused: no token in the address"] >= 2  # row 23 among them


def sent_on_one_connection(worker: RunningWorker, requests: list[bytes]) -> bytes:
    """All answers to requests on one connection, read while they are written."""
    last = b"GET /healthz HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n"
    received = b""
    with socket.create_connection(("127.0.0.1", worker.port), timeout=20) as connection:
        for start in range(0, len(requests), 50):
            part = requests[start : start + 50]
            connection.sendall(b"".join(part).replace(b"Connection: close\r\n", b""))
            before = received.count(b"HTTP/1.1 ")
            while received.count(b"HTTP/1.1 ") < before + len(part):
                more = connection.recv(1_000_000)
                assert more, "the connection was closed before all was answered"
                received += more
        connection.sendall(last)
        while more := connection.recv(1_000_000):
            received += more
    assert received.endswith(b"alive\n")
    return received


def test_row_12_ten_thousand_unknown_key_ids_cost_two_fetches(outcome: Outcome) -> None:
    fetches, undecided = outcome.keys.fetches, outcome.worker.total("uar_deliveries_total", 'outcome="undecided"')
    tokens = [by_hand({"alg": "RS256", "kid": f"unknown-{number}"}) for number in range(10_000)]
    answers = sent_on_one_connection(outcome.worker, [http(FORGE, b"{}", f"Authorization: Bearer {token}") for token in tokens])
    parts = answers.split(b"HTTP/1.1 ")[1:-1]
    assert len(parts) == 10_000
    assert {part[:3] for part in parts} <= {b"401", b"503"}
    later = [part for part in parts if part.startswith(b"503")]
    assert all(b"retry-after: 30\r\n" in part for part in later)
    assert outcome.worker.total("uar_deliveries_total", 'outcome="undecided"') - undecided == len(later)
    assert outcome.keys.fetches - fetches <= 2
    assert outcome.worker.post(FORGE, json.dumps(forge_page()).encode(), forge_headers()) == 202


def test_row_19_the_same_token_with_the_same_body_is_a_second_try(outcome: Outcome) -> None:
    token, made = forge_token(), forge_page()
    before = len(outcome.rows("SELECT id FROM quarantine"))
    again = made | {"retryContext": {"retryData": None, "retryCount": 1, "retryReason": "TIMEOUT_ERROR"}}
    for form in (made, made, again, {"payload": again}):
        assert outcome.worker.post(FORGE, json.dumps(form).encode(), forge_headers(token)) == 202
    outcome.worker.wait_until_drained()
    assert len(outcome.rows(f"SELECT id FROM activities WHERE content_id = '{made['content']['id']}'")) == 1
    assert len(outcome.rows("SELECT id FROM quarantine")) == before


def test_row_20_the_same_token_with_another_body_is_kept_aside_with_an_alarm(outcome: Outcome) -> None:
    token, first, second = forge_token(), forge_page(), forge_page()
    respelled = token[:-1] + OTHER_SPELLING[token[-1]]
    kept = "SELECT body, reason FROM quarantine WHERE delivery_id IS NOT NULL AND source = 1"
    for one, with_token in ((first, token), (second, token), (second, respelled), (first, token)):
        assert outcome.worker.post(FORGE, json.dumps(one).encode(), forge_headers(with_token)) == 202
    outcome.worker.wait_until_drained()
    assert str(first["content"]["id"]) in outcome.stored()
    assert second["content"]["id"] not in outcome.stored()
    assert [(json.loads(row["body"]), row["reason"]) for row in outcome.rows(kept)] == [(second, ANOTHER_BODY)]
    assert outcome.worker.metric("uar_reused_tokens_total") >= 1
    time.sleep(0.1)
    alarms = [line["message"] for line in log_lines(outcome.worker) if "another body" in line["message"]]
    assert alarms == ["A Forge token came again with another body; the delivery goes to quarantine. The Collection page says what to do."]
    assert outcome.worker.post(FORGE, json.dumps(second).encode(), forge_headers()) == 202  # with a token of its own it counts
    outcome.worker.wait_until_drained()
    assert second["content"]["id"] in outcome.stored()


def test_row_29_an_empty_secret_stops_the_start(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "UAR_DATA_DIR": str(tmp_path), "UAR_DATACENTER_SECRETS": "wiki="}
    command = [sys.executable, "-m", "uar", "worker"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "UAR_DATACENTER_SECRETS" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_row_47_one_act_told_by_two_versions_of_the_app_counts_once(outcome: Outcome) -> None:
    made = forge_page()
    for version in ("1.9.0", "2.0.0"):
        token = forge_token(claims(app=app(appVersion=version)))
        assert outcome.worker.post(FORGE, json.dumps(made).encode(), forge_headers(token)) == 202
    outcome.worker.wait_until_drained()
    assert len(outcome.rows(f"SELECT id FROM activities WHERE content_id = '{made['content']['id']}'")) == 1


def test_row_62_ten_thousand_requests_on_one_connection_are_answered_in_order(outcome: Outcome) -> None:
    good, bad = signed(62, "good", page(), STORED), Case(62, "bad", http(FORGE, b"{}"), (401,), NOTHING)
    requests = [(bad if number % 100 else good).request for number in range(10_000)]
    answers = sent_on_one_connection(outcome.worker, requests).split(b"HTTP/1.1 ")[1:-1]
    assert [part[:3] for part in answers] == [b"401" if number % 100 else b"202" for number in range(10_000)]


def named_tests(path: str) -> set[str]:
    """The names of the tests in a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_no_row_of_the_list_is_missing() -> None:
    assert set(CALLED.values()) | ELSEWHERE.keys() | NOT_APPLICABLE.keys() == set(range(1, 65))
    for place in ELSEWHERE.values():
        path, _, name = place.partition("::")
        assert name in named_tests(path), place
    assert all((ROOT / path).is_file() for path in ALSO.values())
    assert len(all_cases()) == len(CALLED)

"""From the spool to the store: once, in order, whatever a delivery holds and however long the store is away; on both databases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

import uar.capture.catalog
import uar.capture.drain
import uar.capture.payload
import uar.capture.store_writer
from tests.capture.reading import sample_body
from tests.capture.test_spool import wait_for
from uar.activity import Activity, ActivityType, Source
from uar.capture.catalog import Entry, lookup
from uar.capture.delivery import Delivery
from uar.capture.drain import Drain, Writer, rest_s
from uar.capture.metrics import Metrics
from uar.capture.replay import replay
from uar.capture.spool import Spool
from uar.capture.spool_file import Mark
from uar.capture.store_writer import Brought, Counts, Opened, StoreWriter
from uar.config import Settings, load_settings
from uar.store.database import Connection, Engine, StoreError, StoreUnavailable, read_transaction

NOW = 1_795_500_000_000


def query(store: Engine, statement: str) -> list[tuple[Any, ...]]:
    """All rows of a statement."""
    with read_transaction(store) as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement).fetchall()]


def outcomes(store: Engine) -> dict[tuple[Source, str], int]:
    """How many deliveries ended how, per source."""
    rows = query(store, "SELECT source, outcome, sum(count) FROM deliveries GROUP BY source, outcome")
    return {(Source(row[0]), row[1]): int(row[2]) for row in rows}


class Line:
    """A spool and a drain, as in the worker."""

    def __init__(self, folder: Path, writer: Writer, now_ms: Callable[[], int] = lambda: NOW) -> None:
        self.metrics = Metrics()
        self._sent = self._durable = 0
        self.spool = Spool(folder / "spool.db", 64 * 1024 * 1024, self._count)
        self.drain = Drain(self.spool, writer, self.metrics, "test", now_ms)

    def _count(self, waiters: Sequence[Any], is_durable: bool) -> None:
        self._durable += len(waiters) if is_durable else 0

    def send(self, source: Source, payload: dict[str, Any] | bytes, event_name: str | None = None, **changes: Any) -> None:
        """Spools one delivery."""
        body = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        values = {"site": "acme", "delivery_id": None, "received_at": NOW + self._sent} | changes
        self._sent += 1
        self.spool.append(Delivery(source=source, event_name=event_name, body=body, **values), None)
        self.spool.hand_over()

    def settle(self) -> None:
        """Waits until everything sent is in the store."""
        wait_for(lambda: self._durable == self._sent and self.spool.depth == 0)

    def stop(self) -> None:
        """Ends both threads."""
        self.drain.stop(5)
        self.spool.stop(5)


def line_here(folder: Path, make_engine: Callable[[], Engine], store_titles: bool = False) -> Line:
    """One whose writer is in this process, so that a test can reach into it."""
    return Line(folder, StoreWriter(folder / "spool.db", make_engine, store_titles))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"UAR_DATA_DIR": str(tmp_path)}, tmp_path)


@pytest.fixture
def line(store: Engine, tmp_path: Path) -> Iterator[Line]:
    made = line_here(tmp_path, lambda: store)
    made.drain.start()
    yield made
    made.stop()


def page(number: int, **changes: Any) -> dict[str, Any]:
    return {"timestamp": NOW - 1000 * number, "event": "page_created", "userKey": f"person-{number % 7}", "page": {"id": number}} | changes


def test_the_same_delivery_in_any_form_is_one_row(line: Line, store: Engine) -> None:
    flat = sample_body("forge__avi_confluence_viewed_page.json")
    for form in (flat, {"payload": flat}, {"payload": flat | {"retryContext": {"retryCount": 1}}}, flat | {"selfGenerated": False}):
        line.send(Source.FORGE, form)
        line.send(Source.FORGE, form)
        line.settle()
    for _ in range(3):
        line.send(Source.DATACENTER, page(1), delivery_id="one")
        line.send(Source.CONNECT, sample_body("connect__page_viewed.json"), "page_viewed")
        line.settle()
    assert query(store, "SELECT source, count(*) FROM activity_log GROUP BY source ORDER BY source") == [
        ("connect", 1),
        ("datacenter", 1),
        ("forge", 1),
    ]


def _like(first: str) -> list[dict[str, Any]]:
    liked = sample_body("forge__avi_confluence_liked_page.json")
    relation = sample_body("forge__avi_confluence_created_relation.json") | {
        "relationName": "like",
        "atlassianId": liked["atlassianId"],
        "eventCreatedDate": "2026-03-02T10:20:01.500Z",
        "target": {"content": liked["content"]},
    }
    return [liked, relation] if first == "liked" else [relation, liked]


@pytest.mark.parametrize("first", ["liked", "relation"])
@pytest.mark.parametrize("is_together", [True, False])
def test_a_like_announced_twice_counts_once(line: Line, store: Engine, first: str, is_together: bool) -> None:
    for payload in _like(first):
        line.send(Source.FORGE, payload)
        if not is_together:
            line.settle()
    line.settle()
    assert query(store, "SELECT event, type FROM activity_log") == [("avi:confluence:liked:page", "like")]


@pytest.mark.parametrize("names", [("page_created", "content_created"), ("content_created", "page_created")])
def test_a_datacenter_page_announced_twice_counts_once(line: Line, store: Engine, names: tuple[str, str]) -> None:
    for name in names:
        line.send(Source.DATACENTER, {"timestamp": NOW - 5, "event": name, "userKey": "k", name.partition("_")[0]: {"id": 7}})
        line.settle()
    assert query(store, "SELECT event, type FROM activity_log") == [("page_created", "create")]


def test_content_of_its_own_kind_still_counts(line: Line, store: Engine) -> None:
    line.send(Source.DATACENTER, {"timestamp": NOW, "event": "content_created", "userKey": "k", "content": {"id": 7}})
    line.send(Source.DATACENTER, {"timestamp": NOW, "event": "page_created", "userKey": "k", "page": {"id": 8}})
    line.settle()
    assert query(store, "SELECT event FROM activity_log ORDER BY event") == [("content_created",), ("page_created",)]


def test_rubbish_between_good_deliveries_stops_nothing(line: Line, store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(delivery: Delivery, *, store_titles: bool) -> list[Activity]:
        raise KeyError("a defect")

    monkeypatch.setitem(uar.capture.store_writer.NORMALIZERS, Source.CONNECT, broken)
    for number in range(30):
        line.send(Source.DATACENTER, page(number))
        line.send(Source.DATACENTER, b"{" + str(number).encode() if number % 2 else {"event": "page_exploded", "n": number})
    line.send(Source.CONNECT, {}, "page_viewed")
    line.settle()
    assert query(store, "SELECT count(*) FROM activity_log") == [(30,)]
    reasons = query(store, "SELECT event_name, count(*) FROM quarantine GROUP BY event_name ORDER BY count(*)")
    assert ("page_exploded", 15) in reasons
    assert ("page_viewed", 1) in reasons
    assert outcomes(store) == {
        (Source.DATACENTER, "accepted"): 30,
        (Source.DATACENTER, "quarantined"): 30,
        (Source.CONNECT, "quarantined"): 1,
    }


@pytest.mark.parametrize(
    ("cores", "late_s", "expected"), [(0.2, 1.0, 0.0), (0.69, 1.0, 0.0), (0.7, 1.0, 1.8), (1.3, 29.0, 1.8), (1.3, 30.0, 0.0)]
)
def test_a_busy_worker_is_left_alone_until_the_store_is_late(cores: float, late_s: float, expected: float) -> None:
    assert rest_s(0.2, cores, late_s) == pytest.approx(expected)


class Backlog:
    """A writer to which there is no end until `is_over`; each batch takes 20 ms."""

    def __init__(self, newest_received_at: int) -> None:
        self.batches = 0
        self.is_over = False
        self._newest_received_at = newest_received_at

    def open(self, worker: str, started_at: int) -> Opened:
        return Opened(1, {})

    def bring(self, refused: Counts, at: int) -> Brought | None:
        if self.is_over:
            return None
        time.sleep(0.02)
        self.batches += 1
        return Brought(1, False, Mark(), self._newest_received_at, {})

    def beat(self, coverage_id: int, refused: Counts, at: int) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("busy", "age_s", "is_resting"), [(0.0, 1, True), (0.0, 60, False), (99.0, 1, False)])
def test_batches_follow_each_other_slowly_in_a_burst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: float, age_s: int, is_resting: bool
) -> None:
    monkeypatch.setattr(uar.capture.drain, "BUSY", busy)
    monkeypatch.setattr(uar.capture.drain, "SHARE", 0.02)
    backlog = Backlog(NOW - 1000 * age_s)
    line = Line(tmp_path, backlog)
    began_at = time.monotonic()
    line.spool.arrived.set()
    line.drain.start()
    wait_for(lambda: backlog.batches >= 2)
    assert (time.monotonic() - began_at > 0.9) is is_resting
    backlog.is_over = True
    line.stop()


def test_how_deliveries_ended_is_counted_and_the_recording_noted(line: Line, store: Engine) -> None:
    line.send(Source.DATACENTER, page(1), delivery_id="a")
    line.settle()
    line.send(Source.DATACENTER, page(1), delivery_id="a")
    line.send(Source.DATACENTER, {"event": "blueprint_page_created"})
    line.metrics.refused(Source.FORGE, "", "wrong signature")
    line.send(Source.DATACENTER, page(2))
    line.settle()
    line.drain.stop(5)
    counts = {
        (row[0], row[1]): int(row[2]) for row in query(store, "SELECT source, outcome, sum(count) FROM deliveries GROUP BY source, outcome")
    }
    assert counts == {(3, "accepted"): 2, (3, "duplicate"): 1, (3, "ignored"): 1, (1, "refused: wrong signature"): 1}
    assert query(store, "SELECT worker, started_at, ended_at FROM coverage") == [("test", NOW, NOW)]


def test_a_clock_that_moves_begins_another_note_of_the_recording(store: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uar.capture.drain, "HEARTBEAT_S", 0.05)
    ahead = [0]
    line = Line(tmp_path, StoreWriter(tmp_path / "spool.db", lambda: store, False), lambda: int(time.monotonic() * 1000) + ahead[0])
    line.drain.start()
    for ahead[0] in (0, 86_400_000, 0):
        runs = len(query(store, "SELECT 1 FROM coverage"))
        wait_for(lambda runs=runs: len(query(store, "SELECT 1 FROM coverage")) > runs, 10)  # type: ignore[misc]
        time.sleep(0.2)
    line.stop()
    lengths = query(store, "SELECT ended_at - started_at FROM coverage")
    assert len(lengths) == 3
    assert all(0 < length < 20_000 for (length,) in lengths)  # each was extended


def test_a_store_that_is_away_costs_nothing(store: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uar.capture.drain, "FIRST_RETRY_S", 0.05)
    is_away = True

    def make_engine() -> Engine:
        if is_away:
            raise StoreUnavailable("The store is away.")
        return store

    line = line_here(tmp_path, make_engine)
    line.drain.start()
    for number in range(50):
        line.send(Source.DATACENTER, page(number))
    wait_for(lambda: line.drain.is_degraded and line.spool.depth == 50)
    wait_for(lambda: line.spool.oldest_received_at == NOW)
    is_away = False
    line.settle()
    wait_for(lambda: not line.drain.is_degraded)
    assert query(store, "SELECT count(*) FROM activity_log") == [(50,)]
    line.stop()


def test_a_transaction_that_fails_after_its_commit_is_not_counted_twice(line: Line, store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uar.capture.drain, "FIRST_RETRY_S", 0.05)
    genuine, failures = StoreWriter._write, 2

    def write_and_fail(writer: StoreWriter, *arguments: Any) -> None:
        nonlocal failures
        genuine(writer, *arguments)
        if failures:
            failures -= 1
            raise StoreUnavailable("The answer to the commit was lost.")

    monkeypatch.setattr(StoreWriter, "_write", write_and_fail)
    for number in range(20):
        line.send(Source.DATACENTER, page(number))
    line.settle()
    assert failures == 0
    assert query(store, "SELECT count(*) FROM activity_log") == [(20,)]


@pytest.mark.parametrize("error", [StoreError("refused"), OverflowError("too large")])
def test_a_delivery_that_the_store_refuses_does_not_block_the_others(
    line: Line, store: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    genuine = uar.capture.store_writer.record_activities

    def refuse(connection: Connection, activities: Sequence[Activity]) -> Any:
        if any(activity.content_id == "13" for activity in activities):
            raise error
        return genuine(connection, activities)

    monkeypatch.setattr(uar.capture.store_writer, "record_activities", refuse)
    for number in range(40):
        line.send(Source.DATACENTER, page(number))
    line.settle()
    assert query(store, "SELECT count(*) FROM activity_log") == [(39,)]
    assert query(store, "SELECT count(*), min(reason) FROM quarantine") == [(1, "The store refuses the values of this delivery.")]


def test_replay_stores_what_a_newer_catalogue_knows_and_only_once(
    line: Line, store: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1200):
        line.send(Source.DATACENTER, page(number, event="page_exploded"))
    line.send(Source.DATACENTER, b"{")
    line.settle()
    before = replay(store, settings)
    assert (before.read, before.stored, before.remaining) == (0, 0, 1201)

    def knows_more(source: Source, name: str) -> Entry | None:
        return Entry(ActivityType.UPDATE, "page", True) if name == "page_exploded" else lookup(source, name)

    monkeypatch.setattr(uar.capture.payload, "lookup", knows_more)
    first, second = replay(store, settings), replay(store, settings)
    assert (first.read, first.stored, first.remaining) == (1200, 1200, 1)
    assert (second.read, second.stored, second.remaining) == (0, 0, 1)
    assert query(store, "SELECT type, count(*) FROM activity_log GROUP BY type") == [("update", 1200)]
    assert query(store, "SELECT count(*) FROM quarantine") == [(1,)]


def test_a_delivery_is_visible_at_once(line: Line, store: Engine) -> None:
    line.send(Source.DATACENTER, page(0))
    line.settle()
    for number in range(1, 4):
        started_at = time.monotonic()
        line.send(Source.DATACENTER, page(number))
        wait_for(lambda expected=number + 1: query(store, "SELECT count(*) FROM activity_log") == [(expected,)], 1.0)
        assert time.monotonic() - started_at < 1.0


def test_titles_are_stored_only_if_the_settings_say_so(store: Engine, tmp_path: Path) -> None:
    for number, (store_titles, expected) in enumerate(((False, None), (True, "Plan"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        line = line_here(folder, lambda: store, store_titles)
        line.drain.start()
        line.send(Source.DATACENTER, page(number, page={"id": number, "title": "Plan"}))
        line.settle()
        line.stop()
        assert query(store, f"SELECT title FROM activities WHERE content_id = '{number}'") == [(expected,)]

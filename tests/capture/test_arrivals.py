"""A worker that was killed while its store was down had been up all the same: no gap is shown where its spool holds deliveries."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.capture.running import running_worker
from tests.capture.senders import DATACENTER_SECRET
from uar.activity import Source
from uar.capture.delivery import Delivery
from uar.capture.spool import Spool, SpoolBroken
from uar.capture.spool_file import APART_MS, arrived
from uar.report.coverage import Gap, gaps
from uar.store.database import Engine, read_transaction, write_transaction
from uar.store.reads import coverage
from uar.store.writes import cover_again, extend_coverage, start_coverage

NOW = 1_795_500_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE


def spooled(folder: Path, *arrivals: int) -> Path:
    """A spool with deliveries that arrived at these instants."""
    spool = Spool(folder / "spool.db", 2**30, lambda waiters, is_durable: None)
    for at in arrivals:
        spool.append(Delivery(Source.DATACENTER, "wiki", None, None, at, b"{}"), None)
    spool.stop(5)
    return folder / "spool.db"


def test_deliveries_close_together_are_one_run(tmp_path: Path) -> None:
    path = spooled(tmp_path, NOW, NOW + 1, NOW + APART_MS, NOW + 3 * APART_MS, NOW + HOUR - 1, NOW + 2 * HOUR, NOW + 5 * HOUR)
    assert arrived(path, NOW + 5 * HOUR) == [(NOW, NOW + APART_MS), (NOW + 3 * APART_MS, NOW + HOUR - 1), (NOW + 2 * HOUR, NOW + 2 * HOUR)]
    assert arrived(path, NOW) == []


def test_a_spool_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpoolBroken, match=r"spool\.db cannot be read"):
        arrived(tmp_path / "spool.db", NOW)


def gaps_with(store: Engine, *spans: tuple[int, int]) -> list[Gap]:
    """The gaps of a worker that was last heard of after an hour and started again after nine, with these times between."""
    with write_transaction(store) as connection:
        connection.exec_driver_sql("DELETE FROM coverage")
        extend_coverage(connection, start_coverage(connection, "a", NOW), NOW + HOUR)
        cover_again(connection, "a", spans, APART_MS)
        extend_coverage(connection, start_coverage(connection, "a", NOW + 9 * HOUR), NOW + 10 * HOUR)
    with read_transaction(store) as connection:
        return list(gaps(coverage(connection), NOW + 10 * HOUR))


def test_a_gap_is_only_where_nothing_was_received(store: Engine) -> None:
    whole = Gap(NOW + HOUR, NOW + 9 * HOUR)
    late = Gap(NOW + 6 * HOUR, NOW + 9 * HOUR)
    assert gaps_with(store) == [whole]
    assert gaps_with(store, (NOW, NOW + MINUTE)) == [whole]
    assert gaps_with(store, (NOW + HOUR + 5 * MINUTE, NOW + 6 * HOUR)) == [late]
    assert gaps_with(store, (NOW + 3 * HOUR, NOW + 6 * HOUR)) == [Gap(NOW + HOUR, NOW + 3 * HOUR), late]
    assert gaps_with(store, (NOW + HOUR, NOW + 8 * HOUR), (NOW + 8 * HOUR + 5 * MINUTE, NOW + 9 * HOUR)) == []


def test_another_workers_run_is_left_as_it_is(store: Engine) -> None:
    with write_transaction(store) as connection:
        extend_coverage(connection, start_coverage(connection, "other", NOW), NOW + HOUR)
        for _ in range(2):
            cover_again(connection, "a", [(NOW + HOUR, NOW + 2 * HOUR)], APART_MS)
    with read_transaction(store) as connection:
        assert coverage(connection).values.tolist() == [[NOW, NOW + HOUR], [NOW + HOUR, NOW + 2 * HOUR]]


def test_a_worker_tells_the_store_of_a_run_that_the_store_never_heard_of(store: Engine, store_url: str, tmp_path: Path) -> None:
    now = time.time_ns() // 1_000_000
    heard, killed = now - 6 * HOUR, now - 2 * HOUR
    spooled(tmp_path, *range(heard + 5 * MINUTE, killed + 1, 5 * MINUTE))
    with write_transaction(store) as connection:
        name = f"{socket.gethostname()}:{tmp_path.resolve()}"
        extend_coverage(connection, start_coverage(connection, name, now - 9 * HOUR), heard)
    with running_worker(tmp_path, UAR_DATABASE_URL=store_url, UAR_DATACENTER_SECRETS=f"wiki={DATACENTER_SECRET}") as worker:
        worker.wait_until_drained()
    with read_transaction(store) as connection:
        [gap] = gaps(coverage(connection), now)
    assert gap.since == killed
    assert now <= gap.until <= now + MINUTE

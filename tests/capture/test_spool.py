"""The spool: durable before reported, in order, bounded, and never broken for good."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from pysqlite3 import dbapi2 as sqlite

import uar.capture.spool
from uar.activity import Source
from uar.capture.delivery import Delivery
from uar.capture.spool import DataDirInUse, Mark, Spool, SpoolBroken, SpoolFull, salvaged_rows, sole_owner
from uar.capture.spool_file import Spooled, SpoolReader, free_share

LIMIT = 64 * 1024 * 1024
WAIT_S = 60.0  # for what needs moments, unless the machine is busy


class Reports:
    """What the spool reported: waiter → durable."""

    def __init__(self) -> None:
        self.seen: dict[Any, bool] = {}
        self.groups: list[int] = []

    def __call__(self, waiters: Sequence[Any], is_durable: bool) -> None:
        self.groups.append(len(waiters))
        self.seen.update(dict.fromkeys(waiters, is_durable))

    def wait(self, waiter: Any, within_s: float = WAIT_S) -> bool:
        wait_for(lambda: waiter in self.seen, within_s)
        return self.seen[waiter]


def wait_for(is_true: Callable[[], bool], within_s: float = WAIT_S) -> None:
    """Returns once it is true."""
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def made(number: int, body: bytes = b"{}") -> Delivery:
    return Delivery(Source.DATACENTER, "wiki", "page_created", f"request-{number}", 1_795_500_000_000 + number, body)


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def spool(tmp_path: Path, reports: Reports) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.db", LIMIT, reports)
    yield opened
    opened.stop(5)


def keep(spool: Spool, delivery: Delivery, waiter: object) -> None:
    """One delivery that came alone."""
    spool.append(delivery, waiter)
    spool.hand_over()


def fill(spool: Spool, reports: Reports, numbers: range, body: bytes = b"{}") -> None:
    for number in numbers:
        spool.append(made(number, body), number)
    spool.hand_over()
    assert all(reports.wait(number) for number in numbers)


def take(path: Path, after: Mark = Mark(), count: int = 10_000, max_bytes: int = LIMIT) -> list[Spooled]:  # noqa: B008 - it is frozen
    """What a reader of its own finds."""
    with closing(SpoolReader(path)) as reader:
        return reader.take(after, count, max_bytes)


class FailedSync:
    """A connection whose next commit of deliveries fails as it does when the disk cannot sync: what was written may or may not be there."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        if not statement.startswith("INSERT"):
            return self._connection.execute(statement, values)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(statement, values)
        error = sqlite.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        raise error


def rows_on_disk(path: Path) -> int:
    with closing(sqlite.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM deliveries").fetchone()[0])


def test_a_reported_delivery_is_in_the_file(spool: Spool, reports: Reports, tmp_path: Path) -> None:
    fill(spool, reports, range(3))
    assert rows_on_disk(tmp_path / "spool.db") == 3
    assert spool.depth == 3


def test_deliveries_come_back_whole_and_in_order(spool: Spool, reports: Reports, tmp_path: Path) -> None:
    odd = Delivery(Source.FORGE, "site", None, None, 5, bytes(range(256)))
    keep(spool, odd, "odd")
    fill(spool, reports, range(700))
    taken = take(tmp_path / "spool.db")
    assert [spooled.delivery for spooled in taken] == [odd, *map(made, range(700))]
    assert [spooled.mark.id for spooled in taken] == sorted(spooled.mark.id for spooled in taken)


def test_a_take_is_bounded_by_count_and_by_bytes(spool: Spool, reports: Reports, tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    fill(spool, reports, range(10), b"x" * 1000)
    assert len(take(path, count=4)) == 4
    assert len(take(path, max_bytes=2500)) == 3
    assert len(take(path, max_bytes=1)) == 1
    assert take(path)[-1] == take(path, take(path, count=9)[-1].mark, 1)[0]


def test_what_is_forgotten_is_gone_and_the_rest_stays(spool: Spool, reports: Reports, tmp_path: Path) -> None:
    fill(spool, reports, range(10))
    spool.forget(take(tmp_path / "spool.db", count=6)[-1].mark)
    wait_for(lambda: spool.depth == 4)
    assert rows_on_disk(tmp_path / "spool.db") == 4
    assert take(tmp_path / "spool.db")[0].delivery == made(6)


def test_the_age_of_the_oldest_that_waits_is_known_without_reading_the_file(spool: Spool, reports: Reports, tmp_path: Path) -> None:
    assert spool.oldest_received_at is None
    fill(spool, reports, range(10))
    assert spool.oldest_received_at == made(0).received_at
    spool.forget(take(tmp_path / "spool.db", count=6)[-1].mark)
    wait_for(lambda: spool.oldest_received_at == made(6).received_at)
    spool.forget(take(tmp_path / "spool.db")[-1].mark)
    wait_for(lambda: spool.oldest_received_at is None)


@pytest.mark.parametrize(("count", "groups"), [(1, [1]), (128, [128]), (129, [129]), (700, [500, 200])])
def test_what_is_handed_over_together_is_committed_together(
    tmp_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch, count: int, groups: list[int]
) -> None:
    monkeypatch.setattr(uar.capture.spool, "IDLE_S", 60.0)
    spool = Spool(tmp_path / "spool.db", LIMIT, reports)
    fill(spool, reports, range(count))
    spool.stop(5)
    assert reports.groups == groups


def test_nothing_waits_long_for_being_handed_over(spool: Spool, reports: Reports) -> None:
    spool.append(made(1), 1)
    assert reports.wait(1)


def test_many_threads_share_a_spool(spool: Spool, reports: Reports, tmp_path: Path) -> None:
    threads = [threading.Thread(target=fill, args=(spool, reports, range(start, start + 200))) for start in range(0, 1600, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports.seen) == 1600
    assert spool.depth == len(take(tmp_path / "spool.db")) == 1600


def test_deliveries_outlive_the_process(tmp_path: Path, reports: Reports) -> None:
    first = Spool(tmp_path / "spool.db", LIMIT, reports)
    fill(first, reports, range(5))
    first.stop(5)
    second = Spool(tmp_path / "spool.db", LIMIT, reports)
    assert second.depth == 5
    assert second.arrived.is_set()
    assert second.oldest_received_at == made(0).received_at
    assert [spooled.delivery for spooled in take(tmp_path / "spool.db")] == [made(number) for number in range(5)]
    second.stop(5)


def test_a_closing_spool_keeps_what_is_queued_and_takes_no_more(tmp_path: Path, reports: Reports) -> None:
    spool = Spool(tmp_path / "spool.db", LIMIT, reports)
    for number in range(300):
        spool.append(made(number), number)
    spool.stop(5)
    assert list(reports.seen.values()) == [True] * 300
    assert rows_on_disk(tmp_path / "spool.db") == 300
    with pytest.raises(SpoolFull):
        spool.append(made(1), 1)


def test_a_full_spool_takes_no_more_until_it_is_drained(tmp_path: Path, reports: Reports) -> None:
    spool = Spool(tmp_path / "spool.db", 1024 * 1024, reports)
    for number in range(9):
        keep(spool, made(number, b"x" * 100_000), number)
        reports.wait(number)
    with pytest.raises(SpoolFull):
        spool.append(made(10, b"x" * 200_000), 10)
    spool.forget(take(tmp_path / "spool.db")[-1].mark)
    wait_for(lambda: spool.depth == 0)
    fill(spool, reports, range(100, 102), b"x" * 100_000)
    spool.stop(5)


@pytest.mark.parametrize(("body", "count"), [(b"{}", 2_000), (b"x" * 1024 * 1024, 64)], ids=["small", "large"])
def test_behind_a_commit_that_takes_long_wait_two_thousand_deliveries_or_64_mebibytes(tmp_path: Path, body: bytes, count: int) -> None:
    is_held, go_on = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        is_held.set()
        assert go_on.wait(WAIT_S)

    spool = Spool(tmp_path / "spool.db", 2**40, hold)
    keep(spool, made(0), 0)
    assert is_held.wait(WAIT_S)
    for number in range(count):
        spool.append(made(number, body), number)
    assert spool.is_full()
    with pytest.raises(SpoolFull):
        spool.append(made(count, body), count)
    go_on.set()
    spool.stop(WAIT_S)
    assert rows_on_disk(tmp_path / "spool.db") == 1 + count


def test_a_full_disk_is_reported_and_survived(spool: Spool, reports: Reports, tmp_path: Path) -> None:
    fill(spool, reports, range(2))
    pages = spool._connection.execute("PRAGMA page_count").fetchone()[0]
    spool._connection.execute(f"PRAGMA max_page_count = {pages}")
    keep(spool, made(2, b"x" * 100_000), "too much")
    assert reports.wait("too much") is False
    assert spool.is_writable is False
    assert len(take(tmp_path / "spool.db")) == 2
    spool._connection.execute("PRAGMA max_page_count = 1000000")
    wait_for(lambda: spool.is_writable)
    fill(spool, reports, range(3, 5))
    assert [spooled.delivery for spooled in take(tmp_path / "spool.db")] == [made(number) for number in (0, 1, 3, 4)]


def test_after_a_failed_sync_no_commit_stands_on_pages_that_may_not_be_written(
    tmp_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uar.capture.spool, "IDLE_S", 60.0)  # nothing but the recovery may cut the log
    spool = Spool(tmp_path / "spool.db", LIMIT, reports)
    fill(spool, reports, range(3))
    log = tmp_path / "spool.db-wal"
    before = spool._connection
    spool._connection = FailedSync(before)
    with closing(SpoolReader(tmp_path / "spool.db")) as reader:  # as the drain does; without one, closing alone would empty the log
        assert len(reader.take(Mark(), 100, LIMIT)) == 3
        assert log.stat().st_size > 0
        keep(spool, made(3), "not synced")
        assert reports.wait("not synced") is False
        assert spool.is_writable is False
        with pytest.raises(sqlite.ProgrammingError, match="closed"):
            before.execute("SELECT 1")
        assert log.stat().st_size == 0
        fill(spool, reports, range(4, 5))
    assert spool.is_writable is True
    spool.stop(5)
    assert [spooled.delivery for spooled in take(tmp_path / "spool.db")] == [made(number) for number in (0, 1, 2, 4)]


def test_a_foreign_lock_is_not_waited_for_for_ever(spool: Spool, reports: Reports, tmp_path: Path) -> None:
    with closing(sqlite.connect(str(tmp_path / "spool.db"), isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        started_at = time.monotonic()
        keep(spool, made(1), 1)
        assert reports.wait(1) is False
        assert time.monotonic() - started_at < 1.5
        foreign.execute("ROLLBACK")
    fill(spool, reports, range(2, 4))


def test_a_file_that_was_removed_is_never_acknowledged_into(spool: Spool, reports: Reports, tmp_path: Path) -> None:
    fill(spool, reports, range(2))
    (tmp_path / "spool.db").rename(tmp_path / "moved.db")
    keep(spool, made(2), 2)
    assert reports.wait(2) is False
    fill(spool, reports, range(3, 5))
    taken = take(tmp_path / "spool.db")
    assert [spooled.delivery for spooled in taken] == [made(0), made(1), made(3), made(4)]
    assert min(spooled.mark.id for spooled in taken) > 2  # no number is given twice


def test_a_file_that_is_removed_behind_a_commit_stops_nobody(spool: Spool, reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uar.capture.spool, "MEASURE_S", 0.0)
    monkeypatch.setattr(uar.capture.spool, "free_share", Mock(side_effect=FileNotFoundError))
    fill(spool, reports, range(2))
    fill(spool, reports, range(2, 4))
    assert set(reports.seen.values()) == {True}


@pytest.mark.parametrize(("blocks", "free", "expected"), [(0, 0, 1.0), (200, 10, 0.05), (200, 0, 0.0)])
def test_a_file_system_that_tells_no_size_is_not_taken_for_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, free: int, expected: float
) -> None:
    monkeypatch.setattr("os.statvfs", lambda path: Mock(f_blocks=blocks, f_bavail=free))
    assert free_share(tmp_path) == expected


def test_a_place_in_a_file_that_was_replaced_deletes_nothing_of_the_new_one(spool: Spool, reports: Reports, tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    fill(spool, reports, range(5))
    with closing(SpoolReader(path)) as reader:
        read = reader.take(Mark(), 100, LIMIT)[-1].mark
        path.rename(tmp_path / "moved.db")
        keep(spool, made(5), 5)
        assert reports.wait(5) is False
        fill(spool, reports, range(6, 9))
        assert [spooled.delivery for spooled in reader.take(read, 100, LIMIT)] == [*map(made, range(5)), *map(made, range(6, 9))]
        spool.forget(read)
        fill(spool, reports, range(9, 10))
        assert rows_on_disk(path) == 9
        spool.forget(reader.take(read, 2, LIMIT)[-1].mark)
        wait_for(lambda: spool.depth == 7)


def test_a_file_that_is_only_being_made_has_nothing_to_read_yet(tmp_path: Path, reports: Reports) -> None:
    path = tmp_path / "spool.db"
    path.touch()
    with closing(SpoolReader(path)) as reader:
        assert reader.take(Mark(), 100, LIMIT) == []
        spool = Spool(path, LIMIT, reports)
        fill(spool, reports, range(2))
        assert len(reader.take(Mark(), 100, LIMIT)) == 2
        spool.stop(5)


@pytest.mark.parametrize("damage", ["end", "middle", "head"])
def test_a_damaged_file_is_set_aside_and_what_is_readable_is_kept(
    damage: str, tmp_path: Path, reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "spool.db"
    first = Spool(path, LIMIT, reports)
    fill(first, reports, range(200), b"x" * 2000)
    first.stop(5)
    size = path.stat().st_size
    with path.open("r+b") as file:
        if damage == "end":
            file.truncate(size - 3 * 4096 - 100)
        else:
            file.seek(0 if damage == "head" else size // 2)
            file.write(b"\xa5" * 9000)
    second = Spool(path, LIMIT, reports)
    kept = [spooled.delivery for spooled in take(path)]
    aside = list(tmp_path.glob("spool-damaged-*.db"))
    assert len(aside) == 1
    assert aside[0].name in caplog.text
    assert len(kept) == 0 if damage == "head" else 50 < len(kept) < 200
    assert all(found == made(int(str(found.delivery_id).removeprefix("request-")), b"x" * 2000) for found in kept)
    fill(second, reports, range(500, 502))
    second.stop(5)


def test_a_log_torn_at_its_end_costs_only_what_was_torn(tmp_path: Path, reports: Reports) -> None:
    script = (
        "import sys, os; from pathlib import Path; from uar.capture.spool import Spool; from tests.capture.test_spool import *\n"
        "reports = Reports(); spool = Spool(Path(sys.argv[1]), LIMIT, reports)\n"
        "for number in range(20): fill(spool, reports, range(number, number + 1))\n"
        "os._exit(0)"
    )
    path = tmp_path / "spool.db"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, cwd=Path(__file__).parent.parent.parent)
    with (tmp_path / "spool.db-wal").open("r+b") as file:
        file.truncate((tmp_path / "spool.db-wal").stat().st_size - 10)
    spool = Spool(path, LIMIT, reports)
    assert spool.depth == 19
    fill(spool, reports, range(100, 102))
    spool.stop(5)


def test_nothing_can_be_salvaged_from_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"nonsense" * 1000)
    assert salvaged_rows(tmp_path / "x.db") == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, reports: Reports) -> None:
    with pytest.raises(SpoolBroken, match=r"missing/spool\.db cannot be opened"):
        Spool(tmp_path / "missing" / "spool.db", LIMIT, reports)


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    with sole_owner(tmp_path), pytest.raises(DataDirInUse, match="Another worker uses"), sole_owner(tmp_path):
        pass
    with sole_owner(tmp_path):
        pass


def test_deleted_bodies_leave_the_file_and_its_log(spool: Spool, reports: Reports, tmp_path: Path) -> None:
    fill(spool, reports, range(20), b"the-name-of-a-person" * 50)
    spool.forget(take(tmp_path / "spool.db")[-1].mark)
    wait_for(lambda: (tmp_path / "spool.db-wal").stat().st_size == 0)
    assert b"the-name-of-a-person" not in (tmp_path / "spool.db").read_bytes()


def test_every_commit_waits_for_the_disk(spool: Spool) -> None:
    assert spool._connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert spool._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"

"""`python -m tests.reliability.soak`: the faults at full length, one line each as Markdown; exit code 1 if one of them fails.

python -m tests.reliability.soak               everything, about an hour
python -m tests.reliability.soak kills         one part: kills, power, migrations, outages, waiting, steady
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pysqlite3 import dbapi2 as sqlite

from tests.reliability.conftest import ready
from tests.reliability.postgres import PostgresServer
from tests.reliability.power import PowerDisk, cut_again_and_again, power_disk
from tests.reliability.running import RunningWorker
from tests.reliability.sender import Ledger, Sender, send_until_acked
from tests.reliability.test_crash import kill_and_judge
from tests.reliability.test_start import finished, killed_until_finished
from tests.reliability.test_store_faults import under_load, waiting_and_drained
from tests.reliability.verdict import assert_nothing_lost

KILLS = 100
CUTS = 50
WAITING = 1_000_000
OUTAGES = 20
MIGRATIONS = 60
STEADY_S = 600


@contextmanager
def place(server: PostgresServer, kind: str) -> Iterator[tuple[Path, str]]:
    """A fresh folder and the URL of a fresh store of that kind."""
    with tempfile.TemporaryDirectory(prefix="uar-soak-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'uar.db'}" if kind == "SQLite" else server.new_database()
        ready(url)
        yield folder, url


def kills(server: PostgresServer, kind: str) -> str:
    """SIGKILL at random moments under load."""
    with place(server, kind) as (folder, url):
        ledger = kill_and_judge(folder, url, KILLS)
    return f"{KILLS} kills, {len(ledger.acked):,} acknowledged"


def power(server: PostgresServer, kind: str) -> str:
    """Power cuts under load, with worker and store on one disk."""
    told = []
    for file_system in ("ext4", "xfs"):
        with place(server, "SQLite") as (folder, _), power_disk(folder / "disk", file_system) as disk:
            own = None if kind == "SQLite" else server_on(disk)
            try:
                url, ledger = cut_again_and_again(disk, CUTS, own)
                assert_nothing_lost(url, ledger)
            finally:
                if own is not None:
                    own.remove()
        told.append(f"{CUTS} on {file_system}, {len(ledger.acked):,} acknowledged")
    return "power cuts: " + "; ".join(told)


def server_on(disk: PowerDisk) -> PostgresServer:
    """A database server whose files are on that disk, all of them safe by now."""
    (disk.folder / "postgres").mkdir()
    made = PostgresServer(disk.folder / "postgres", max_wal_size="128MB")
    made.start()
    subprocess.run(["sync", "-f", str(disk.folder)], check=True)
    return made


def waiting(server: PostgresServer, kind: str) -> str:
    """A million deliveries that wait in the spool, then the store comes."""
    with place(server, kind) as (folder, url):
        seconds = waiting_and_drained(folder, url, WAITING)
    return f"{WAITING:,} deliveries waited, drained in {seconds:.0f} s ({WAITING / seconds:,.0f} a second)"


def outages(server: PostgresServer, kind: str) -> str:
    """The store goes away and comes back, again and again; then once for two minutes. SQLite's is locked by another program."""
    with place(server, kind) as (folder, url), closing(sqlite.connect(str(folder / "uar.db"), isolation_level=None, timeout=30)) as other:
        take: Callable[[], object] = server.stop if kind == "PostgreSQL" else lambda: other.execute("BEGIN IMMEDIATE")
        give_back: Callable[[], object] = server.start if kind == "PostgreSQL" else lambda: other.execute("ROLLBACK")
        with under_load(folder, url) as (worker, ledger):
            threads = worker.threads()
            for pause in [1.0] * OUTAGES + [120.0]:
                take()
                time.sleep(pause)
                give_back()
                time.sleep(1.0)
            assert worker.readiness()[0] == 200
            assert worker.threads() <= threads + 2
    return f"{OUTAGES} short outages and one of two minutes, {len(ledger.acked):,} acknowledged, slowest answer {max(ledger.seconds):.2f} s"


def migrations(server: PostgresServer, kind: str) -> str:
    """Migrations killed at random moments."""
    with place(server, kind) as (_, url):
        whole = finished(url)
    done = 0
    while done < MIGRATIONS:
        with place(server, kind) as (folder, _):
            url = f"sqlite:///{folder / 'killed.db'}" if kind == "SQLite" else server.new_database()
            assert killed_until_finished(url, 6) <= {0, len(whole)}
            assert finished(url) == whole
        done += 6
    return f"{done} kills, each left all tables or none"


def steady(server: PostgresServer, kind: str) -> str:
    """Ten minutes of even load with one restart in the middle."""
    ledger = Ledger()
    with place(server, kind) as (folder, url), RunningWorker(folder / "data", url) as worker:
        with Sender(worker.port, ledger, range(STEADY_S * 200), rate=200) as sender:
            time.sleep(STEADY_S / 10)
            start_mb = worker.memory_mb()
            time.sleep(STEADY_S / 10 * 4)
            worker.terminate()
            worker.start()
            sender.join(STEADY_S)
        send_until_acked(worker.port, ledger)
        worker.wait_drained()
        growth = worker.memory_mb() - start_mb
        assert growth < 50
        assert_nothing_lost(url, ledger)
    total = sum(ledger.statuses.values()) + ledger.broken
    return (
        f"{STEADY_S / 60:.0f} min at 200 a second with a restart: {ledger.statuses[202] / total:.2%} acknowledged at once, "
        f"median {1000 * ledger.percentile(0.5):.1f} ms, p99 {1000 * ledger.percentile(0.99):.0f} ms, memory {growth:+.0f} MB"
    )


PARTS: dict[str, tuple[Callable[[PostgresServer, str], str], tuple[str, ...]]] = {
    "kills": (kills, ("SQLite", "PostgreSQL")),
    "power": (power, ("SQLite", "PostgreSQL")),
    "migrations": (migrations, ("SQLite", "PostgreSQL")),
    "outages": (outages, ("SQLite", "PostgreSQL")),
    "waiting": (waiting, ("SQLite", "PostgreSQL")),
    "steady": (steady, ("SQLite", "PostgreSQL")),
}


def main(names: list[str]) -> int:
    """Runs the named parts, or all; the exit code."""
    failed = 0
    server = PostgresServer()
    server.start()
    print("| fault | store | lost | twice | what was done | minutes |\n|---|---|---|---|---|---|", flush=True)
    try:
        for name in names or list(PARTS):
            part, kinds = PARTS[name]
            for kind in kinds:
                started_at = time.monotonic()
                try:
                    told = f"0 | 0 | {part(server, kind)}"
                except (AssertionError, OSError):
                    traceback.print_exc()
                    failed += 1
                    told = "? | ? | FAILED, see above"
                print(f"| {name} | {kind} | {told} | {(time.monotonic() - started_at) / 60:.1f} |", flush=True)
    finally:
        server.remove()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

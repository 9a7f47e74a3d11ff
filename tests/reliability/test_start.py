"""Starts that go wrong or are interrupted: a killed migration, a newer store, keys that cannot be fetched, secrets that change."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import inspect, text

from tests.capture.senders import APP_ID, forge_token, key_host
from tests.reliability.postgres import PostgresServer, free_port
from tests.reliability.running import ROOT, RunningWorker
from tests.reliability.sender import SECRET, SITE, Ledger, Sender
from tests.reliability.test_pressure import forge_request
from tests.reliability.verdict import assert_nothing_lost
from uar.store.database import migrate, open_store, write_transaction

MIGRATE = """
import sys
from uar.store.database import migrate, open_store
engine = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
migrate(engine)
"""
KILLS = 8


def killed_migration(url: str, after_s: float, before: Callable[[], None] = lambda: None) -> None:
    """Starts a migration and kills it so long after its begin, if it is not done; right before that, does what else is to happen."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    process = subprocess.Popen([sys.executable, "-c", MIGRATE, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"go\n")
        process.stdin.flush()
        time.sleep(after_s)
        before()
        process.kill()


def tables(url: str) -> list[str]:
    """The names of the tables there are."""
    engine = open_store(url)
    with engine.connect() as connection:
        names = sorted(inspect(connection).get_table_names())
    engine.dispose()
    return names


def finished(url: str) -> list[str]:
    """The tables after a migration that nobody disturbed."""
    engine = open_store(url)
    migrate(engine)
    engine.dispose()
    return tables(url)


def killed_until_finished(url: str, kills: int) -> set[int]:
    """Kills so many migrations at random moments; the numbers of tables that were found in between."""
    moments = random.Random(4)
    found = set()
    for _ in range(kills):
        killed_migration(url, moments.uniform(0.0, 0.25))
        found.add(len(tables(url)))
    return found


def test_a_migration_that_is_killed_leaves_all_or_nothing_sqlite(tmp_path: Path) -> None:
    whole = finished(f"sqlite:///{tmp_path / 'whole.db'}")
    for number in range(3):
        url = f"sqlite:///{tmp_path / f'killed-{number}.db'}"
        assert killed_until_finished(url, KILLS // 3) <= {0, len(whole)}
        assert finished(url) == whole


def test_a_migration_that_is_killed_leaves_all_or_nothing_postgresql(server: PostgresServer) -> None:
    whole = finished(server.new_database())
    for _ in range(3):
        url = server.new_database()
        assert killed_until_finished(url, KILLS // 3) <= {0, len(whole)}
        assert finished(url) == whole


def test_a_worker_refuses_a_store_of_a_newer_release_with_one_sentence(tmp_path: Path, database_url: str) -> None:
    engine = open_store(database_url)
    with write_transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    worker = RunningWorker(tmp_path / "data", database_url)
    worker.start(wait=False)
    assert worker.wait_end() == 1
    sentences = [line for line in worker.log_text().splitlines() if line]
    assert len(sentences) == 1
    assert "newer version of this program" in sentences[0]


def test_a_worker_starts_while_the_store_is_down_and_finds_it_later(tmp_path: Path) -> None:
    late = PostgresServer()
    try:
        url = f"postgresql://postgres@127.0.0.1:{late.port}/postgres"
        ledger = Ledger()
        with RunningWorker(tmp_path / "data", url) as worker, Sender(worker.port, ledger, itertools.count(), rate=100) as sender:
            deadline = time.monotonic() + 60
            while worker.readiness() != (200, b"degraded: the store cannot be used\n"):
                assert time.monotonic() < deadline, worker.log_text()
                time.sleep(0.05)
            late.start()
            sender.stop()
            worker.wait_drained()
            assert set(ledger.statuses) == {202}
            assert_nothing_lost(url, ledger)
    finally:
        late.remove()


def test_keys_that_were_fetched_once_outlive_their_host_and_a_restart(tmp_path: Path) -> None:
    with key_host() as keys:
        worker = RunningWorker(tmp_path / "data", forge_app_id=APP_ID, forge_jwks_url=keys.url)
        with worker:
            assert worker.post(forge_request(forge_token())) == 202
            worker.terminate()
    with worker:  # a second start; the key host is gone now
        assert worker.post(forge_request(forge_token())) == 202
        assert worker.post(forge_request(forge_token(key="key-1", kid="never-seen"))) == 503
        assert worker.readiness()[0] == 200


def test_without_any_key_a_token_is_neither_accepted_nor_refused(tmp_path: Path) -> None:
    settings = {"forge_app_id": APP_ID, "forge_jwks_url": f"http://127.0.0.1:{free_port()}/"}
    with RunningWorker(tmp_path / "data", **settings) as worker:
        assert worker.post(forge_request(forge_token())) == 503
        assert worker.metric('uar_deliveries_total{outcome="undecided",source="forge"}') == 1


def test_a_secret_is_changed_without_losing_a_delivery(tmp_path: Path) -> None:
    ledger = Ledger()
    worker = RunningWorker(tmp_path / "data", datacenter_secrets=f"{SITE}=the-secret-before {SITE}={SECRET}")
    with worker:
        with Sender(worker.port, ledger, range(100)) as sender:
            sender.join()
        assert dict(ledger.statuses) == {202: 100}
        worker.wait_drained()
        assert_nothing_lost(worker.database_url, ledger)

"""The doctor: each thing that can be wrong gives its sentence, and what is right says so."""

from __future__ import annotations

import email.utils
import fcntl
import gc
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from pysqlite3 import dbapi2 as sqlite

from tests.capture.senders import KEY_ID, key_set
from tests.conftest import PostgreSQL
from uar import doctor
from uar.activity import Source
from uar.config import Settings, load_settings
from uar.doctor import FAIL, OK, WARN, Finding
from uar.store.database import Engine, open_store, write_transaction
from uar.store.writes import Quarantined, count_deliveries, ensure_site, record_quarantined

KEY_SET = key_set(KEY_ID)
NOW = 1_800_000_000.0  # January 2027
FORGE = {"UAR_FORGE_APP_ID": "ari:cloud:ecosystem::app/5f1c2b3a-0000-4000-8000-123456789abc"}


def settings(folder: Path, environ: Mapping[str, str] | None = None) -> Settings:
    return load_settings({"UAR_DATA_DIR": str(folder)} | dict(environ or {}), folder)


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def spooled(folder: Path, *received_at: int, body_bytes: int = 0) -> None:
    connection = sqlite.connect(str(folder / "spool.db"))
    connection.execute("CREATE TABLE deliveries (id INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, body BLOB)")
    connection.executemany("INSERT INTO deliveries (received_at, body) VALUES (?, zeroblob(?))", [(at, body_bytes) for at in received_at])
    connection.commit()
    connection.close()


@contextmanager
def key_host(body: bytes, date: float) -> Iterator[str]:
    """A host of a key set whose clock says `date`."""

    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", email.utils.formatdate(date, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/jwks.json"
    finally:
        server.shutdown()
        server.server_close()


def test_without_a_source_it_says_how_to_turn_one_on(tmp_path: Path) -> None:
    finding = only(doctor.sources(settings(tmp_path), NOW))
    assert finding.level == WARN
    assert "no source is on" in finding.sentence
    assert "UAR_DATACENTER_SECRETS" in finding.sentence


def test_it_names_the_sources_that_are_on_but_no_secret(tmp_path: Path) -> None:
    finding = only(doctor.sources(settings(tmp_path, FORGE | {"UAR_DATACENTER_SECRETS": "wiki=hush wiki=hushhush"}), NOW))
    assert finding == Finding(OK, "The settings make sense; sources: Forge, Data Center (wiki).")


def test_an_address_without_a_login_is_named_and_the_other_way_round(tmp_path: Path) -> None:
    environ = {"UAR_CONFLUENCE_URLS": "acme=https://acme.example", "UAR_CONFLUENCE_CREDENTIALS": "wiki=token"}
    sentences = [finding.sentence for finding in doctor.sources(settings(tmp_path, environ), NOW)]
    assert "No names can be read from acme: give it a login in UAR_CONFLUENCE_CREDENTIALS." in sentences
    assert "UAR_CONFLUENCE_CREDENTIALS has a login for wiki, but UAR_CONFLUENCE_URLS has no address for it." in sentences


def test_a_clock_before_the_program_was_made_is_broken(tmp_path: Path) -> None:
    assert only(doctor.clock(settings(tmp_path), 1_000_000_000.0)).level == FAIL
    assert only(doctor.clock(settings(tmp_path), NOW)) == Finding(OK, "The clock says 2027-01-15 08:00:00 UTC.")


def test_the_key_set_is_not_asked_for_when_forge_is_off(tmp_path: Path) -> None:
    assert list(doctor.key_set(settings(tmp_path, {"UAR_FORGE_JWKS_URL": "http://127.0.0.1:1/"}), NOW)) == []


@pytest.mark.parametrize(("ahead", "level"), [(0, OK), (19, OK), (25, FAIL), (-25, FAIL)])
def test_the_clock_is_compared_with_the_key_host(ahead: int, level: str, tmp_path: Path) -> None:
    with key_host(KEY_SET, NOW) as url:
        findings = list(doctor.key_set(settings(tmp_path, FORGE | {"UAR_FORGE_JWKS_URL": url}), NOW + ahead))
    assert [finding.level for finding in findings] == [OK, level]
    assert ("set it (NTP)" in findings[1].sentence) == (level == FAIL)


def test_an_unreachable_key_host_is_a_failure_without_a_kept_copy_and_a_warning_with_one(tmp_path: Path) -> None:
    offline = settings(tmp_path, FORGE | {"UAR_FORGE_JWKS_URL": "http://127.0.0.1:1/jwks.json"})
    assert only(doctor.key_set(offline, time.time())).level == FAIL
    (tmp_path / "jwks.json").write_bytes(KEY_SET)
    assert only(doctor.key_set(offline, time.time())).level == WARN
    os.utime(tmp_path / "jwks.json", (time.time() - 2 * 86_400,) * 2)
    assert only(doctor.key_set(offline, time.time())).level == FAIL


def test_an_answer_that_is_no_key_set_is_a_failure(tmp_path: Path) -> None:
    with key_host(b"<html>log in</html>", NOW) as url:
        assert only(doctor.key_set(settings(tmp_path, FORGE | {"UAR_FORGE_JWKS_URL": url}), NOW)).level == FAIL


@pytest.mark.parametrize(("free", "level"), [(50 * doctor.MB, FAIL), (500 * doctor.MB, WARN), (5_000 * doctor.MB, OK)])
def test_a_disk_that_fills_is_noticed_before_it_is_full(free: int, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    assert only(doctor.disk(settings(tmp_path / "not" / "yet"), NOW)).level == level


@pytest.mark.parametrize("name", ["spool.db", "uar.db"])
def test_a_log_that_cannot_be_cut_is_a_warning(name: str, tmp_path: Path) -> None:
    log = tmp_path / f"{name}-wal"
    log.touch()
    os.truncate(log, 100_000_000)
    assert list(doctor.logs(settings(tmp_path), NOW)) == []
    os.truncate(log, 200_000_000)
    assert only(doctor.logs(settings(tmp_path), NOW)) == Finding(
        WARN, f"{log} has grown to 200 MB, because some program reads {name} for long: end that program."
    )


def test_an_empty_spool_and_a_missing_worker_are_told_apart(tmp_path: Path) -> None:
    assert [finding.level for finding in doctor.spool(settings(tmp_path), NOW)] == [WARN, OK]
    with (tmp_path / "worker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert [finding.level for finding in doctor.spool(settings(tmp_path), NOW)] == [OK, OK]


def test_deliveries_that_wait_too_long_are_a_failure(tmp_path: Path) -> None:
    now_ms = int(NOW * 1000)
    spooled(tmp_path, now_ms - 3_700_000, now_ms)
    finding = list(doctor.spool(settings(tmp_path), NOW))[1]
    assert finding.level == FAIL
    assert finding.sentence.startswith("2 deliveries wait in the spool, the oldest since 1 hour ago")
    assert list(doctor.spool(settings(tmp_path), NOW - 3_600))[1].level == OK


def test_a_spool_that_is_no_database_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    assert list(doctor.spool(settings(tmp_path), NOW))[1].level == FAIL


def test_a_spool_near_its_limit_is_a_failure(tmp_path: Path) -> None:
    spooled(tmp_path, int(NOW * 1000), body_bytes=2_090_000)
    findings = list(doctor.spool(settings(tmp_path, {"UAR_SPOOL_LIMIT_MB": "2"}), NOW))
    assert findings[1] == Finding(FAIL, "The spool has 2 of 2 MB; above that the worker answers 503: bring the store back.")


def of_store(url: str, folder: Path, at: float = NOW) -> list[Finding]:
    return list(doctor.store(settings(folder, {"UAR_DATABASE_URL": url, "UAR_DATACENTER_SECRETS": "wiki=x"}), at))


def test_a_store_without_deliveries_says_so(store_url: str, tmp_path: Path) -> None:
    sentences = [finding.sentence for finding in of_store(store_url, tmp_path, time.time())]
    assert "The store holds no site yet." in sentences
    assert "No delivery has ever reached the store: check address and secret in Confluence (docs/connect.md)." in sentences
    assert sentences[-1] == "The quarantine is empty."


def test_the_last_delivery_of_each_source_is_told_and_a_long_silence_is_a_warning(store: Engine, store_url: str, tmp_path: Path) -> None:
    now = time.time()
    with write_transaction(store) as connection:
        ensure_site(connection, "wiki")
        count_deliveries(connection, {(Source.DATACENTER, "wiki", "accepted"): 70}, int((now - 7_300) * 1000))
        count_deliveries(connection, {(Source.CONNECT, "acme", "accepted"): 1}, int((now - 5 * 86_400) * 1000))
    findings = {finding.sentence.partition(":")[0]: finding for finding in of_store(store_url, tmp_path, now)}
    assert findings["Data Center (wiki)"] == Finding(OK, "Data Center (wiki): last delivery 2 hours ago, 70 in the last week.")
    assert findings["Cloud webhooks (acme)"].level == WARN
    assert "last delivery 5 days ago, 1 in the last week. That is long" in findings["Cloud webhooks (acme)"].sentence


def test_refused_senders_and_a_quarantine_are_warnings(store: Engine, store_url: str, tmp_path: Path) -> None:
    now = time.time()
    with write_transaction(store) as connection:
        count_deliveries(connection, {(Source.DATACENTER, "wiki", "refused"): 3}, int(now * 1000))
        count_deliveries(connection, {(Source.FORGE, "", "refused"): 2}, int(now * 1000))
        record_quarantined(connection, [Quarantined(Source.DATACENTER, "wiki", "page_exploded", "1", int(now * 1000), "unknown", b"{}")])
    findings = of_store(store_url, tmp_path, now)
    assert not [finding for finding in findings if "Forge" in finding.sentence and "genuine" in finding.sentence]
    nobody = "Forge app, senders without a proven site: 2 were refused in the last week: compare the secret on both sides."
    assert Finding(WARN, nobody) in findings
    refused = "Data Center (wiki): no genuine delivery has ever come. 3 were refused in the last week: compare the secret on both sides."
    assert Finding(WARN, refused) in findings
    assert findings[-1].level == WARN
    assert findings[-1].sentence.startswith("1 deliveries are in quarantine")


def test_a_store_without_tables_and_a_store_that_is_not_there_are_told_apart(blank_store_url: str, tmp_path: Path) -> None:
    finding = of_store(blank_store_url, tmp_path)[0]
    is_file = blank_store_url.startswith("sqlite")
    assert finding.level == (WARN if is_file else FAIL)
    assert ("does not exist yet" if is_file else "python -m uar migrate") in finding.sentence
    open_store(blank_store_url).dispose()
    assert "python -m uar migrate" in of_store(blank_store_url, tmp_path)[0].sentence


def test_a_clock_apart_from_the_database_server_is_a_failure(postgresql: PostgreSQL, postgresql_template: str, tmp_path: Path) -> None:
    name = postgresql.new_database(postgresql_template)
    gc.disable()  # a connection that is merely forgotten lasts until its garbage is collected
    try:
        assert Finding(OK, "The clock agrees with the database server's.") in of_store(postgresql.url(name), tmp_path, time.time())
        late = of_store(postgresql.url(name), tmp_path, time.time() + 60)
        postgresql.run(f"DROP DATABASE {name}")  # refused while somebody is connected: the doctor leaves nothing behind
    finally:
        gc.enable()
    assert any("ahead of the database server's" in finding.sentence for finding in late)

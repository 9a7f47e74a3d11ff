"""Is everything in order? Plain sentences, each with its remedy, in the order in which a delivery travels.

    sources · clock and key set · disk and logs of databases · worker and spool · store · deliveries · quarantine · directory

`diagnose(settings)` reads only. It works offline within seconds: an address that does not answer is waited for `NETWORK_TIMEOUT_S`.
"""

from __future__ import annotations

import email.utils
import fcntl
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uar.capture.keyset import MAX_BYTES, USABLE_S, KeySetUnavailable, parse_key_set
from uar.capture.spool import SpoolBroken, waiting
from uar.collection import QUIET_MS, by_source, collect
from uar.config import Settings
from uar.store.backup import sqlite_file
from uar.store.database import Connection, Engine, StoreError, StoreUnavailable, is_current, look_through, open_store, read_transaction
from uar.store.reads import site_names

OK, WARN, FAIL = "OK", "WARN", "FAIL"
MB, MIB = 1_000_000, 1024 * 1024
LOW_DISK, NO_DISK = 1_000 * MB, 100 * MB
LARGE_LOG = 160 * MB  # the store's may stay at 64 MiB
OLD_SPOOL_S = 15 * 60
CLOCK_OFF_S = 20.0
NETWORK_TIMEOUT_S = 3.0
LOOK_S = 5.0  # for damage in the file of the store
BUILT_AT = 1_790_000_000  # September 2026: a clock that says less is wrong


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: OK, WARN (works, but look at it) or FAIL (broken), and a sentence with the remedy."""

    level: str
    sentence: str


def diagnose(settings: Settings, now: float | None = None) -> list[Finding]:
    """Every check's findings; `now` is in seconds since the epoch."""
    now = time.time() if now is None else now
    checks: tuple[Callable[[Settings, float], Iterator[Finding]], ...] = (sources, clock, key_set, disk, logs, spool, store)
    return [finding for check in checks for finding in check(settings, now)]


def sources(settings: Settings, now: float) -> Iterator[Finding]:
    """Which senders could deliver, and which directories could be read."""
    on = ["Forge"] if settings.forge_app_id else []
    on += [f"Data Center ({site})" for site, _ in settings.datacenter_secrets]
    on += [f"Cloud webhooks ({site})" for site, _ in settings.connect_tokens]
    if on:
        yield Finding(OK, f"The settings make sense; sources: {', '.join(dict.fromkeys(on))}.")
    else:
        yield Finding(
            WARN,
            "The settings make sense, but no source is on, so nothing can arrive: set UAR_DATACENTER_SECRETS, UAR_FORGE_APP_ID or "
            "UAR_CONNECT_TOKENS (docs/connect.md).",
        )
    for site in sorted(set(settings.confluence_urls) - set(settings.confluence_credentials)):
        forge = " (a Cloud site whose Forge app delivers needs none)" if settings.forge_app_id else ""
        yield Finding(WARN, f"No names can be read from {site}: give it a login in UAR_CONFLUENCE_CREDENTIALS{forge}.")
    for site in sorted(set(settings.confluence_credentials) - set(settings.confluence_urls)):
        yield Finding(WARN, f"UAR_CONFLUENCE_CREDENTIALS has a login for {site}, but UAR_CONFLUENCE_URLS has no address for it.")


def clock(settings: Settings, now: float) -> Iterator[Finding]:
    """Whether this machine's clock can be right at all; `key_set` and `store` compare it with others."""
    shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
    if now < BUILT_AT:
        yield Finding(FAIL, f"This machine's clock says {shown} UTC, which is before this program was made: set it (NTP).")
    else:
        yield Finding(OK, f"The clock says {shown} UTC.")


def key_set(settings: Settings, now: float) -> Iterator[Finding]:
    """Whether Forge tokens can be checked: the keys' host, the kept copy, and the host's clock. Only asked when Forge is on."""
    if not settings.forge_app_id:
        return
    try:
        body, server_time = _fetch(settings.forge_jwks_url)
        count = len(parse_key_set(body))
    except (OSError, ValueError, KeySetUnavailable) as error:
        yield _kept_keys(settings, now, f"{type(error).__name__}")
        return
    yield Finding(OK, f"The key set for Forge tokens is reachable and holds {count} keys.")
    if server_time is not None:
        yield _compared(now, server_time, "the key host's", "Forge tokens are refused when it is off")


def _fetch(url: str) -> tuple[bytes, float | None]:
    with urllib.request.urlopen(url, timeout=NETWORK_TIMEOUT_S) as reply:
        date = reply.headers.get("Date")
        sent = email.utils.parsedate_to_datetime(date).timestamp() if date else None
        return reply.read(MAX_BYTES + 1), sent


def _kept_keys(settings: Settings, now: float, why: str) -> Finding:
    path = settings.data_dir / "jwks.json"
    age = now - path.stat().st_mtime if path.is_file() else None
    if age is not None and age < USABLE_S:
        return Finding(WARN, f"The key set at {settings.forge_jwks_url} cannot be read ({why}); the copy of {_ago(age)} serves meanwhile.")
    return Finding(
        FAIL,
        f"The key set at {settings.forge_jwks_url} cannot be read ({why}) and there is no copy young enough, so Forge deliveries get 503: "
        "let this machine reach that address.",
    )


def _compared(ours: float, theirs: float, whose: str, consequence: str) -> Finding:
    off = ours - theirs
    if abs(off) > CLOCK_OFF_S:
        return Finding(
            FAIL, f"This machine's clock is {abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} {whose}; {consequence}: set it (NTP)."
        )
    return Finding(OK, f"The clock agrees with {whose}.")


def disk(settings: Settings, now: float) -> Iterator[Finding]:
    """Whether the data folder can be written to and has room."""
    folder = _existing(settings.data_dir.absolute())
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        yield Finding(FAIL, f"{folder} cannot be written to: change its owner or set UAR_DATA_DIR.")
    elif free < NO_DISK:
        yield Finding(FAIL, f"The disk of {folder} is full ({free // MB:,} MB free), so deliveries get 503: make room.")
    elif free < LOW_DISK:
        yield Finding(WARN, f"The disk of {folder} has only {free // MB:,} MB free.")
    else:
        yield Finding(OK, f"The data folder {settings.data_dir} can be written to; {free / 1000 / MB:,.1f} GB are free.")


def logs(settings: Settings, now: float) -> Iterator[Finding]:
    """Whether somebody reads a database file for so long that its log cannot be cut (sqlite.org/wal.html)."""
    for path in filter(None, (settings.spool_path, sqlite_file(settings.database_url.reveal()))):
        log = path.with_name(f"{path.name}-wal")
        if log.is_file() and (size := log.stat().st_size) > LARGE_LOG:
            yield Finding(WARN, f"{log} has grown to {size // MB:,} MB, because some program reads {path.name} for long: end that program.")


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def spool(settings: Settings, now: float) -> Iterator[Finding]:
    """Whether a worker runs here, and what waits in its spool."""
    runs = _worker_runs(settings.data_dir)
    yield (
        Finding(OK, "A worker runs on this data folder.")
        if runs
        else Finding(WARN, f"No worker runs on {settings.data_dir}: start it with python -m uar up (or worker).")
    )
    if not settings.spool_path.is_file():
        yield Finding(OK, "The spool is empty; no delivery has ever come here.")
        return
    try:
        found = waiting(settings.spool_path)
    except SpoolBroken as error:
        yield Finding(FAIL, f"{error} Start the worker: it repairs what it can.")
        return
    yield from _spool_findings(settings, found.count, found.bytes, None if found.oldest_at is None else now - found.oldest_at / 1000)


def _spool_findings(settings: Settings, count: int, size: int, age: float | None) -> Iterator[Finding]:
    used = size // MIB
    if size > 0.8 * settings.spool_limit_mb * MIB:
        yield Finding(
            FAIL, f"The spool has {used:,} of {settings.spool_limit_mb:,} MB; above that the worker answers 503: bring the store back."
        )
    if age is None:
        yield Finding(OK, "The spool is empty: the store has everything.")
    elif age > OLD_SPOOL_S:
        yield Finding(
            FAIL,
            f"{count:,} deliveries wait in the spool, the oldest since {_ago(age)}: the worker does not run or the store refuses them.",
        )
    else:
        yield Finding(OK, f"{count:,} deliveries wait in the spool, the oldest since {_ago(age)}.")


def _worker_runs(data_dir: Path) -> bool:
    path = data_dir / "worker.lock"
    if not path.is_file():
        return False
    with path.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def store(settings: Settings, now: float) -> Iterator[Finding]:
    """Whether the store can be reached and has this release's tables, and what it holds."""
    url = settings.database_url.reveal()
    try:
        engine = open_store(url, read_only=True)
        try:
            yield from _store(settings, engine, now)
        finally:
            engine.dispose()
    except StoreUnavailable as error:
        remedy = (
            "" if url.startswith("sqlite") else " Check UAR_DATABASE_URL and that the server runs; deliveries wait in the spool meanwhile."
        )
        yield Finding(WARN if "does not exist yet" in str(error) else FAIL, f"{error}{remedy}")
    except StoreError as error:
        yield Finding(FAIL, str(error))


def _store(settings: Settings, engine: Engine, now: float) -> Iterator[Finding]:
    if not is_current(engine):
        yield Finding(FAIL, "The store's tables are of an older release or missing: python -m uar migrate (up and worker do it too).")
        return
    look_through(engine, LOOK_S)
    yield Finding(OK, f"The store ({engine.dialect.name}) answers and has the tables of this release.")
    yield from _content(settings, engine, now)


def _content(settings: Settings, engine: Engine, now: float) -> Iterator[Finding]:
    with read_transaction(engine) as connection:
        yield from _clock_of(connection, now)
        names = site_names(connection)["name"]
    yield Finding(OK, f"Sites in the store: {', '.join(names)}.") if len(names) else Finding(WARN, "The store holds no site yet.")
    state = collect(engine, settings, int(now * 1000))
    if state.deliveries.empty and settings.has_source():
        yield Finding(WARN, "No delivery has ever reached the store: check address and secret in Confluence (docs/connect.md).")
    for row in by_source(state).to_dict("records"):
        yield _deliveries_of(row, now)
    count = int(state.reasons["count"].sum())
    if count:
        yield Finding(WARN, f"{count:,} deliveries are in quarantine: the Collection page says why; python -m uar replay reads them again.")
    else:
        yield Finding(OK, "The quarantine is empty.")
    for attempt in state.failed_syncs:
        yield Finding(WARN, f"The directory of {attempt.site} could not be read. {attempt.error}")


def _clock_of(connection: Connection, now: float) -> Iterator[Finding]:
    # SQLite has this machine's clock.
    if connection.dialect.name == "postgresql":
        theirs = float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
        yield _compared(now, theirs, "the database server's", "arrival times are wrong when it is off")


def _deliveries_of(row: Mapping[Hashable, Any], now: float) -> Finding:
    where = f"{row['source']} ({row['site']})" if row["site"] else str(row["source"])
    refused = f" {row['refused']:,} were refused in the last week: compare the secret on both sides." if row["refused"] else ""
    if not row["site"] and not row["last_at"]:  # who is refused may name no site: that says nothing about the sites that are heard
        return Finding(
            WARN if refused else OK, f"{where}, senders without a proven site:{refused or ' none was refused in the last week.'}"
        )
    if not row["last_at"]:
        return Finding(WARN, f"{where}: no genuine delivery has ever come.{refused}")
    age = now - row["last_at"] / 1000
    quiet = " That is long: is the webhook or the app still active in Confluence?" if 1000 * age > QUIET_MS else ""
    level = WARN if refused or quiet else OK
    return Finding(level, f"{where}: last delivery {_ago(age)}, {row['delivered']:,} in the last week.{quiet}{refused}")


def _ago(seconds: float) -> str:
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count:,} {unit}{'s' if count != 1 else ''} ago"
    return "just now"

"""The third row of the budgets: the first load of the mirror from the store, the restart from its cache, a refresh after new events."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.site import Raw, Site, months
from bench.timing import milliseconds, table, timed
from uar.activity import Activity, ActivityType, Source, identity
from uar.live import LiveMirror
from uar.store.database import Engine, migrate, open_store, write_transaction
from uar.store.reads import people, spaces
from uar.store.writes import ensure_site, record_activities

COLUMNS = "site_id, person_id, space_id, event_name_id, type, source, occurred_at, received_at, is_event_time, key"
NEW_EVENTS = 1_000
REFRESHES = 9


def loads(site: Site, postgresql_url: str) -> str:
    """One line per database: activities a second of the first load, of a restart, and the median time of a refresh."""
    rows = []
    for name, url in (("SQLite", ""), ("PostgreSQL", postgresql_url)):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            rows.append([name, *_measured(site, url or f"sqlite:///{folder}/uar.db", Path(folder))])
    return table(["store", "activities", "first load", "restart", f"refresh after {NEW_EVENTS:,} new events"], rows)


def _measured(site: Site, url: str, folder: Path) -> list[str]:
    engine = open_store(url)
    migrate(engine)
    site_id = fill(engine, site)
    live = LiveMirror(engine, site_id, 0, folder)
    snapshot, load_ms = timed(live.refresh)
    live.close()
    _, restart_ms = timed(LiveMirror(engine, site_id, 0, folder).refresh)
    refresh_ms = statistics.median(_refresh_ms(engine, live, site, number) for number in range(REFRESHES))
    live.close()
    engine.dispose()
    activities = snapshot.mirror.activities
    speeds = [f"{activities / took * 1000 / 1e6:.1f} million/s" for took in (load_ms, restart_ms)]
    return [f"{activities:,}", *speeds, milliseconds(refresh_ms)]


def _refresh_ms(engine: Engine, live: LiveMirror, site: Site, number: int) -> float:
    with write_transaction(engine) as connection:
        record_activities(connection, list(_new(site, number)))
    return timed(live.refresh)[1]


def _new(site: Site, number: int) -> Iterator[Activity]:
    """A thousand fresh events of many people."""
    at = 1_782_900_000_000 + number * 3_600_000
    for place in range(NEW_EVENTS):
        yield activity(place * 7 % site.people, place % site.spaces, at + place * 1_000, identity("new", number, place))


def activity(person: int, space: int, at: int, key: bytes) -> Activity:
    """One view of the site that `fill` fills."""
    return Activity(
        site="bench",
        source=Source.DEMO,
        event_name="page_viewed",
        type=ActivityType.VIEW,
        account=f"account-{person}",
        occurred_at=at,
        received_at=at,
        is_event_time=True,
        key=key,
        space_key=f"S{space}",
    )


def fill(engine: Engine, site: Site) -> int:
    """People and spaces by the product's own way in, the millions of rows in bulk."""
    first = 1_700_000_000_000
    with write_transaction(engine) as connection:
        site_id = ensure_site(connection, "bench")
        count = max(site.people, site.spaces) + 1
        record_activities(
            connection, [activity(n % (site.people + 1), n % (site.spaces + 1), first, identity("first", n)) for n in range(count)]
        )
        person_ids = people(connection, site_id).set_index("account_id")["id"]
        space_ids = spaces(connection, site_id).set_index("space_key")["id"]
    person = [int(person_ids[f"account-{n}"]) for n in range(site.people + 1)]
    space = [int(space_ids[f"S{n}"]) for n in range(site.spaces + 1)]
    acts = (act for part in months(site) for act in _acts(part))
    _insert(
        engine,
        (
            (site_id, person[who], space[where], 1, kind, Source.DEMO.value, at, at, 1, number.to_bytes(16, "big"))
            for number, (who, at, kind, where) in enumerate(acts)
        ),
    )
    return site_id


def _acts(part: Raw) -> Iterator[tuple[int, int, int, int]]:
    return zip(part.person.tolist(), part.at.tolist(), part.type.tolist(), part.space.tolist(), strict=True)


def _insert(engine: Engine, rows: Iterator[tuple[Any, ...]]) -> None:
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        if engine.dialect.name == "sqlite":
            cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany(f"INSERT INTO activities ({COLUMNS}) VALUES ({', '.join('?' * 10)})", rows)
        else:
            with cursor.copy(f"COPY activities ({COLUMNS}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        raw.commit()
        if engine.dialect.name == "postgresql":  # what its autovacuum does after a while
            raw.driver_connection.autocommit = True
            cursor.execute("VACUUM (ANALYZE) activities")
            raw.driver_connection.autocommit = False
    finally:
        raw.close()

"""Small filled stores as earlier releases left them, kept as SQL text in `tests/store/kept/`, to upgrade them in a test.

    python -m tests.store.kept_stores     writes `kept/<revision>.sql` for the present tables; done once, when a release has new tables

A file is never changed afterwards: it is what is out there. For PostgreSQL the same rows are put into the tables that the migrations up to
that revision make there.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import insert, inspect, text

from tests.capture.reading import RECEIVED_AT, all_samples, delivery, read
from tests.store.making import act
from uar.activity import DAY_MS, Activity, ActivityType, ActorKind, Source
from uar.capture.delivery import ANOTHER_BODY, REUSED_TOKEN
from uar.store.database import Connection, Engine, migrate, open_store, write_transaction
from uar.store.directory import Group, Person, save_groups, save_members, save_people
from uar.store.schema import audit, contents
from uar.store.writes import (
    Quarantined,
    bump_generation,
    count_deliveries,
    ensure_site,
    extend_coverage,
    record_activities,
    record_quarantined,
    start_coverage,
)

FOLDER = Path(__file__).parent / "kept"
REVISIONS = sorted(path.stem for path in FOLDER.glob("*.sql"))
HOUR = 3_600_000
PEOPLE = ("ann", "ben", "cem", "dia")
START = RECEIVED_AT - 400 * DAY_MS

Rows = dict[str, tuple[list[str], list[tuple[Any, ...]]]]


def activities() -> Iterator[Activity]:
    """Every sample body as its source sends it, and a year of four people and a bot."""
    for number, sample in enumerate(all_samples()):
        site = "wiki" if sample.source is Source.DATACENTER else "acme"
        yield from read(
            delivery(sample.source, sample.body, sample.event_name, site=site, delivery_id=f"request-{number}"), store_titles=True
        )
    for number in range(240):
        account = PEOPLE[number % 7 % 4]
        at = START + number * 40 * HOUR - 1_779_999_300_000
        yield act(
            number,
            at=at,
            account=account,
            type=ActivityType(number % 10),
            space_key=("ENG", "HR", None)[number % 3],
            content_id=str(number),
        )
    yield act(1_000, at=RECEIVED_AT - 1_779_999_300_000, account="bot", actor_kind=ActorKind.APP, display_name="Robot")


def fill(engine: Engine) -> None:
    """Rows in every table, through the functions that write them."""
    with write_transaction(engine) as connection:
        record_activities(connection, list(activities()))
        _directory(connection)
        _collection(connection)
        bump_generation(connection)


def _directory(connection: Connection) -> None:
    site_id = ensure_site(connection, "acme")
    known = [
        Person("ann", "Ann Ålund", "ann@example.org", "person", "active", START),
        Person("ben", "Ben Ngô", None, "person", "deactivated", START),
        Person("eve", "Eve 😀", "eve@example.org", "guest", "invited", RECEIVED_AT - DAY_MS),
    ]
    ids = save_people(connection, site_id, known, RECEIVED_AT, listed_at=RECEIVED_AT).ids
    groups = save_groups(connection, site_id, [Group("g-1", "engineers"), Group("g-2", "everyone")])
    save_members(connection, groups["g-1"], [ids["ann"]])
    save_members(connection, groups["g-2"], [ids["ann"], ids["ben"]])
    connection.execute(insert(contents).values(site_id=site_id, content_id="7", space_id=1, looked_up_at=RECEIVED_AT))
    connection.execute(insert(audit).values(at=RECEIVED_AT, viewer="ann", action="export", detail="users.csv, 5 rows"))


def _collection(connection: Connection) -> None:
    for since, until in ((START, RECEIVED_AT - 10 * DAY_MS), (RECEIVED_AT - 8 * DAY_MS, RECEIVED_AT)):
        extend_coverage(connection, start_coverage(connection, "worker", since), until)
    counts = {
        (Source.FORGE, "acme", "accepted"): 70,
        (Source.FORGE, "", "refused: wrong signature"): 3,
        (Source.DATACENTER, "wiki", "duplicate"): 2,
    }
    count_deliveries(connection, counts, RECEIVED_AT)
    aside = [
        (Source.FORGE, "avi:confluence:exploded:page", None, "The event name is not in the catalogue.", '{"title":"Ärger"}'.encode()),
        (Source.FORGE, None, REUSED_TOKEN, ANOTHER_BODY, b"{}"),
        (Source.DATACENTER, None, "request-1", "The body is not JSON.", b"\xff\x00{"),
    ]
    rows = [Quarantined(source, "acme", name, id_, RECEIVED_AT, reason, body) for source, name, id_, reason, body in aside]
    record_quarantined(connection, rows)


def kept_rows(revision: str) -> Rows:
    """Every row of a kept store: table or view → names of its columns, rows in the order of the first two."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript((FOLDER / f"{revision}.sql").read_text(encoding="utf-8"))
        names = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")
        return {name: _rows(connection, name) for (name,) in names.fetchall() if name != "alembic_version"}


def _rows(connection: sqlite3.Connection, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    return columns, connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2").fetchall()


def restore(url: str, revision: str) -> None:
    """Makes the kept store at the URL of an empty database."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.executescript((FOLDER / f"{revision}.sql").read_text(encoding="utf-8"))
        return
    engine = open_store(url)
    with write_transaction(engine) as connection:
        config = Config()
        config.set_main_option("script_location", "uar.store:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        views = set(inspect(connection).get_view_names())
        for table, (columns, rows) in ((name, kept) for name, kept in kept_rows(revision).items() if name not in views):
            _put(connection, table, columns, rows)
    engine.dispose()


def _put(connection: Connection, table: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    connection.exec_driver_sql(f"DELETE FROM {table}")
    connection.exec_driver_sql(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})", rows)
    if columns[0] == "id":
        sequence = f"pg_get_serial_sequence('{table}', 'id')"
        connection.execute(text(f"SELECT setval({sequence}, max(id)) FROM {table} WHERE {sequence} IS NOT NULL"))


def write() -> Path:
    """The present tables, filled, as a new file; an existing one is never overwritten."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "uar.db"
        engine = open_store(f"sqlite:///{path}")
        migrate(engine)
        fill(engine)
        engine.dispose()
        with closing(sqlite3.connect(path)) as connection:
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            target = FOLDER / f"{revision}.sql"
            with target.open("x", encoding="utf-8") as kept:
                kept.writelines(f"{line}\n" for line in connection.iterdump())
    return target


if __name__ == "__main__":
    print(f"{write()} is written.")

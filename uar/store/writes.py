"""What goes into the store: activities, quarantine, coverage, counts of deliveries. Each function takes the connection of a
`write_transaction` and leaves the commit to it; doing the same again changes nothing, except that counts add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, Connection, Text, cast, delete, func, select, text, update

from uar.activity import Activity, Source, identity
from uar.store import names
from uar.store.dialects import chunks, insert_into, is_postgresql
from uar.store.names import KnownPerson, Names, ensure_site
from uar.store.schema import UNKNOWN_ID, activities, coverage, deliveries, meta, quarantine
from uar.store.twins import act_code, settle_twins

__all__ = [
    "Quarantined",
    "Recorded",
    "bump_generation",
    "count_deliveries",
    "cover_again",
    "ensure_site",
    "extend_coverage",
    "forget_quarantined",
    "record_activities",
    "record_quarantined",
    "start_coverage",
]

SLICE = 5_000  # activities resolved and written together; the memory one call needs does not grow with its length


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many activities became rows, and how many were stored already or announce an act a second time."""

    inserted: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A delivery that a sender proved to be its own and nobody could read or count, whole; `received_at` in epoch ms."""

    source: Source
    site: str
    event_name: str | None
    delivery_id: str | None
    received_at: int
    reason: str
    body: bytes


def record_activities(connection: Connection, acts: Sequence[Activity]) -> Recorded:
    """Store activities, each act once; makes sites, people, spaces and event names as needed and keeps people's first and last activity."""
    inserted = sum(_record(connection, part) for part in chunks(acts, SLICE))
    return Recorded(inserted, len(acts) - inserted)


def _record(connection: Connection, acts: Sequence[Activity]) -> int:
    resolved = names.resolve(connection, acts)
    settled = settle_twins(connection, [_row(activity, resolved) for activity in acts])
    inserted = _insert(connection, settled.rows) if settled.rows else []
    heirs = [(row["person_id"], row["occurred_at"], row["type"]) for row in settled.heirs]
    by_id = {person.id: person for person in resolved.people.values()}
    for person_id, occurred_at, type_code in (*inserted, *heirs):
        if person_id != UNKNOWN_ID:
            by_id[person_id].acted(occurred_at, type_code)
    for person_id, occurred_at in settled.gone:
        if person_id != UNKNOWN_ID and occurred_at in (by_id[person_id].first_active_at, by_id[person_id].last_active_at):
            _measure_again(connection, by_id[person_id], occurred_at)
    names.save_people(connection, by_id.values())
    if settled.is_mirror_stale:
        bump_generation(connection)
    return len(inserted)


def _row(activity: Activity, resolved: Names) -> dict[str, Any]:
    person = resolved.person(activity)
    return {
        "site_id": resolved.sites[activity.site],
        "person_id": UNKNOWN_ID if person is None else person.id,
        "space_id": resolved.space_id(activity),
        "event_name_id": resolved.events[activity.event_name],
        "type": int(activity.type),
        "source": int(activity.source),
        "occurred_at": activity.occurred_at,
        "received_at": activity.received_at,
        "is_event_time": int(activity.is_event_time),
        "content_id": activity.content_id,
        "title": activity.title,
        "act": act_code(activity.twin),
        "key": activity.key,
    }


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> Sequence[Any]:
    """Insert what is new; person, time and type of what was."""
    if is_postgresql(connection):
        return connection.execute(INSERT_ARRAYS, {name: [row[name] for row in rows] for name in KINDS}).all()
    c = activities.c
    before = connection.scalar(select(func.max(c.id))) or 0
    connection.exec_driver_sql(INSERT_TUPLES, list(map(itemgetter(*KINDS), rows)))
    return connection.execute(select(c.person_id, c.occurred_at, c.type).where(c.id > before)).all()


# Batches are where the worker spends its time, so they go past SQLAlchemy's handling of each value: PostgreSQL gets one array per column
# (a statement with a parameter for each value takes its driver longer to read than the server to run), SQLite one tuple per row.
KINDS = {
    "site_id": "integer",
    "person_id": "bigint",
    "space_id": "bigint",
    "event_name_id": "integer",
    "type": "smallint",
    "source": "smallint",
    "occurred_at": "bigint",
    "received_at": "bigint",
    "is_event_time": "smallint",
    "content_id": "text",
    "title": "text",
    "act": "bigint",
    "key": "bytea",
}
INSERT_ARRAYS = text(
    f"INSERT INTO activities ({', '.join(KINDS)}) SELECT * FROM unnest("
    + ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in KINDS.items())
    + ") ON CONFLICT DO NOTHING RETURNING person_id, occurred_at, type"
)
INSERT_TUPLES = f"INSERT INTO activities ({', '.join(KINDS)}) VALUES ({', '.join('?' * len(KINDS))}) ON CONFLICT DO NOTHING"


def _measure_again(connection: Connection, person: KnownPerson, gone_at: int) -> None:
    """A row at the edge of a person's span is gone. Nothing beyond it can have been pruned, so the rows that are left tell the new edge."""
    c = activities.c
    mine = select(c.occurred_at, c.type).where(c.person_id == person.id)
    if person.first_active_at == gone_at:
        person.first_active_at = connection.scalar(select(func.min(c.occurred_at)).where(c.person_id == person.id))
    if person.last_active_at == gone_at:
        last = connection.execute(mine.order_by(c.occurred_at.desc(), c.type.desc()).limit(1)).one()
        person.last_active_at, person.last_type = last.occurred_at, last.type
    person.is_changed = True


def record_quarantined(connection: Connection, found: Sequence[Quarantined]) -> int:
    """Keep deliveries aside, the same one once; returns how many are new."""
    rows = [
        {
            "source": int(one.source),
            "site": one.site,
            "event_name": one.event_name,
            "delivery_id": one.delivery_id,
            "received_at": one.received_at,
            "reason": one.reason,
            "body": one.body,
            "key": identity(int(one.source), one.site, one.event_name, one.delivery_id, one.body),
        }
        for one in found
    ]
    if not rows:
        return 0
    statement = insert_into(connection, quarantine).on_conflict_do_nothing().returning(quarantine.c.id)
    return len(connection.execute(statement, rows).all())


def forget_quarantined(connection: Connection, ids: Iterable[int]) -> None:
    """Remove deliveries that could be read after all."""
    for part in chunks(list(ids)):
        connection.execute(delete(quarantine).where(quarantine.c.id.in_(part)))


def bump_generation(connection: Connection) -> None:
    """Tell every mirror that rows it may hold were changed or removed: it reloads."""
    number = cast(cast(meta.c.value, BigInteger) + 1, Text)
    connection.execute(update(meta).where(meta.c.name == "generation").values(value=number))


def renew_generation(connection: Connection, at: int) -> None:
    """Give the store a generation that no mirror has ever seen: its rows are others than before `at` (epoch ms), when it was restored."""
    connection.execute(update(meta).where(meta.c.name == "generation").values(value=str(at)))


def start_coverage(connection: Connection, worker: str, at: int) -> int:
    """Note that a worker is up since `at` (epoch ms); returns the id for `extend_coverage`."""
    statement = insert_into(connection, coverage).values(worker=worker, started_at=at, ended_at=at).returning(coverage.c.id)
    return int(connection.execute(statement).scalar_one())


def extend_coverage(connection: Connection, coverage_id: int, at: int) -> None:
    """Note that the worker is still up at `at` (epoch ms); a clock that went back takes nothing away."""
    connection.execute(update(coverage).where(coverage.c.id == coverage_id, coverage.c.ended_at < at).values(ended_at=at))


def cover_again(connection: Connection, worker: str, spans: Iterable[tuple[int, int]], apart_ms: int) -> None:
    """Note times (first and last instant, epoch ms) in which a worker was up earlier; where it was last heard of less than `apart_ms`
    before one, its run is made longer.
    """
    c = coverage.c
    for since, until in spans:
        near = select(c.id).where(c.worker == worker, c.started_at <= until, c.ended_at > since - apart_ms)
        run = connection.scalar(near.order_by(c.ended_at.desc()).limit(1))
        extend_coverage(connection, start_coverage(connection, worker, since) if run is None else run, until)


def count_deliveries(connection: Connection, counts: Mapping[tuple[Source, str, str], int], at: int) -> None:
    """Add numbers of deliveries by (source, site, outcome) to the UTC day of `at` (epoch ms)."""
    day = datetime.fromtimestamp(at / 1000, UTC).date().isoformat()
    rows = [
        {"source": int(source), "site": site, "day": day, "outcome": outcome, "count": count, "last_at": at}
        for (source, site, outcome), count in sorted(counts.items())
    ]
    if not rows:
        return
    statement = insert_into(connection, deliveries)
    new = statement.excluded
    latest = (
        func.max(deliveries.c.last_at, new.last_at)
        if connection.dialect.name == "sqlite"
        else func.greatest(deliveries.c.last_at, new.last_at)
    )
    keys = [deliveries.c.source, deliveries.c.site, deliveries.c.day, deliveries.c.outcome]
    added = {"count": deliveries.c.count + new.count, "last_at": latest}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=added), rows)

"""What comes out of the store: the columns of the mirror, and the tables that pages and commands need beside them.

Each function takes the connection of a `read_transaction`. Instants are epoch milliseconds, UTC. A DataFrame has the same columns and
dtypes when it is empty; a number that may be missing is `Int64`, a text `str`.

    activity_columns     the activities of a site as arrays: what a mirror grows by
    site_names, people, spaces, groups, memberships, coverage, person_activities
                         tables
    find_site, generation, last_up, quarantined
                         single facts
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, RowMapping, Select, Table, Text, TextClause, func, or_, select, text

from uar.activity import Source
from uar.store import schema
from uar.store.database import StoreError, read_transaction
from uar.store.dialects import is_postgresql
from uar.store.schema import UNKNOWN_ID, activities, event_names, meta, quarantine, sites

QUARTER_MS = 900_000
IDS_PER_CHUNK = 200_000  # the database packs the rows of so many ids into one value
PARALLEL_FROM = 2_000_000  # ids; for fewer a second connection costs more than it saves
THREADS = 2
QUARTER_BITS, TYPE_BITS = 22, 4  # 22 bits of quarters of an hour reach the year 2089
ID_BITS = 63 - QUARTER_BITS - TYPE_BITS

PACKED = f"""(CAST(person_id AS BIGINT) << (:space_bits + {TYPE_BITS + QUARTER_BITS}))
    | ((occurred_at / {QUARTER_MS}) << (:space_bits + {TYPE_BITS}))
    | (CAST(type AS BIGINT) << :space_bits) | space_id"""
WANTED = "id > :low AND id <= :high AND occurred_at >= :since AND {site} = :site_id"
# The unary plus keeps SQLite on the order of the ids (sqlite.org/optoverview.html#uplus).
SQLITE_CHUNK = f"SELECT group_concat({PACKED}, ' ') AS packed, max(received_at) AS received FROM activities WHERE " + WANTED.format(
    site="+site_id"
)
POSTGRESQL_CHUNK = (
    f"SELECT string_agg(int8send({PACKED}), ''::bytea ORDER BY id) AS packed, max(received_at) AS received FROM activities WHERE "
    + WANTED.format(site="site_id")
)


@dataclass(frozen=True, slots=True)
class ActivityRows:
    """Activities as columns of equal length, in the order of their ids.

    `last_id` is the id to ask after the next time, `last_received_at` when the newest of these rows arrived (None: no rows).
    """

    person: NDArray[np.int32]
    quarter: NDArray[np.int32]  # occurred_at // 900,000
    type: NDArray[np.int8]
    space: NDArray[np.int32]
    last_id: int
    last_received_at: int | None


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A delivery in quarantine, as it came."""

    id: int
    source: Source
    site: str
    event_name: str | None
    delivery_id: str | None
    received_at: int
    reason: str
    body: bytes


@dataclass(frozen=True, slots=True)
class _Chunk:
    packed: NDArray[np.int64]
    received_at: int | None


def activity_columns(connection: Connection, site_id: int, after_id: int, since: int, most_ids: int | None = None) -> ActivityRows:
    """The site's activities with an id above `after_id` that occurred at `since` or later; of the next `most_ids` ids only, if given.

    The database packs each row into one number and many rows into one value, so that Python touches two hundred thousand at a time.
    Raises `StoreError` where ids of people and spaces together need more bits than one number has (some 370,000 of each fit).
    """
    last_id = _last_id(connection, site_id)
    last_id = last_id if most_ids is None else min(last_id, after_id + most_ids)
    space_bits = _bits(connection, schema.spaces)
    if _bits(connection, schema.people) + space_bits > ID_BITS:
        raise StoreError("The store holds more people and spaces than a report can count: give each Confluence site a store of its own.")
    wanted = {"site_id": site_id, "since": since, "space_bits": space_bits}
    spans = [wanted | {"low": low, "high": min(low + IDS_PER_CHUNK, last_id)} for low in range(after_id, last_id, IDS_PER_CHUNK)]
    if last_id - after_id < PARALLEL_FROM:
        chunks = [_chunk(connection, span) for span in spans]
    else:
        chunks = _chunks_in_parallel(connection.engine, spans)
    return _unpacked(chunks, space_bits, max(last_id, after_id))


def _bits(connection: Connection, table: Table) -> int:
    """How many bits the ids of a table need."""
    return int(connection.scalar(select(func.max(table.c.id))) or 0).bit_length()


def _last_id(connection: Connection, site_id: int) -> int:
    """The last id of the site on PostgreSQL, of the store on SQLite: what each can look up at the end of an index."""
    last = select(func.coalesce(func.max(activities.c.id), 0))
    return int(connection.scalar(last.where(activities.c.site_id == site_id) if is_postgresql(connection) else last) or 0)


def _chunks_in_parallel(engine: Engine, spans: Sequence[dict[str, int]]) -> list[_Chunk]:
    """The same over connections of their own. Ids only grow, and whatever removes rows has mirrors read again or drop what is older."""

    def read(share: Sequence[dict[str, int]]) -> list[_Chunk]:
        with read_transaction(engine) as connection:
            return [_chunk(connection, span) for span in share]

    middle = len(spans) // THREADS
    with ThreadPoolExecutor(THREADS) as pool:
        return [chunk for share in pool.map(read, (spans[:middle], spans[middle:])) for chunk in share]


def _chunk(connection: Connection, span: dict[str, int]) -> _Chunk:
    statement = _CHUNKS[is_postgresql(connection)]
    packed, received_at = connection.execute(statement, span).one()
    if packed is None:
        return _Chunk(np.empty(0, np.int64), None)
    if isinstance(packed, str):
        return _Chunk(np.fromstring(packed, dtype=np.int64, sep=" "), received_at)
    return _Chunk(np.frombuffer(packed, dtype=">i8").astype(np.int64), received_at)


_CHUNKS: dict[bool, TextClause] = {True: text(POSTGRESQL_CHUNK), False: text(SQLITE_CHUNK)}


def _unpacked(chunks: Sequence[_Chunk], space_bits: int, last_id: int) -> ActivityRows:
    length = sum(len(chunk.packed) for chunk in chunks)
    rows = ActivityRows(
        person=np.empty(length, np.int32),
        quarter=np.empty(length, np.int32),
        type=np.empty(length, np.int8),
        space=np.empty(length, np.int32),
        last_id=last_id,
        last_received_at=max((chunk.received_at for chunk in chunks if chunk.received_at is not None), default=None),
    )
    start = 0
    for chunk in chunks:
        packed, part = chunk.packed, slice(start, start + len(chunk.packed))
        rows.space[part] = packed & ((1 << space_bits) - 1)
        rows.type[part] = (packed >> space_bits) & ((1 << TYPE_BITS) - 1)
        rows.quarter[part] = (packed >> (space_bits + TYPE_BITS)) & ((1 << QUARTER_BITS) - 1)
        rows.person[part] = packed >> (space_bits + TYPE_BITS + QUARTER_BITS)
        start = part.stop
    return rows


def site_names(connection: Connection) -> pd.DataFrame:
    """The sites. Columns: id int64, name str, cloud_id str, base_url str; in the order of their names."""
    return _frame(connection, select(sites).order_by(sites.c.name), sites)


def find_site(connection: Connection, name: str) -> int | None:
    """The id of a site by its name or cloud id."""
    found: int | None = connection.scalar(select(sites.c.id).where(or_(sites.c.name == name, sites.c.cloud_id == name)).limit(1))
    return found


def people(connection: Connection, site_id: int) -> pd.DataFrame:
    """A site's accounts, the unknown person left out.

    Columns as in the table `people`: id, site_id, first_seen_at int64; account_id, display_name, email, kind, state str; created_at,
    first_active_at, last_active_at, last_type, atlassian_last_seen_at, synced_at Int64. In the order of id.
    """
    return _of_site(connection, schema.people, site_id)


def spaces(connection: Connection, site_id: int) -> pd.DataFrame:
    """A site's spaces, the unknown space left out. Columns: id, site_id int64; space_key, external_id, name str; in the order of id."""
    return _of_site(connection, schema.spaces, site_id)


def groups(connection: Connection, site_id: int) -> pd.DataFrame:
    """A site's groups. Columns: id, site_id int64; external_id, name str; in the order of id."""
    return _of_site(connection, schema.groups, site_id)


def memberships(connection: Connection, site_id: int) -> pd.DataFrame:
    """Who belongs to a site's groups. Columns: group_id, person_id int64; in their order."""
    table = schema.memberships
    mine = select(schema.groups.c.id).where(schema.groups.c.site_id == site_id)
    statement = select(table).where(table.c.group_id.in_(mine)).order_by(table.c.group_id, table.c.person_id)
    return _frame(connection, statement, table)


def coverage(connection: Connection) -> pd.DataFrame:
    """When a worker was up. Columns: started_at, ended_at int64 (epoch ms); in the order of started_at."""
    c = schema.coverage.c
    return _frame(connection, select(c.started_at, c.ended_at).order_by(c.started_at, c.ended_at), schema.coverage)


def person_activities(
    connection: Connection, person_id: int, since: int, until: int, types: Collection[int], space_ids: Collection[int] | None, limit: int
) -> pd.DataFrame:
    """What one person did from `since` until before `until` (epoch ms), the latest first, at most `limit` rows.

    Only these types, and only in these spaces unless that is None.

    Columns: occurred_at int64, type int64 (`ActivityType`), event_name, content_id, title, space_key, space_name str.
    """
    c, named = activities.c, schema.spaces.c
    statement = (
        select(c.occurred_at, c.type, event_names.c.name.label("event_name"), c.content_id, c.title)
        .add_columns(named.space_key, named.name.label("space_name"))
        .select_from(activities)
        .join(event_names, event_names.c.id == c.event_name_id)
        .outerjoin(schema.spaces, named.id == c.space_id)
        .where(c.person_id == person_id, c.occurred_at >= since, c.occurred_at < until, c.type.in_(types))
        .order_by(c.occurred_at.desc(), c.id.desc())
        .limit(limit)
    )
    if space_ids is not None:
        statement = statement.where(c.space_id.in_(space_ids))
    return _frame(connection, statement, activities)


def generation(connection: Connection) -> int:
    """Grows whenever rows that a mirror may hold were changed or removed, but for pruned ones: those are older than `kept_from`."""
    return int(connection.scalar(select(meta.c.value).where(meta.c.name == "generation")) or 0)


def last_up(connection: Connection, before: int) -> int | None:
    """When a worker that started before an instant was last heard of; both epoch ms. None if there was none."""
    latest: int | None = connection.scalar(select(func.max(schema.coverage.c.ended_at)).where(schema.coverage.c.started_at < before))
    return latest


def quarantined(connection: Connection, limit: int, after_id: int = 0) -> list[QuarantinedRow]:
    """Deliveries in quarantine with an id above `after_id`, in the order of id, at most `limit`."""
    statement = select(quarantine).where(quarantine.c.id > after_id).order_by(quarantine.c.id).limit(limit)
    return [_quarantined(row) for row in connection.execute(statement).mappings()]


def _quarantined(row: RowMapping) -> QuarantinedRow:
    values = {name: row[name] for name in ("id", "site", "event_name", "delivery_id", "received_at", "reason")}
    return QuarantinedRow(source=Source(row["source"]), body=bytes(row["body"]), **values)


def _of_site(connection: Connection, table: Table, site_id: int) -> pd.DataFrame:
    statement = select(table).where(table.c.site_id == site_id, table.c.id != UNKNOWN_ID).order_by(table.c.id)
    return _frame(connection, statement, table)


def _frame(connection: Connection, statement: Select[tuple[object, ...]], table: Table) -> pd.DataFrame:
    """The rows with the dtypes of their columns; those that stand in another table are text."""
    result = connection.execute(statement)
    names: Iterable[str] = list(result.keys())
    columns = list(zip(*result.all(), strict=True)) or [()] * len(list(names))
    return pd.DataFrame(
        {name: pd.Series(list(values), dtype=_dtype(table, name)) for name, values in zip(names, columns, strict=True)},
    )


def _dtype(table: Table, name: str) -> str:
    column = table.c.get(name)
    if column is None or isinstance(column.type, Text):
        return "str"
    return "Int64" if column.nullable else "int64"

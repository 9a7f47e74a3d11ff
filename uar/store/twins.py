"""One act that a source announces twice, such as a like as `liked:page` and as a relation, is stored once.

Which rows remain does not depend on the order of arrival, and bringing any of them again changes nothing:

    every specific notice remains, and every generic one that has no specific notice of its act within a minute.

So a specific notice takes over the row of a generic one that came first: the row keeps its id, and mirrors need to reload only if
something that they hold has changed (quarter of an hour, type, space).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, CursorResult, and_, delete, text, update

from uar.activity import Twin, identity
from uar.store.dialects import is_postgresql
from uar.store.schema import activities

TWIN_MS = 60_000
QUARTER_MS = 900_000  # the grain of a mirror
GENERIC = 1
Row = dict[str, Any]
Act = tuple[int, int, int]  # site, person, act without its lowest bit


@dataclass(slots=True)
class Settled:
    """What is to be done: `rows` to insert, whether mirrors must reload; which rows took over another's place, and the persons and times
    of those that are gone.
    """

    rows: list[Row]
    is_mirror_stale: bool = False
    heirs: list[Row] = field(default_factory=list)
    gone: list[tuple[int, int]] = field(default_factory=list)


def act_code(twin: Twin | None) -> int | None:
    """The column `act`: 63 bits of the act's hash, with the lowest bit saying that the notice is the generic one."""
    if twin is None:
        return None
    return int.from_bytes(identity(twin.act)[:8], "big", signed=True) & ~GENERIC | (GENERIC if twin.is_generic else 0)


def settle_twins(connection: Connection, rows: Sequence[Row]) -> Settled:
    """Leave out the notices that a stored or newer one makes superfluous; specific ones take over stored generic ones here."""
    twins = [row for row in rows if row["act"] is not None]
    if not twins:
        return Settled(list(rows))
    settled = Settled([row for row in rows if row["act"] is None])
    near = _stored_near(connection, twins)
    keys = _stored_keys(connection, twins)
    for row in sorted(twins, key=lambda row: row["act"] & GENERIC):
        identity_of_row = row["person_id"], row["key"]
        if identity_of_row in keys:
            continue
        keys.add(identity_of_row)
        rivals = [other for other in near.get(_act(row), ()) if _are_twins(row, other)]
        if row["act"] & GENERIC:
            if not rivals:
                settled.rows.append(row)
            continue
        near.setdefault(_act(row), []).append(row)
        if rivals:
            _take_over(connection, row, rivals, settled)
            near[_act(row)] = [other for other in near[_act(row)] if other not in rivals]
        else:
            settled.rows.append(row)
    return settled


def _act(row: Row) -> Act:
    return row["site_id"], row["person_id"], row["act"] & ~GENERIC


def _are_twins(one: Row, other: Row) -> bool:
    return bool((one["act"] ^ other["act"]) == GENERIC and abs(one["occurred_at"] - other["occurred_at"]) < TWIN_MS)


def _take_over(connection: Connection, row: Row, generic: Sequence[Row], settled: Settled) -> None:
    heir, *others = sorted(generic, key=lambda other: (abs(other["occurred_at"] - row["occurred_at"]), other["id"]))
    for other in others:
        connection.execute(delete(activities).where(_is_row(other)))
    connection.execute(update(activities).where(_is_row(heir)).values(**row))
    settled.heirs.append(row)
    settled.gone += [(other["person_id"], other["occurred_at"]) for other in generic]
    settled.is_mirror_stale |= bool(others) or _mirrored(heir) != _mirrored(row)


def _is_row(row: Row) -> Any:
    return and_(activities.c.person_id == row["person_id"], activities.c.id == row["id"])


def _mirrored(row: Row) -> tuple[int, int, int]:
    return row["occurred_at"] // QUARTER_MS, row["type"], row["space_id"]


def _stored_near(connection: Connection, twins: Sequence[Row]) -> dict[Act, list[Row]]:
    """Stored notices of the same acts at about the same time, by act."""
    acts = {row["act"] & ~GENERIC for row in twins}
    found = _sought(connection, NEAR, _spans(twins), [*acts, *(act | GENERIC for act in acts)])
    return _grouped(found.mappings())


def _spans(twins: Sequence[Row]) -> list[tuple[int, int, int]]:
    """Person, begin and end of the times within a minute of these notices; what overlaps is one span, so that the many notices of a program
    that works under one account are not each compared with all of them."""
    spans: list[tuple[int, int, int]] = []
    for person, at in sorted({(row["person_id"], row["occurred_at"]) for row in twins}):
        last = spans[-1] if spans else None
        if last is not None and last[0] == person and at - TWIN_MS <= last[2]:
            spans[-1] = person, last[1], at + TWIN_MS
        else:
            spans.append((person, at - TWIN_MS, at + TWIN_MS))
    return spans


def _grouped(found: Iterable[Mapping[Any, Any]]) -> dict[Act, list[Row]]:
    by_id = {stored["id"]: dict(stored) for stored in found}
    grouped: dict[Act, list[Row]] = {}
    for stored in by_id.values():
        grouped.setdefault(_act(stored), []).append(stored)
    return grouped


def _stored_keys(connection: Connection, twins: Sequence[Row]) -> set[tuple[int, bytes]]:
    """Which of these acts are stored already, whatever their time: one without a time of its own comes again with another."""
    wanted = [(row["person_id"], row["key"].hex()) for row in twins]
    return {(row.person_id, bytes(row.key)) for row in _sought(connection, KEYS, wanted)}


def _sought(connection: Connection, statement: str, wanted: Sequence[tuple[Any, ...]], acts: Sequence[int] = ()) -> CursorResult[Any]:
    """Runs a query that joins `sought`, the wanted tuples as a table. They go as one parameter: a statement that spells a thousand of them
    takes longer to write than to run."""
    given: dict[str, Any]
    if is_postgresql(connection):
        given = {f"column_{place}": list(column) for place, column in enumerate(zip(*wanted, strict=True))}
        query = text(statement.format(**POSTGRESQL))
        given |= {"acts": list(acts)} if acts else {}
    else:
        given = {"wanted": orjson.dumps(wanted).decode()}
        query = text(statement.format(**SQLITE))
        given |= {"acts": orjson.dumps(acts).decode()} if acts else {}
    return connection.execute(query, given)


# The wanted tuples as a table, the wanted acts, and how a table's second column becomes a key.
SQLITE = {
    "spans": "SELECT value ->> 0 AS person_id, value ->> 1 AS low, value ->> 2 AS high FROM json_each(:wanted)",
    "acts": "IN (SELECT value FROM json_each(:acts))",
    "two": "SELECT value ->> 0 AS person_id, unhex(value ->> 1) AS key FROM json_each(:wanted)",
}
POSTGRESQL = {
    "spans": "SELECT * FROM unnest(CAST(:column_0 AS bigint[]), CAST(:column_1 AS bigint[]), CAST(:column_2 AS bigint[]))"
    " AS given (person_id, low, high)",
    "acts": "= ANY(CAST(:acts AS bigint[]))",
    "two": "SELECT person_id, decode(hex, 'hex') AS key FROM unnest(CAST(:column_0 AS bigint[]), CAST(:column_1 AS text[]))"
    " AS given (person_id, hex)",
}
# CROSS JOIN makes SQLite begin with the wanted ones (sqlite.org/optoverview.html#crossjoin).
NEAR = """
    WITH sought AS ({spans})
    SELECT a.id, a.site_id, a.person_id, a.occurred_at, a.type, a.space_id, a.act
    FROM sought CROSS JOIN activities AS a
    WHERE a.person_id = sought.person_id AND a.occurred_at > sought.low AND a.occurred_at < sought.high AND a.act {acts}
"""
KEYS = """
    WITH sought AS ({two})
    SELECT a.person_id, a.key FROM sought CROSS JOIN activities AS a WHERE a.person_id = sought.person_id AND a.key = sought.key
"""

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

from sqlalchemy import BigInteger, Connection, LargeBinary, and_, column, delete, or_, select, update, values

from uar.activity import Twin, identity
from uar.store.schema import activities

TWIN_MS = 60_000
QUARTER_MS = 900_000  # the grain of a mirror
GENERIC = 1
Row = dict[str, Any]
Act = tuple[int, int, int]  # site, person, act without its lowest bit


@dataclass(slots=True)
class Settled:
    """What is to be done: `rows` to insert, whether mirrors must reload, and the persons and times of the rows that are gone."""

    rows: list[Row]
    is_mirror_stale: bool = False
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
    settled.gone += [(other["person_id"], other["occurred_at"]) for other in generic]
    settled.is_mirror_stale |= bool(others) or _mirrored(heir) != _mirrored(row)


def _is_row(row: Row) -> Any:
    return and_(activities.c.person_id == row["person_id"], activities.c.id == row["id"])


def _mirrored(row: Row) -> tuple[int, int, int]:
    return row["occurred_at"] // QUARTER_MS, row["type"], row["space_id"]


def _stored_near(connection: Connection, twins: Sequence[Row]) -> dict[Act, list[Row]]:
    """Stored notices of the same acts within a minute, by act."""
    wanted = values(column("person_id", BigInteger), column("act", BigInteger), column("at", BigInteger), name="wanted").data(
        [(row["person_id"], row["act"] & ~GENERIC, row["occurred_at"]) for row in twins]
    )
    sought = wanted.cte("sought")
    c = activities.c
    query = (
        select(c.id, c.site_id, c.person_id, c.occurred_at, c.type, c.space_id, c.act)
        .select_from(sought)
        .join(activities, and_(c.person_id == sought.c.person_id, _within_a_minute(sought.c.at)))
        .where(or_(c.act == sought.c.act, c.act == sought.c.act + GENERIC))
    )
    return _grouped(connection.execute(query).mappings())


def _within_a_minute(at: Any) -> Any:
    return and_(activities.c.occurred_at > at - TWIN_MS, activities.c.occurred_at < at + TWIN_MS)


def _grouped(found: Iterable[Mapping[Any, Any]]) -> dict[Act, list[Row]]:
    by_id = {stored["id"]: dict(stored) for stored in found}
    grouped: dict[Act, list[Row]] = {}
    for stored in by_id.values():
        grouped.setdefault(_act(stored), []).append(stored)
    return grouped


def _stored_keys(connection: Connection, twins: Sequence[Row]) -> set[tuple[int, bytes]]:
    """Which of these acts are stored already, whatever their time: one without a time of its own comes again with another."""
    wanted = values(column("person_id", BigInteger), column("key", LargeBinary), name="wanted").data(
        [(row["person_id"], row["key"]) for row in twins]
    )
    sought = wanted.cte("sought")
    c = activities.c
    query = select(c.person_id, c.key).select_from(sought).join(activities, and_(c.person_id == sought.c.person_id, c.key == sought.c.key))
    return {(row.person_id, bytes(row.key)) for row in connection.execute(query)}

"""Two rows of `sites` that turn out to be one site become one: everything moves to one of them, nothing is counted twice.

The row with more activities stays, as moving rows is the cost. Where both have the same account, space or group, the one of the row that
goes is folded into the other's; an activity that both hold (the same key) is kept once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Table, case, delete, func, select, text, update

from uar.store.names import KIND_RANK
from uar.store.schema import UNKNOWN_ID, activities, contents, groups, memberships, people, sites, spaces
from uar.store.sync_state import forget_states

STATEMENT = 200  # spaces re-pointed by one statement


def merge_sites(connection: Connection, one: int, other: int) -> int:
    """Join two sites; returns the id that stays. The name and cloud id of the one that goes are free afterwards."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))  # moving millions of rows takes longer than any other statement of ours
    kept, gone = (one, other) if _activity_count(connection, one) > _activity_count(connection, other) else (other, one)
    _move_people(connection, kept, gone)
    _move_spaces(connection, kept, gone)
    _move_groups(connection, kept, gone)
    connection.execute(update(activities).where(activities.c.site_id == gone).values(site_id=kept))
    forget_states(connection, kept, gone)
    connection.execute(delete(sites).where(sites.c.id == gone))
    return kept


def _activity_count(connection: Connection, site_id: int) -> int:
    return int(connection.scalar(select(func.count()).select_from(activities).where(activities.c.site_id == site_id)) or 0)


def _same(connection: Connection, table: Table, key: Column[Any], kept: int, gone: int) -> dict[int, int]:
    """Rows of the site that goes → rows of the site that stays, with the same key."""
    mine, theirs = table.alias(), table.alias()
    query = select(theirs.c.id, mine.c.id).where(
        mine.c.site_id == kept, theirs.c.site_id == gone, mine.c[key.name] == theirs.c[key.name], mine.c.id != UNKNOWN_ID
    )
    return {int(old): int(new) for old, new in connection.execute(query)}


def _move_people(connection: Connection, kept: int, gone: int) -> None:
    for old, new in _same(connection, people, people.c.account_id, kept, gone).items():
        _fold_activities(connection, old, new)
        _fold_memberships(connection, memberships.c.person_id, memberships.c.group_id, old, new)
        _fold_person(connection, old, new)
    connection.execute(update(people).where(people.c.site_id == gone).values(site_id=kept))


def _fold_activities(connection: Connection, old: int, new: int) -> None:
    known = select(activities.c.key).where(activities.c.person_id == new)
    connection.execute(delete(activities).where(activities.c.person_id == old, activities.c.key.in_(known)))
    connection.execute(update(activities).where(activities.c.person_id == old).values(person_id=new))


def _fold_memberships(connection: Connection, moved: Column[Any], other: Column[Any], old: int, new: int) -> None:
    known = select(other).where(moved == new)
    connection.execute(delete(memberships).where(moved == old, other.in_(known)))
    connection.execute(update(memberships).where(moved == old).values({moved.name: new}))


def _fold_person(connection: Connection, old: int, new: int) -> None:
    """Keep of both rows what says more: earliest and latest instants, a name over none, a state other than the first one."""
    rows = {row["id"]: dict(row) for row in connection.execute(select(people).where(people.c.id.in_((old, new)))).mappings()}
    connection.execute(update(people).where(people.c.id == new).values(folded(rows[new], rows[old])))
    connection.execute(delete(people).where(people.c.id == old))


def folded(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of one person made of two rows."""
    told = {
        column: mine[column] if mine[column] is not None else theirs[column]
        for column in ("display_name", "email", "created_at", "atlassian_last_seen_at", "synced_at")
    }
    later = max((mine, theirs), key=lambda row: row["last_active_at"] or 0)
    return {
        **told,
        "kind": max(mine["kind"], theirs["kind"], key=KIND_RANK.__getitem__),
        "state": mine["state"] if mine["state"] != "active" else theirs["state"],
        "first_seen_at": min(mine["first_seen_at"], theirs["first_seen_at"]),
        "first_active_at": min((row["first_active_at"] for row in (mine, theirs) if row["first_active_at"] is not None), default=None),
        "last_active_at": later["last_active_at"],
        "last_type": later["last_type"],
    }


def _move_spaces(connection: Connection, kept: int, gone: int) -> None:
    pairs = list(_same(connection, spaces, spaces.c.space_key, kept, gone).items())
    for start in range(0, len(pairs), STATEMENT):
        part = dict(pairs[start : start + STATEMENT])
        for table in (activities, contents):
            column = table.c.space_id
            moved = update(table).where(table.c.site_id.in_((kept, gone)), column.in_(part))
            connection.execute(moved.values(space_id=case(part, value=column, else_=column)))
        connection.execute(delete(spaces).where(spaces.c.id.in_(part)))
    connection.execute(update(spaces).where(spaces.c.site_id == gone).values(site_id=kept))
    known = select(contents.c.content_id).where(contents.c.site_id == kept)
    connection.execute(delete(contents).where(contents.c.site_id == gone, contents.c.content_id.in_(known)))
    connection.execute(update(contents).where(contents.c.site_id == gone).values(site_id=kept))


def _move_groups(connection: Connection, kept: int, gone: int) -> None:
    for old, new in _same(connection, groups, groups.c.external_id, kept, gone).items():
        _fold_memberships(connection, memberships.c.group_id, memberships.c.person_id, old, new)
        connection.execute(delete(groups).where(groups.c.id == old))
    connection.execute(update(groups).where(groups.c.site_id == gone).values(site_id=kept))

"""What a directory sync, a look-up and the users export write into the store, and what they need to know from it.

People are found by (site, account), so a renamed person keeps the row, and with it every activity. `people.synced_at` is the start of the
last sync whose lists named the account: after a complete sync, whoever has an older one was listed once and is not any more.

    claim_site          the site's row, whether Forge knew it by cloud id or the settings by name (`site_merge` joins two)
    save_people …       upserts; what is None is left as it is
    deactivate_unlisted whom the lists of a complete sync did not name any more
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, delete, func, insert, or_, select, tuple_, update
from sqlalchemy import bindparam as bound

from uar.store.dialects import chunks
from uar.store.schema import groups, memberships, people, sites, spaces
from uar.store.site_merge import merge_sites

ACTIVE, DEACTIVATED, INVITED, DELETED = "active", "deactivated", "invited", "deleted"
DELETED_NAME = "Deleted account"


@dataclass(frozen=True, slots=True)
class Person:
    """What the directory tells about one account. None: it says nothing, so the store keeps what it has. Instants: epoch ms, UTC."""

    account: str
    name: str | None = None
    email: str | None = None
    kind: str | None = None  # ActorKind
    state: str | None = None  # ACTIVE, DEACTIVATED, INVITED, DELETED
    created_at: int | None = None
    atlassian_last_seen_at: int | None = None
    is_licensed: bool = True  # False: an account of the organization without access to this site; kept only if it was seen before

    def with_state(self, state: str | None) -> Person:
        """The same account in another state."""
        return replace(self, state=state)


@dataclass(frozen=True, slots=True)
class Group:
    """A group: its id (Cloud) or name (Data Center), and its name."""

    external_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Space:
    """A space by its key; id and name where the source tells them."""

    key: str
    external_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class SavedPeople:
    """The rows behind accounts (account → id; none for an account not kept), how many are new, how many were changed."""

    ids: dict[str, int]
    added: int
    changed: int


def claim_site(connection: Connection, name: str, cloud_id: str | None, base_url: str | None) -> tuple[int, bool]:
    """The id of the site, made if needed, with its cloud id and address set; and whether two rows were joined into one for it.

    Forge calls a site by its cloud id, the settings by name (`GET <host>/_edge/tenant_info` tells that both are one).
    """
    by_name = connection.scalar(select(sites.c.id).where(sites.c.name == name))
    by_cloud = None
    if cloud_id is not None:
        by_cloud = connection.scalar(
            select(sites.c.id).where(or_(sites.c.cloud_id == cloud_id, sites.c.name == cloud_id), sites.c.name != name).order_by(sites.c.id)
        )
    is_merged = by_name is not None and by_cloud is not None
    if by_name is not None and by_cloud is not None:
        site_id = merge_sites(connection, by_name, by_cloud)
    else:
        site_id = by_name or by_cloud or _add_site(connection, name)
    known = {"name": name, "cloud_id": cloud_id, "base_url": base_url}
    connection.execute(update(sites).where(sites.c.id == site_id).values({key: value for key, value in known.items() if value is not None}))
    return site_id, is_merged


def _add_site(connection: Connection, name: str) -> int:
    return int(connection.execute(insert(sites).values(name=name).returning(sites.c.id)).scalar_one())


def site_id_of(connection: Connection, name: str) -> int | None:
    """The site by its name or cloud id."""
    return connection.scalar(select(sites.c.id).where(or_(sites.c.name == name, sites.c.cloud_id == name)))


def site_name_of(connection: Connection, cloud_id: str) -> str | None:
    """The name of the site with this cloud id, None if there is no such site yet."""
    query = select(sites.c.name).where(or_(sites.c.cloud_id == cloud_id, sites.c.name == cloud_id)).order_by(sites.c.name == cloud_id)
    return connection.scalar(query.limit(1))


def save_people(connection: Connection, site_id: int, found: Sequence[Person], at: int, *, listed_at: int | None = None) -> SavedPeople:
    """Insert or update people of one site; of an account named twice the later record counts.

    `listed_at` is the start of the sync whose list named them; None for a look-up of single accounts.
    """
    by_account = {person.account: person for person in found}
    known = {row["account_id"]: row for row in _people_rows(connection, site_id, list(by_account))}
    changes = [change for row in known.values() if (change := _changes(row, by_account[row["account_id"]]))]
    for columns, same in _grouped(changes):
        connection.execute(
            update(people).where(people.c.id == bound("b_id")).values({column: bound(f"b_{column}") for column in columns}),
            [{f"b_{key}": value for key, value in change.items()} for change in same],
        )
    new = [_new_person(site_id, person, at) for account, person in by_account.items() if account not in known and person.is_licensed]
    if new:
        connection.execute(insert(people), new)
    rows = _people_rows(connection, site_id, list(by_account)) if new else known.values()
    ids = {row["account_id"]: int(row["id"]) for row in rows}
    if listed_at is not None:
        for chunk in chunks(list(ids.values())):
            connection.execute(update(people).where(people.c.id.in_(chunk)).values(synced_at=listed_at))
    return SavedPeople(ids, len(new), len(changes))


def _people_rows(connection: Connection, site_id: int, accounts: Sequence[str]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for chunk in chunks(accounts):
        found = connection.execute(select(people).where(people.c.site_id == site_id, people.c.account_id.in_(chunk)))
        rows += [dict(row) for row in found.mappings()]
    return rows


def _new_person(site_id: int, person: Person, at: int) -> dict[str, Any]:
    return {
        "site_id": site_id,
        "account_id": person.account,
        "display_name": person.name,
        "email": person.email,
        "kind": person.kind or "person",
        "state": person.state or ACTIVE,
        "created_at": person.created_at,
        "first_seen_at": at,
        "atlassian_last_seen_at": person.atlassian_last_seen_at,
    }


def _changes(row: Mapping[str, Any], person: Person) -> dict[str, Any]:
    """The columns of the row that the record changes, with the row's id; empty if there are none."""
    told: dict[str, Any] = {
        "display_name": person.name,
        "email": person.email,
        "kind": person.kind,
        "state": person.state,
        "created_at": person.created_at,
        "atlassian_last_seen_at": person.atlassian_last_seen_at,
    }
    changed = {column: value for column, value in told.items() if value is not None and value != row[column]}
    if person.state == DELETED and row["email"] is not None:
        changed["email"] = None
    return {"id": row["id"], **changed} if changed else {}


def _grouped(changes: Iterable[dict[str, Any]]) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    """Changes of the same columns together, so that each kind is one statement."""
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for change in changes:
        by_columns.setdefault(tuple(sorted(change.keys() - {"id"})), []).append(change)
    for columns, same in by_columns.items():
        yield list(columns), same


def invited_accounts(connection: Connection, site_id: int) -> set[str]:
    """Accounts that the users export called invited and that never acted."""
    query = select(people.c.account_id).where(people.c.site_id == site_id, people.c.state == INVITED, people.c.first_active_at.is_(None))
    return set(connection.scalars(query))


def unlisted_people(connection: Connection, site_id: int, started_at: int) -> set[str]:
    """Accounts that an earlier sync listed, the one of `started_at` did not, and that still count as in use."""
    query = select(people.c.account_id).where(
        people.c.site_id == site_id, people.c.synced_at < started_at, people.c.state.in_((ACTIVE, INVITED))
    )
    return set(connection.scalars(query))


def deactivate_unlisted(connection: Connection, site_id: int, started_at: int) -> int:
    """Mark whom no list of the sync named; only right after a complete sync. Returns how many."""
    found = connection.execute(
        update(people)
        .where(people.c.site_id == site_id, people.c.synced_at < started_at, people.c.state.in_((ACTIVE, INVITED)))
        .values(state=DEACTIVATED)
    )
    return int(found.rowcount)


def unnamed_accounts(connection: Connection, site_id: int, limit: int) -> list[str]:
    """Accounts known from events only: no name yet. The latest first, as they are the ones somebody looks for."""
    query = (
        select(people.c.account_id)
        .where(people.c.site_id == site_id, people.c.account_id.is_not(None), people.c.state != DELETED)
        .where(or_(people.c.display_name.is_(None), people.c.display_name == people.c.account_id))
        .order_by(people.c.id.desc())
        .limit(limit)
    )
    return list(connection.scalars(query))


def listed_count(connection: Connection, site_id: int, started_at: int) -> int:
    """How many accounts the sync of `started_at` has listed."""
    listed = select(func.count()).select_from(people).where(people.c.site_id == site_id, people.c.synced_at >= started_at)
    return int(connection.scalar(listed) or 0)


def accounts_of_events(connection: Connection, site_id: int) -> list[str]:
    """Accounts that no list ever named, as of customers or of people who left before the first sync."""
    query = (
        select(people.c.account_id)
        .where(people.c.site_id == site_id, people.c.account_id.is_not(None), people.c.state != DELETED, people.c.synced_at.is_(None))
        .order_by(people.c.id)
    )
    return list(connection.scalars(query))


def accounts_by_email(connection: Connection, site_id: int, emails: Sequence[str]) -> dict[str, str]:
    """Lower-case address → account, for addresses that exactly one account of the site has."""
    wanted = set(emails)
    found: dict[str, set[str]] = {}
    rows = connection.execute(select(people.c.email, people.c.account_id).where(people.c.site_id == site_id, people.c.email.is_not(None)))
    for row in rows:
        if row.email.lower() in wanted and row.account_id is not None:
            found.setdefault(row.email.lower(), set()).add(row.account_id)
    return {email: accounts.pop() for email, accounts in found.items() if len(accounts) == 1}


def save_groups(connection: Connection, site_id: int, found: Sequence[Group]) -> dict[str, int]:
    """Insert or rename groups; returns external id → id."""
    by_id = {group.external_id: group for group in found}
    known = {row.external_id: row for row in connection.execute(select(groups).where(groups.c.site_id == site_id))}
    for external_id, group in by_id.items():
        if external_id in known and known[external_id].name != group.name:
            connection.execute(update(groups).where(groups.c.id == known[external_id].id).values(name=group.name))
    new = [{"site_id": site_id, "external_id": key, "name": group.name} for key, group in by_id.items() if key not in known]
    if new:
        connection.execute(insert(groups), new)
    rows = connection.execute(select(groups.c.external_id, groups.c.id).where(groups.c.site_id == site_id))
    return {row.external_id: int(row.id) for row in rows if row.external_id in by_id}


def group_ids_by_name(connection: Connection, site_id: int, names: Iterable[str]) -> dict[str, int]:
    """Ids of the groups with these names, made where there is none (the users export knows groups by name only)."""
    wanted = dict.fromkeys(names)
    rows = connection.execute(select(groups.c.name, groups.c.id).where(groups.c.site_id == site_id))
    found = {row.name: int(row.id) for row in rows if row.name in wanted}
    missing = [Group(name, name) for name in wanted if name not in found]
    if missing:
        # The external id of a Cloud group is a UUID, so a name in its place meets no other group; the next sync brings the real one.
        found |= save_groups(connection, site_id, missing)
    return found


def save_members(connection: Connection, group_id: int, person_ids: Iterable[int]) -> None:
    """Make the group have exactly these members."""
    wanted = set(person_ids)
    known = set(connection.scalars(select(memberships.c.person_id).where(memberships.c.group_id == group_id)))
    for chunk in chunks(sorted(known - wanted)):
        connection.execute(delete(memberships).where(memberships.c.group_id == group_id, memberships.c.person_id.in_(chunk)))
    add_members(connection, ((group_id, person_id) for person_id in sorted(wanted - known)))


def add_members(connection: Connection, pairs: Iterable[tuple[int, int]]) -> None:
    """Add memberships (group id, person id); those that exist are left alone."""
    for chunk in chunks(sorted(set(pairs))):
        pair = tuple_(memberships.c.group_id, memberships.c.person_id)
        query = select(memberships.c.group_id, memberships.c.person_id).where(pair.in_(chunk))
        known = {(row.group_id, row.person_id) for row in connection.execute(query)}
        new = [{"group_id": group_id, "person_id": person_id} for group_id, person_id in chunk if (group_id, person_id) not in known]
        if new:
            connection.execute(insert(memberships), new)


def remove_other_groups(connection: Connection, site_id: int, kept: Iterable[int]) -> int:
    """Remove the site's groups that a complete sync did not list, with their memberships. Returns how many."""
    gone = sorted(set(connection.scalars(select(groups.c.id).where(groups.c.site_id == site_id))) - set(kept))
    for chunk in chunks(gone):
        connection.execute(delete(memberships).where(memberships.c.group_id.in_(chunk)))
        connection.execute(delete(groups).where(groups.c.id.in_(chunk)))
    return len(gone)


def membership_count(connection: Connection, site_id: int) -> int:
    """How many memberships the site's groups have."""
    joined = memberships.join(groups, groups.c.id == memberships.c.group_id)
    return int(connection.scalar(select(func.count()).select_from(joined).where(groups.c.site_id == site_id)) or 0)


def save_spaces(connection: Connection, site_id: int, found: Sequence[Space]) -> dict[str, int]:
    """Insert spaces or update id and name; returns key → id. Spaces are never removed: activities point at them."""
    by_key = {space.key: space for space in found}
    rows = connection.execute(select(spaces).where(spaces.c.site_id == site_id))
    known = {row.space_key: row for row in rows if row.space_key in by_key}
    for key, row in known.items():
        told = {"external_id": by_key[key].external_id, "name": by_key[key].name}
        changed = {column: value for column, value in told.items() if value is not None and value != getattr(row, column)}
        if changed:
            connection.execute(update(spaces).where(spaces.c.id == row.id).values(changed))
    new = [
        {"site_id": site_id, "space_key": key, "external_id": space.external_id, "name": space.name}
        for key, space in by_key.items()
        if key not in known
    ]
    if new:
        connection.execute(insert(spaces), new)
    rows = connection.execute(select(spaces.c.space_key, spaces.c.id).where(spaces.c.site_id == site_id))
    return {row.space_key: int(row.id) for row in rows if row.space_key in by_key}

"""From the names in activities to the ids of rows: sites, event names, spaces, people. What is missing is made.

Everything is asked anew for every batch, set by set. A memory of ids between batches would be faster by little and wrong after a roll-back,
an erasure, or what another process did. New rows are inserted in sorted order, so that two writers cannot wait for one another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, bindparam, or_, select, update

from uar.activity import Activity, ActorKind
from uar.store.dialects import chunks, insert_into
from uar.store.schema import UNKNOWN_ID, event_names, people, sites, spaces

CLOUD_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
KIND_RANK = {ActorKind.PERSON.value: 0, ActorKind.GUEST.value: 1, ActorKind.APP.value: 2}


@dataclass(slots=True)
class KnownPerson:
    """A row of `people` as far as activities change it; instants in epoch ms, None: never active."""

    id: int
    display_name: str | None
    kind: str
    first_active_at: int | None
    last_active_at: int | None
    last_type: int | None
    is_changed: bool = False

    def meets(self, activity: Activity) -> None:
        """An app is an app from then on, and a first name fills the gap; nothing is taken back."""
        if KIND_RANK[activity.actor_kind.value] > KIND_RANK.get(self.kind, 0):
            self.kind, self.is_changed = activity.actor_kind.value, True
        if activity.display_name and not self.display_name:
            self.display_name, self.is_changed = activity.display_name, True

    def acted(self, at: int, type_code: int) -> None:
        """Widen the span of activity; of two at the same last instant the later type in the fixed order counts."""
        if self.first_active_at is None or at < self.first_active_at:
            self.first_active_at, self.is_changed = at, True
        if self.last_active_at is None or (at, type_code) > (self.last_active_at, self.last_type or 0):
            self.last_active_at, self.last_type, self.is_changed = at, type_code, True


@dataclass(frozen=True, slots=True)
class Names:
    """What the names in a batch stand for."""

    sites: Mapping[str, int]
    events: Mapping[str, int]
    spaces: Mapping[tuple[int, str], int]
    people: Mapping[tuple[int, str], KnownPerson]

    def space_id(self, activity: Activity) -> int:
        """The id of the activity's space, `UNKNOWN_ID` if it names none."""
        return self.spaces[self.sites[activity.site], activity.space_key] if activity.space_key else UNKNOWN_ID

    def person(self, activity: Activity) -> KnownPerson | None:
        """The acting person, None for the unknown one."""
        return self.people[self.sites[activity.site], activity.account] if activity.account else None


def resolve(connection: Connection, activities: Sequence[Activity]) -> Names:
    """The ids of everything that these activities name; what is missing is made."""
    site_ids = {name: ensure_site(connection, name) for name in sorted({activity.site for activity in activities})}
    return Names(
        sites=site_ids,
        events=_event_ids(connection, {activity.event_name for activity in activities}),
        spaces=_space_ids(connection, activities, site_ids),
        people=_known_people(connection, activities, site_ids),
    )


def ensure_site(connection: Connection, name: str) -> int:
    """The id of the site with this name or cloud id; made if there is none."""
    query = select(sites.c.id).where(or_(sites.c.name == name, sites.c.cloud_id == name)).order_by(sites.c.name != name)
    found = connection.scalar(query.limit(1))
    if found is None:
        cloud_id = name if CLOUD_ID.fullmatch(name) else None
        connection.execute(insert_into(connection, sites).values(name=name, cloud_id=cloud_id).on_conflict_do_nothing())
        found = connection.scalar(query.limit(1))
    return int(found or UNKNOWN_ID)


def _event_ids(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    wanted = sorted(set(names))
    found = _find_events(connection, wanted)
    missing = [{"name": name} for name in wanted if name not in found]
    if missing:
        _insert(connection, event_names, missing)
        found = _find_events(connection, wanted)
    return found


def _find_events(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for chunk in chunks(names):
        rows = connection.execute(select(event_names.c.name, event_names.c.id).where(event_names.c.name.in_(chunk)))
        found.update((row.name, row.id) for row in rows)
    return found


def _space_ids(connection: Connection, activities: Sequence[Activity], site_ids: Mapping[str, int]) -> dict[tuple[int, str], int]:
    """Ids by site and key. A name fills only an empty name."""
    named: dict[tuple[int, str], str | None] = {}
    for activity in activities:
        if activity.space_key:
            key = site_ids[activity.site], activity.space_key
            named[key] = named.get(key) or activity.space_name or None
    found = _find_spaces(connection, named)
    missing = [{"site_id": site, "space_key": key, "name": named[site, key]} for site, key in sorted(named) if (site, key) not in found]
    if missing:
        _insert(connection, spaces, missing)
        found = _find_spaces(connection, named)
    nameless = [{"row": row.id, "new_name": named[key]} for key, row in found.items() if not row.name and named[key]]
    if nameless:
        connection.execute(update(spaces).where(spaces.c.id == bindparam("row")).values(name=bindparam("new_name")), nameless)
    return {key: row.id for key, row in found.items()}


def _find_spaces(connection: Connection, wanted: Iterable[tuple[int, str]]) -> dict[tuple[int, str], Any]:
    found: dict[tuple[int, str], Any] = {}
    columns = spaces.c.id, spaces.c.site_id, spaces.c.space_key, spaces.c.name
    for site_id, keys in _by_site(wanted).items():
        for chunk in chunks(keys):
            query = select(*columns).where(spaces.c.site_id == site_id, spaces.c.space_key.in_(chunk))
            found.update(((site_id, row.space_key), row) for row in connection.execute(query))
    return found


def _known_people(
    connection: Connection, activities: Sequence[Activity], site_ids: Mapping[str, int]
) -> dict[tuple[int, str], KnownPerson]:
    first_seen: dict[tuple[int, str], int] = {}
    for activity in activities:
        if activity.account:
            first_seen.setdefault((site_ids[activity.site], activity.account), activity.received_at)
    found = _find_people(connection, first_seen)
    missing = [
        {"site_id": site, "account_id": account, "first_seen_at": first_seen[site, account]}
        for site, account in sorted(first_seen)
        if (site, account) not in found
    ]
    if missing:
        _insert(connection, people, missing)
        found = _find_people(connection, first_seen)
    for activity in activities:
        if activity.account:
            found[site_ids[activity.site], activity.account].meets(activity)
    return found


def _find_people(connection: Connection, wanted: Iterable[tuple[int, str]]) -> dict[tuple[int, str], KnownPerson]:
    found: dict[tuple[int, str], KnownPerson] = {}
    c = people.c
    columns = c.account_id, c.id, c.display_name, c.kind, c.first_active_at, c.last_active_at, c.last_type
    for site_id, accounts in _by_site(wanted).items():
        for chunk in chunks(accounts):
            rows = connection.execute(select(*columns).where(c.site_id == site_id, c.account_id.in_(chunk)))
            found.update(((site_id, row[0]), KnownPerson(*row[1:])) for row in rows)
    return found


def save_people(connection: Connection, known: Iterable[KnownPerson]) -> None:
    """Write what changed in name, kind and span of activity."""
    changed = [
        {
            "row": person.id,
            "name": person.display_name,
            "new_kind": person.kind,
            "first_at": person.first_active_at,
            "last_at": person.last_active_at,
            "last": person.last_type,
        }
        for person in sorted(known, key=lambda person: person.id)
        if person.is_changed
    ]
    if changed:
        connection.execute(_SAVE_PERSON, changed)


_SAVE_PERSON = (
    update(people)
    .where(people.c.id == bindparam("row"))
    .values(
        display_name=bindparam("name"),
        kind=bindparam("new_kind"),
        first_active_at=bindparam("first_at"),
        last_active_at=bindparam("last_at"),
        last_type=bindparam("last"),
    )
)


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    connection.execute(insert_into(connection, table).on_conflict_do_nothing(), rows)


def _by_site(wanted: Iterable[tuple[int, str]]) -> dict[int, list[str]]:
    grouped: dict[int, list[str]] = {}
    for site_id, name in wanted:
        grouped.setdefault(site_id, []).append(name)
    return grouped

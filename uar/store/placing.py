"""Which space a content belongs to, for sources that tell the content only (Data Center webhooks, access logs), and where it is missing.

unplaced_activities  rows with a content and no space
known_contents       the cache of look-ups; space 0: looked up too late, nobody can tell any more
place_activities     gives rows the space of their content
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, or_, select, update
from sqlalchemy import bindparam as bound

from uar.store.dialects import chunks
from uar.store.schema import UNKNOWN_ID, activities, contents


@dataclass(frozen=True, slots=True)
class Unplaced:
    """An activity whose source named the content but not the space."""

    id: int
    person_id: int
    content_id: str


def unplaced_activities(connection: Connection, site_id: int, after_id: int, limit: int) -> tuple[list[Unplaced], int]:
    """Activities with an id above `after_id` that have a content and no space, at most `limit`; and the id up to which all were seen.

    Walks along the ids, a stretch at a time, because no index knows the space: with nothing new it costs next to nothing.
    """
    newest = int(connection.scalar(select(func.max(activities.c.id)).where(activities.c.site_id == site_id)) or 0)
    query = (
        select(activities.c.id, activities.c.person_id, activities.c.content_id)
        .where(activities.c.site_id == site_id, activities.c.id > after_id, activities.c.id <= newest)
        .where(activities.c.space_id == UNKNOWN_ID, activities.c.content_id.is_not(None))
        .order_by(activities.c.id)
        .limit(limit)
    )
    found = [Unplaced(int(row.id), int(row.person_id), row.content_id) for row in connection.execute(query)]
    return found, found[-1].id if len(found) == limit else newest


def known_contents(connection: Connection, site_id: int, content_ids: Iterable[str], misses_since: int) -> dict[str, int]:
    """Content id → space id for contents that were looked up before; 0: looked up too late, the space stays unknown.

    A miss older than `misses_since` (epoch ms) is left out: the right to see the page may have been missing then.
    """
    found: dict[str, int] = {}
    for chunk in chunks(sorted(set(content_ids))):
        rows = connection.execute(
            select(contents.c.content_id, contents.c.space_id)
            .where(contents.c.site_id == site_id, contents.c.content_id.in_(chunk))
            .where(or_(contents.c.space_id != UNKNOWN_ID, contents.c.looked_up_at >= misses_since))
        )
        found |= {row.content_id: int(row.space_id) for row in rows}
    return found


def save_content(connection: Connection, site_id: int, content_id: str, space_id: int, at: int) -> None:
    """Remember where a content belongs (0: nobody can tell any more)."""
    at_content = (contents.c.site_id == site_id, contents.c.content_id == content_id)
    values = {"space_id": space_id, "looked_up_at": at}
    if not connection.execute(update(contents).where(*at_content).values(values)).rowcount:
        connection.execute(insert(contents).values(site_id=site_id, content_id=content_id, **values))


def place_activities(connection: Connection, found: Sequence[Unplaced], spaces_of: Mapping[str, int]) -> int:
    """Give activities the space of their content where it is known; returns how many rows changed."""
    placed = [
        {"b_id": row.id, "b_person": row.person_id, "b_space": space_id}
        for row in found
        if (space_id := spaces_of.get(row.content_id, UNKNOWN_ID)) != UNKNOWN_ID
    ]
    if placed:
        row = (activities.c.person_id == bound("b_person"), activities.c.id == bound("b_id"))
        connection.execute(update(activities).where(*row).values(space_id=bound("b_space")), placed)
    return len(placed)

"""How far each site's directory sync is, and how the last try ended; kept in `meta`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, insert, select, update

from uar.store.schema import meta

SYNC, PLACING, ATTEMPT = "directory:", "placing:", "directory_attempt:"


@dataclass
class SyncState:
    """How far a site's sync is, kept in `meta`. Instants are epoch ms, 0: never.

    `started_at` is the run that is under way or was interrupted (0: none); `done` the steps it need not repeat, `next_query` the page of
    the list of people at which it goes on. `completed_at` is the end of the last complete run.
    """

    started_at: int = 0
    done: list[str] = field(default_factory=list)
    next_query: dict[str, str | int] | None = None
    completed_at: int = 0


@dataclass
class PlacingState:
    """How far a site's activities have been looked at for a missing space. By itself, as a sync may run at the same time elsewhere.

    `bumped_at` (epoch ms) is when the generation last grew because activities got their space, `is_bump_due` whether some did since.
    """

    placed_id: int = 0
    bumped_at: int = 0
    is_bump_due: bool = False


def read_state(connection: Connection, site_id: int) -> SyncState:
    """The state of the site's sync; a fresh one if there is none."""
    text = connection.scalar(select(meta.c.value).where(meta.c.name == f"{SYNC}{site_id}"))
    return SyncState(**json.loads(text)) if text else SyncState()


def save_state(connection: Connection, site_id: int, state: SyncState) -> None:
    """Keep the state of the site's sync."""
    set_meta(connection, f"{SYNC}{site_id}", json.dumps(vars(state)))


def read_placing(connection: Connection, site_id: int) -> PlacingState:
    """The state of the site's look-ups of spaces; a fresh one if there is none."""
    text = connection.scalar(select(meta.c.value).where(meta.c.name == f"{PLACING}{site_id}"))
    return PlacingState(**json.loads(text)) if text else PlacingState()


def save_placing(connection: Connection, site_id: int, state: PlacingState) -> None:
    """Keep the state of the site's look-ups of spaces."""
    set_meta(connection, f"{PLACING}{site_id}", json.dumps(vars(state)))


def forget_states(connection: Connection, *site_ids: int) -> None:
    """Start afresh with sites whose rows were moved."""
    names = [f"{prefix}{site_id}" for prefix in (SYNC, PLACING) for site_id in site_ids]
    connection.execute(delete(meta).where(meta.c.name.in_(names)))


def set_meta(connection: Connection, name: str, value: str) -> None:
    """Set one value of `meta`."""
    if not connection.execute(update(meta).where(meta.c.name == name).values(value=value)).rowcount:
        connection.execute(insert(meta).values(name=name, value=value))


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last try to sync a configured site: when (epoch ms), and the sentence it ended with if it failed."""

    site: str
    at: int
    error: str | None


def note_attempt(connection: Connection, site: str, at: int, error: str | None) -> None:
    """Keep how the last sync of a configured site ended. By the site's name, as a site that never answered has no row yet."""
    set_meta(connection, f"{ATTEMPT}{site}", json.dumps({"at": at, "error": error}))


def attempts(connection: Connection) -> list[Attempt]:
    """The last try of each site, for the pages, `doctor` and the worker's own schedule."""
    rows = connection.execute(
        select(meta.c.name, meta.c.value).where(meta.c.name.startswith(ATTEMPT, autoescape=True)).order_by(meta.c.name)
    )
    return [Attempt(row.name.removeprefix(ATTEMPT), **json.loads(row.value)) for row in rows]

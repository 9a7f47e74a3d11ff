"""What events leave open, asked one by one: who an unknown account is, and in which space a content lies (Data Center sends ids only).

    resolve_unknown   accounts seen in events that have no name yet
    place_contents    activities with a content and no space

Both are cheap when there is nothing to ask, and ask no question twice: an account or content that Confluence does not know any more is
remembered as such.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from uar.activity import DAY_MS
from uar.config import Settings
from uar.confluence.client import Client
from uar.confluence.datacenter import DataCenterDirectory
from uar.confluence.directory import Now, directory_of, now_ms
from uar.confluence.errors import RightMissing
from uar.store import directory as store
from uar.store.database import Engine, read_transaction, write_transaction
from uar.store.placing import Unplaced, known_contents, place_activities, save_content, unplaced_activities
from uar.store.schema import UNKNOWN_ID
from uar.store.sync_state import read_placing, save_placing
from uar.store.writes import bump_generation

logger = logging.getLogger(__name__)

ACCOUNTS = 500  # in one round; the rest waits for the next
STRETCH = 1_000  # activities looked at together
ASK_AGAIN_MS = 7 * DAY_MS  # for a content that was not found
BUMP_EVERY_MS = 3_600_000  # a reload of every mirror is worth it at most once an hour


def resolve_unknown(settings: Settings, engine: Engine, now: Now = now_ms, **options: Any) -> int:
    """Look up accounts that only events have named, on every configured site; returns how many got a name. Raises `ConfluenceError`."""
    return sum(resolve_accounts(Client.for_site(settings, site, **options), engine, now) for site in with_credentials(settings))


def resolve_accounts(client: Client, engine: Engine, now: Now = now_ms) -> int:
    """The same for one site, by whatever client reaches it (a Forge token does)."""
    with read_transaction(engine) as connection:
        site_id = store.site_id_of(connection, client.site)
        accounts = [] if site_id is None else store.unnamed_accounts(connection, site_id, ACCOUNTS)
    if site_id is None or not accounts:
        return 0
    found = directory_of(client).look_up(accounts)
    with write_transaction(engine) as connection:
        saved = store.save_people(connection, site_id, found, now())
    logger.info("Site %s: %d of %d accounts seen in events were found.", client.site, saved.changed, len(accounts))
    return saved.changed


def place_contents(settings: Settings, engine: Engine, now: Now = now_ms, **options: Any) -> int:
    """Find the spaces of contents on every configured Data Center; returns how many activities got one. Raises `ConfluenceError`.

    Cloud sources tell the space themselves.
    """
    clients = [Client.for_site(settings, site, **options) for site in with_credentials(settings)]
    return sum(Placing(client, engine, now).run() for client in clients if not client.is_cloud)


def with_credentials(settings: Settings) -> list[str]:
    """The configured sites that can be asked."""
    return [site for site in settings.confluence_urls if site in settings.confluence_credentials]


class Placing:
    """One round over the activities of one site that arrived since the last round."""

    def __init__(self, client: Client, engine: Engine, now: Now = now_ms) -> None:
        self.client = client
        self.engine = engine
        self.now = now
        self.directory = DataCenterDirectory(client)

    def run(self, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """Place everything that is new; a stretch is noted as done once all its look-ups are answered."""
        with read_transaction(self.engine) as connection:
            site_id = store.site_id_of(connection, self.client.site)
        total = 0
        while site_id is not None and not is_stopping():
            with read_transaction(self.engine) as connection:
                after_id = read_placing(connection, site_id).placed_id
                found, seen_id = unplaced_activities(connection, site_id, after_id, STRETCH)
            if seen_id == after_id:
                break
            total += self._place(site_id, found, seen_id)
        if site_id is not None:
            self._tell_mirrors(site_id)
        return total

    def _place(self, site_id: int, found: list[Unplaced], seen_id: int) -> int:
        content_ids = {row.content_id for row in found}
        with read_transaction(self.engine) as connection:
            known = known_contents(connection, site_id, content_ids, self.now() - ASK_AGAIN_MS)
        for content_id in sorted(content_ids - known.keys()):
            try:
                known[content_id] = self._look_up(site_id, content_id)
            except RightMissing:
                known[content_id] = UNKNOWN_ID  # not remembered: the right may be given tomorrow
        with write_transaction(self.engine) as connection:
            placed = place_activities(connection, found, known)
            state = read_placing(connection, site_id)
            state.placed_id = seen_id
            state.is_bump_due = state.is_bump_due or placed > 0
            save_placing(connection, site_id, state)
        return placed

    def _look_up(self, site_id: int, content_id: str) -> int:
        space = self.directory.space_of_content(content_id)
        with write_transaction(self.engine) as connection:
            space_id = UNKNOWN_ID if space is None else store.save_spaces(connection, site_id, [space])[space.key]
            save_content(connection, site_id, content_id, space_id, self.now())
        return space_id

    def _tell_mirrors(self, site_id: int) -> None:
        at = self.now()
        with read_transaction(self.engine) as connection:
            state = read_placing(connection, site_id)
        if not state.is_bump_due or at - state.bumped_at < BUMP_EVERY_MS:
            return
        with write_transaction(self.engine) as connection:
            state = read_placing(connection, site_id)
            state.is_bump_due, state.bumped_at = False, at
            save_placing(connection, site_id, state)
            bump_generation(connection)

"""The directory sync: people, groups, memberships and spaces of a site, from Confluence into the store.

    sync -> each configured site: SiteSync.run
        claim     the site's row; a Cloud site known to Forge by its cloud id becomes one with it
        spaces    -> groups -> members of each group -> list of all people -> accounts known from events only
        conclude  what a complete run may say: who is not listed any more, which groups are gone

Every step is committed by itself and noted in the state (`meta`), so an interrupted run goes on where it was, and one that fails leaves
behind only what is true. Doing it again changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from uar.config import Settings
from uar.confluence.client import Client
from uar.confluence.cloud import CloudDirectory
from uar.confluence.datacenter import DataCenterDirectory
from uar.confluence.errors import ConfluenceError, NotConfigured, NotFound, Stopping
from uar.confluence.records import Directory
from uar.store import directory as store
from uar.store.database import Connection, Engine, read_transaction, write_transaction
from uar.store.directory import ACTIVE, DELETED, Group, Person
from uar.store.sync_state import SyncState, note_attempt, read_placing, read_state, save_placing, save_state
from uar.store.writes import bump_generation, ensure_site

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Now = Callable[[], int]
Connect = Callable[[], Client]
RESUME_WITHIN_MS = 12 * 3_600_000  # an older half is worth less than a fresh start
LOOK_UP = 100
SAVE_EVERY_S = 1.0


@dataclass(frozen=True)
class SyncResult:
    """What one site's sync found. `error` is one sentence if it did not complete; the numbers then say how far it came."""

    site: str
    people: int = 0
    groups: int = 0
    memberships: int = 0
    spaces: int = 0
    deactivated: int = 0
    is_resumed: bool = False
    is_merged: bool = False
    error: str | None = None


def now_ms() -> int:
    """This instant as epoch milliseconds."""
    return int(time.time() * 1000)


def sync(
    settings: Settings, engine: Engine, site: str | None = None, progress: Progress | None = None, now: Now = now_ms, **options: Any
) -> list[SyncResult]:
    """Sync one configured site, or all; one that fails does not keep the others from it.

    `options` go to the `Client` (`patience`, `sleep`). Raises `NotConfigured` if there is nothing to sync, and the store's exceptions.
    """
    return [sync_site(settings, engine, name, progress, now, **options) for name in configured_sites(settings, site)]


def configured_sites(settings: Settings, site: str | None = None) -> list[str]:
    """The sites to sync; raises `NotConfigured` if `site` is none of them, or if there are none at all."""
    if not settings.confluence_urls:
        raise NotConfigured("No Confluence site is configured: set UAR_CONFLUENCE_URLS (site=https://…) and UAR_CONFLUENCE_CREDENTIALS.")
    if site is not None and site not in settings.confluence_urls:
        known = ", ".join(sorted(settings.confluence_urls))
        raise NotConfigured(f"Site {site} is not in UAR_CONFLUENCE_URLS; configured: {known}.")
    return [site] if site is not None else list(settings.confluence_urls)


def sync_site(
    settings: Settings, engine: Engine, site: str, progress: Progress | None = None, now: Now = now_ms, **options: Any
) -> SyncResult:
    """Sync one configured site; what Confluence does wrong ends as `error`. Raises `Stopping` if `progress` or `sleep` does."""
    return sync_by(lambda: Client.for_site(settings, site, **options), engine, site, progress, now)


def sync_by(connect: Connect, engine: Engine, site: str, progress: Progress | None = None, now: Now = now_ms) -> SyncResult:
    """The same by whatever client `connect` makes (a Forge token's); the try is noted under the name `site`."""
    result = SyncResult(site)
    try:
        run = SiteSync(connect(), engine, progress or _nothing, now)
        try:
            run.run()
        finally:
            result = run.result()
    except Stopping:
        with write_transaction(engine) as connection:
            note_attempt(connection, site, 0, None)  # the next start goes on at once
        raise
    except ConfluenceError as error:
        with write_transaction(engine) as connection:
            note_attempt(connection, site, now(), str(error))
        return SyncResult(**{**vars(result), "error": str(error)})
    with write_transaction(engine) as connection:
        note_attempt(connection, site, now(), None)
    return result


def directory_of(client: Client) -> Directory:
    """How the client's product tells its directory."""
    return CloudDirectory(client) if client.is_cloud else DataCenterDirectory(client)


def _nothing(done: int, total: int) -> None:
    """Nobody watches."""


@dataclass
class SiteSync:
    """One run over one site."""

    client: Client
    engine: Engine
    progress: Progress
    now: Now
    site_id: int = 0
    state: SyncState = field(default_factory=SyncState)
    group_ids: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)  # accounts whose record this process has saved
    is_resumed: bool = False
    is_merged: bool = False
    invited: set[str] = field(default_factory=set)
    saved_at: float = 0.0  # monotonic clock
    counts: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """The whole run; raises `ConfluenceError` where Confluence does not play along."""
        self.directory = directory_of(self.client)
        self._claim()
        try:
            self._read()
        except (ConfluenceError, KeyboardInterrupt):
            self._save_state(every_s=0)
            raise

    def _read(self) -> None:
        self.progress(0, 1)
        self._spaces()
        groups = self._groups()
        total = len(groups) + 4
        for done, group in enumerate(groups, start=2):
            self.progress(done, total)
            self._step(f"group:{group.external_id}", partial(self._members, group))
        self._refuse_without_members(groups)
        self.progress(total - 2, total)
        self._step("people", self._people)
        self.progress(total - 1, total)
        self._step("events", self._people_of_events)
        self._conclude(groups)
        self.progress(total, total)

    def result(self) -> SyncResult:
        """What the run has found so far."""
        return SyncResult(
            self.client.site,
            people=self.counts.get("people", 0),
            groups=len(self.group_ids),
            memberships=self.counts.get("memberships", 0),
            spaces=self.counts.get("spaces", 0),
            deactivated=self.counts.get("deactivated", 0),
            is_resumed=self.is_resumed,
            is_merged=self.is_merged,
        )

    def _claim(self) -> None:
        cloud_id = self.client.tenant_cloud_id()
        at = self.now()
        with write_transaction(self.engine) as connection:
            self.site_id, self.is_merged = self._site(connection, cloud_id)
            if self.is_merged:
                bump_generation(connection)
            self.state = read_state(connection, self.site_id)
            self.is_resumed = 0 < at - self.state.started_at <= RESUME_WITHIN_MS
            if not self.is_resumed:
                self.state.started_at, self.state.done, self.state.next_query = at, [], None
            save_state(connection, self.site_id, self.state)
            self.invited = store.invited_accounts(connection, self.site_id)
        logger.info("Directory sync of site %s %s.", self.client.site, "goes on" if self.is_resumed else "started")

    def _site(self, connection: Connection, cloud_id: str | None) -> tuple[int, bool]:
        """The site's row, and whether two became one for it. A Forge app knows no name or address for people, and changes none."""
        if self.client.is_forge:
            return ensure_site(connection, self.client.site), False
        return store.claim_site(connection, self.client.site, cloud_id, self.client.base_url)

    def _step(self, name: str, act: Callable[[], None]) -> None:
        """Do one step, unless an earlier, interrupted run has done it."""
        if name in self.state.done:
            return
        act()
        self.state.done.append(name)
        self._save_state()

    def _save_state(self, every_s: float = SAVE_EVERY_S) -> None:
        """Keep how far the run is; not after each of thousands of groups, as repeating a second's work is cheaper."""
        if time.monotonic() - self.saved_at < every_s:
            return
        self.saved_at = time.monotonic()
        with write_transaction(self.engine) as connection:
            save_state(connection, self.site_id, self.state)

    def _spaces(self) -> None:
        found = [space for page in self.directory.spaces() for space in page]
        with write_transaction(self.engine) as connection:
            self.counts["spaces"] = len(store.save_spaces(connection, self.site_id, found))

    def _groups(self) -> list[Group]:
        found = [group for page in self.directory.groups() for group in page]
        with write_transaction(self.engine) as connection:
            self.group_ids = store.save_groups(connection, self.site_id, found)
        return list({group.external_id: group for group in found}.values())

    def _members(self, group: Group) -> None:
        """Read a group to its end, then make its members the ones in the store."""
        ids: set[int] = set()
        try:
            for page in self.directory.members(group):
                ids |= set(self._save(page).values())
        except NotFound:
            self.counts["lost"] = self.counts.get("lost", 0) + 1  # removed since the groups were listed
            return
        with write_transaction(self.engine) as connection:
            store.save_members(connection, self.group_ids[group.external_id], ids)

    def _refuse_without_members(self, groups: Sequence[Group]) -> None:
        if groups and self.counts.get("lost", 0) == len(groups):
            raise NotFound(
                f"Confluence site {self.client.site} lists groups but knows the members of none (404): check that the address in "
                "UAR_CONFLUENCE_URLS and the form of the credentials (email:token for Cloud, token for Data Center) fit the product."
            )

    def _people(self) -> None:
        for page in self.directory.people(self.state.next_query):
            self._save(page.people)
            self.state.next_query = page.next_query
            self._save_state()
        self.state.next_query = None

    def _save(self, found: Sequence[Person]) -> dict[str, int]:
        """Save a page of listed people; returns their ids. Whom this run has saved before is only marked as listed."""
        new = self.directory.with_states([person for person in _once_each(found) if person.account not in self.seen])
        again = [Person(person.account, is_licensed=False) for person in _once_each(found) if person.account in self.seen]
        with write_transaction(self.engine) as connection:
            records = [person.with_state(None) if person.state == ACTIVE and person.account in self.invited else person for person in new]
            saved = store.save_people(connection, self.site_id, [*records, *again], self.now(), listed_at=self.state.started_at)
        self.seen |= {person.account for person in new}
        return saved.ids

    def _people_of_events(self) -> None:
        """Refresh accounts that no list names, as of customers, apps and people who left before the first sync."""
        with read_transaction(self.engine) as connection:
            accounts = store.accounts_of_events(connection, self.site_id)
        for start in range(0, len(accounts), LOOK_UP):
            found = self.directory.look_up(accounts[start : start + LOOK_UP])
            with write_transaction(self.engine) as connection:
                store.save_people(connection, self.site_id, found, self.now())

    def _conclude(self, groups: Sequence[Group]) -> None:
        """Say what only a complete run can know, and close it."""
        closed = self._look_again(groups)
        at = self.now()
        with write_transaction(self.engine) as connection:
            store.save_people(connection, self.site_id, closed, at)
            self.counts["deactivated"] = store.deactivate_unlisted(connection, self.site_id, self.state.started_at) + len(closed)
            store.remove_other_groups(connection, self.site_id, self.group_ids.values())
            self.counts["memberships"] = store.membership_count(connection, self.site_id)
            self.counts["people"] = store.listed_count(connection, self.site_id, self.state.started_at)
            placing = read_placing(connection, self.site_id)
            if placing.is_bump_due:
                bump_generation(connection)
                placing.is_bump_due, placing.bumped_at = False, at
                save_placing(connection, self.site_id, placing)
            self.state.started_at, self.state.done, self.state.next_query, self.state.completed_at = 0, [], None, at
            save_state(connection, self.site_id, self.state)
        logger.info(
            "Directory sync of site %s is complete: %d people, %d groups, %d spaces.",
            self.client.site,
            self.counts["people"],
            len(self.group_ids),
            self.counts["spaces"],
        )

    def _look_again(self, groups: Sequence[Group]) -> list[Person]:
        """Read the lists once more if somebody seems to be gone; returns those whose accounts are closed.

        A list is read page by page while it changes: when a record before the page goes, the next one slips between two pages unseen.
        """
        if not self._missing():
            return []
        for group in groups:
            self._step(f"again:{group.external_id}", partial(self._members, group))
        for page in self.directory.people(None):
            self._save(page.people)
        missing = sorted(self._missing())
        found = [person for start in range(0, len(missing), LOOK_UP) for person in self.directory.look_up(missing[start : start + LOOK_UP])]
        return [person for person in found if person.state == DELETED]

    def _missing(self) -> set[str]:
        with read_transaction(self.engine) as connection:
            return store.unlisted_people(connection, self.site_id, self.state.started_at)


def _once_each(found: Sequence[Person]) -> list[Person]:
    return list({person.account: person for person in found}.values())

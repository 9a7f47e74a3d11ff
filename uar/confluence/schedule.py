"""The worker's own look-ups: a complete sync of each site every 24 hours, unknown accounts and contents within a minute.

A configured site is asked with its credentials, any other Cloud site with the token that its Forge app's deliveries bring.
Everything runs in one thread beside the capture of deliveries, which never waits for it. What goes wrong is one line in the log (without
names) and is tried again later.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from uar.activity import DAY_MS
from uar.app_tokens import AppTokens
from uar.config import Secret, Settings
from uar.confluence.client import Client
from uar.confluence.directory import Connect, Now, now_ms, sync_by
from uar.confluence.errors import ConfluenceError, Stopping
from uar.confluence.lookups import Placing, resolve_accounts, with_credentials
from uar.store import directory as store
from uar.store.database import Connection, Engine, StoreError, StoreUnavailable, open_store, read_transaction, write_transaction
from uar.store.sync_state import attempts, note_attempt, read_state

logger = logging.getLogger(__name__)

ROUND_S = 60.0
RETRY_MS = 3_600_000  # after a sync that failed; also how long a sync of another worker is left alone
STOP_WITHIN_S = 0.5


@dataclass(frozen=True)
class Due:
    """Whether a site's complete sync should run now."""

    completed_at: int
    attempted_at: int

    def is_due(self, at: int) -> bool:
        """A day after the last complete one, an hour after a try that failed."""
        return at - self.completed_at >= DAY_MS and at - self.attempted_at >= RETRY_MS


class DirectoryThread:
    """Runs until `stop`. Does nothing where no site has an address and credentials, and no Forge app delivers.

    Without an engine it opens the store of the settings itself, as soon as that can be opened; whoever drains the spool makes the tables.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine | None = None,
        now: Now = now_ms,
        round_s: float = ROUND_S,
        app_tokens: AppTokens | None = None,
    ) -> None:
        self.settings = settings
        self._engine = engine
        self.now = now
        self.round_s = round_s
        self.app_tokens = app_tokens or AppTokens()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="directory", daemon=True)
        self._failures: dict[str, str] = {}

    def start(self) -> None:
        """Start, if there is a site to ask, or a Forge app that may name one."""
        if with_credentials(self.settings) or self.settings.forge_app_id:
            self._thread.start()

    def stop(self, timeout_s: float = STOP_WITHIN_S) -> None:
        """Ask to end and wait a little; a call that hangs is left to the end of the process, and the next start goes on from the state."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def engine(self) -> Engine:
        """The store. Raises `StoreUnavailable` or `StoreError`."""
        if self._engine is None:
            self._engine = open_store(self.settings.database_url.reveal())
        return self._engine

    def round(self) -> None:
        """One look at every site: a complete sync if it is due, else what events have left open."""
        looks: list[tuple[str, Callable[[], None]]] = [
            (site, partial(self._look_at_configured, site)) for site in with_credentials(self.settings)
        ]
        # Second, as the sync of a configured site tells its cloud id.
        looks += [(name, partial(self._look_at_forge, name, token)) for name, token in self.app_tokens.usable(self.now()).items()]
        for site, look in looks:
            if self._stopping.is_set():
                return
            try:
                look()
            except Stopping:
                return
            except (ConfluenceError, StoreUnavailable, StoreError) as error:
                self._say(site, str(error))

    def _look_at_configured(self, site: str) -> None:
        self._look_at(site, partial(Client.for_site, self.settings, site, sleep=self._pause))

    def _look_at_forge(self, cloud_id: str, token: Secret) -> None:
        """The site of a Forge app's delivery, unless the settings have credentials for it."""
        with read_transaction(self.engine) as connection:
            site = store.site_name_of(connection, cloud_id) or cloud_id
        if site not in with_credentials(self.settings):
            self._look_at(site, partial(Client.for_forge, cloud_id, token, sleep=self._pause))

    def _look_at(self, site: str, connect: Connect) -> None:
        if self._claim(site):
            result = sync_by(connect, self.engine, site, self._progress, self.now)
            if result.error is not None:
                self._say(site, result.error)
                return
        client = connect()
        resolve_accounts(client, self.engine, self.now)
        if not client.is_cloud:
            Placing(client, self.engine, self.now).run(self._stopping.is_set)
        self._failures.pop(site, None)

    def _claim(self, site: str) -> bool:
        """Whether this worker should sync the site now; says so to others in the same transaction."""
        at = self.now()
        with read_transaction(self.engine) as connection:
            if not self._due(connection, site).is_due(at):
                return False
        with write_transaction(self.engine) as connection:
            if not self._due(connection, site).is_due(at):
                return False
            note_attempt(connection, site, at, None)
            return True

    def _due(self, connection: Connection, site: str) -> Due:
        site_id = store.site_id_of(connection, site)
        completed_at = 0 if site_id is None else read_state(connection, site_id).completed_at
        return Due(completed_at, max((attempt.at for attempt in attempts(connection) if attempt.site == site), default=0))

    def _say(self, site: str, sentence: str) -> None:
        """Log a failure once, not every minute."""
        if self._failures.get(site) != sentence:
            logger.warning("Directory of site %s: %s", site, sentence)
        self._failures[site] = sentence

    def _progress(self, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise Stopping("The worker stops.")

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Stopping("The worker stops.")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.round()
            except Exception as error:  # noqa: BLE001 - the thread must outlive what nobody thought of
                place = traceback.extract_tb(error.__traceback__)[-1]  # the message might hold values, so it is not logged
                logger.error("Directory look-ups failed (%s in %s:%s) and go on later.", type(error).__name__, place.name, place.lineno)
            self._stopping.wait(self.round_s)

"""The live mirror of one site: what the dashboard and the command line ask, kept up with the store.

    refresh: generation changed? ─ yes ─▶ read everything again
                 │ no
                 ▼
             pruned? ─ yes ─▶ drop what is older
                 │
                 ▼
             rows newer than the last one ─▶ grow the mirror ─▶ Snapshot (immutable, shared by all viewers)

One refresh runs at a time; whoever asks meanwhile gets the snapshot that stands. A cache on disk makes restarts fast.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from threading import Lock, Thread

import numpy as np
import pandas as pd

from uar.activity import ActorKind
from uar.mirror_cache import State, drop_cache, load_cache, save_cache
from uar.report.blocks import TYPES
from uar.report.coverage import Gap, gaps
from uar.report.mirror import QUARTER_MS, Mirror
from uar.report.status import local_date
from uar.report.walk import prepare
from uar.store.database import Connection, Engine, read_transaction
from uar.store.reads import activity_columns, coverage, generation, people, spaces
from uar.store.retention import kept_from

TAIL_IDS = 1_000  # so many of the last ids are compared before a cache is believed, more if they hold fewer than ENOUGH_ROWS
ENOUGH_ROWS = 100
IDS_PER_STEP = 20_000_000
CACHE_FROM = 100_000  # activities; fewer are read in no time
CACHE_GROWTH = 0.05  # the cache is written again once the mirror has grown by this share
SLOW_READ_S = 0.05
REST = 20  # people are read again only after so many times as long as reading them took, if that is slow


@dataclass(frozen=True)
class Snapshot:
    """One site at one instant. `people` and `spaces` are the store's tables; `app_ids` the people who are apps.

    `people` is the same object as in the snapshot before if nothing in it has changed.

    Instants in epoch milliseconds: `data_at` when this was read, `last_received_at` when the newest activity arrived, `recorded_from_ms`
    when recording began (anybody's first activity, pruned or not); None if nothing was ever recorded. The mirror holds what occurred from
    `kept_from_ms` on, 0 for everything. `gaps` are the times without a worker.
    """

    mirror: Mirror
    people: pd.DataFrame
    spaces: pd.DataFrame
    app_ids: frozenset[int]
    generation: int
    data_at: int
    last_received_at: int | None
    recorded_from_ms: int | None
    gaps: tuple[Gap, ...] = ()
    kept_from_ms: int = 0

    @property
    def known_from_ms(self) -> int | None:
        """From when on a day without activities was a quiet one: recording had begun, and nothing was pruned since."""
        return None if self.recorded_from_ms is None else max(self.recorded_from_ms, self.kept_from_ms)

    def known_from(self, zone: str) -> date | None:
        """The local date in `zone` of `known_from_ms`; if days before it were pruned, the first one of which nothing was."""
        if self.known_from_ms is None:
            return None
        return local_date(self.known_from_ms - 1, zone) + timedelta(days=1) if self.is_pruned else local_date(self.known_from_ms, zone)

    @property
    def is_pruned(self) -> bool:
        """Whether days that were recorded are not kept any more."""
        return self.recorded_from_ms is not None and self.recorded_from_ms < self.kept_from_ms

    @property
    def is_blank(self) -> bool:
        """Nobody ever did anything here, as far as we know."""
        return not self.mirror.activities and bool(self.people["first_active_at"].isna().all())

    @property
    def version(self) -> Hashable:
        """Another one whenever the mirror holds something else."""
        return self.generation, self.kept_from_ms, self.mirror.activities


@dataclass(frozen=True)
class _Loaded:
    mirror: Mirror
    state: State


class LiveMirror:
    """Keeps one site's mirror up to date; for any number of threads.

    `since` (epoch milliseconds) leaves out what happened before it, to the quarter of an hour, as pruning does. `cache_dir` may be None: no
    cache.
    """

    def __init__(
        self,
        engine: Engine,
        site_id: int,
        since: int,
        cache_dir: Path | None,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        cache_from: int = CACHE_FROM,
    ) -> None:
        self._engine, self._site_id, self._now, self._cache_from = engine, site_id, now, cache_from
        self._asked_since = self._since = since
        self._path = None if cache_dir is None else cache_dir / f"mirror-{site_id}.cache"
        self._refreshing = Lock()
        self._snapshot: Snapshot | None = None
        self._former: Snapshot | None = None
        self._loaded: _Loaded | None = None
        self._saved_activities = 0
        self._saving: Thread | None = None
        self._people_read = (0.0, 0.0)  # when (monotonic clock), and how long it took

    @property
    def snapshot(self) -> Snapshot | None:
        """The last snapshot, without asking the store; None before the first refresh."""
        return self._snapshot

    @property
    def former(self) -> Snapshot | None:
        """The snapshot before the last one; None if there is none, or if something it shows was erased or pruned since."""
        former, standing = self._former, self._snapshot
        if former is None or standing is None:
            return None
        return former if (former.generation, former.kept_from_ms) == (standing.generation, standing.kept_from_ms) else None

    def refresh(self, since: int | None = None) -> Snapshot:
        """A snapshot with everything that is in the store now, or the last one if a refresh is under way in another thread.

        A later `since` than before prunes, an earlier one reads again. Raises `StoreUnavailable` or `StoreError`.
        """
        standing = self._snapshot
        if not self._refreshing.acquire(blocking=standing is None):
            return standing or self.refresh(since)
        try:
            if since is not None:
                self._asked_since = since
            newest = self._read()
            self._former, self._snapshot = standing, newest
            return newest
        finally:
            self._refreshing.release()

    def close(self) -> None:
        """Wait until a cache that is being written is whole."""
        if self._saving is not None:
            self._saving.join()

    def _read(self) -> Snapshot:
        with read_transaction(self._engine) as connection:
            current = generation(connection)
            self._since = max(self._asked_since, kept_from(connection)) // QUARTER_MS * QUARTER_MS
            loaded = self._usable(connection, current)
            loaded = self._grown(connection, loaded) if loaded else self._from_store(connection, current)
            if self._loaded is None or (self._loaded.state.generation, self._loaded.state.since) != (current, self._since):
                prepare(loaded.mirror)
            snapshot = self._describe(connection, loaded)
            self._keep(connection, loaded)
        self._loaded = loaded
        return snapshot

    def _usable(self, connection: Connection, current: int) -> _Loaded | None:
        """What is in memory or else in the cache, if it can be grown to what the store holds now."""
        loaded = self._loaded or self._from_cache(connection)
        if loaded is None or loaded.state.generation != current or loaded.state.since > self._since:
            return None
        if loaded.state.since < self._since:
            mirror = loaded.mirror.since(self._since // QUARTER_MS)
            return _Loaded(mirror, replace(loaded.state, since=self._since))
        return loaded

    def _grown(self, connection: Connection, loaded: _Loaded) -> _Loaded:
        """Everything newer, a step at a time, as what is read takes more memory than what the mirror makes of it."""
        while True:
            after, before = loaded.state.last_id, loaded.state.last_received_at
            rows = activity_columns(connection, self._site_id, after, self._since, IDS_PER_STEP)
            received_at = max((at for at in (before, rows.last_received_at) if at is not None), default=None)
            mirror = loaded.mirror.grown(rows.person, rows.quarter, rows.type, rows.space)
            loaded = _Loaded(mirror, replace(loaded.state, last_id=rows.last_id, last_received_at=received_at))
            if rows.last_id < after + IDS_PER_STEP:
                return loaded

    def _from_store(self, connection: Connection, current: int) -> _Loaded:
        if self._path is not None:
            drop_cache(self._path)  # it belongs to rows that were erased, or to another store
            self._saved_activities = 0
        nothing = State(_store_name(self._engine), self._site_id, current, self._since, last_id=0, last_received_at=None)
        return self._grown(connection, _Loaded(Mirror.empty(), nothing))

    def _from_cache(self, connection: Connection) -> _Loaded | None:
        found = None if self._path is None else load_cache(self._path)
        if found is None:
            return None
        state, mirror = found
        is_ours = (state.store, state.site_id) == (_store_name(self._engine), self._site_id)
        if not is_ours or state != self._with_tail(connection, state, state.tail_ids, state.tail_rows):
            return None
        self._saved_activities = mirror.activities
        return _Loaded(mirror, state)

    def _with_tail(self, connection: Connection, state: State, ids: int = TAIL_IDS, most: int | None = None) -> State:
        """The state with number and checksum of the rows that have the last ids: another store, or a restored one, has other rows."""
        rows = activity_columns(connection, self._site_id, max(0, state.last_id - ids), state.since)
        if most is None and len(rows.person) < ENOUGH_ROWS and ids < state.last_id:  # the last ids are mostly another site's
            return self._with_tail(connection, state, ids * 16)
        checksum = 0
        for column in (rows.person, rows.quarter, rows.type, rows.space):
            checksum = zlib.crc32(column[:most].tobytes(), checksum)
        return replace(state, tail_ids=ids, tail_rows=len(rows.person[:most]), tail=checksum)

    def _describe(self, connection: Connection, loaded: _Loaded) -> Snapshot:
        everybody, now = self._people(connection, loaded.mirror), self._now()
        return Snapshot(
            mirror=loaded.mirror,
            people=everybody,
            spaces=spaces(connection, self._site_id),
            app_ids=frozenset(everybody.loc[everybody["kind"] == ActorKind.APP.value, "id"].tolist()),
            generation=loaded.state.generation,
            data_at=now,
            last_received_at=loaded.state.last_received_at,
            recorded_from_ms=_recorded_from(loaded.mirror, everybody),
            gaps=gaps(coverage(connection), now),
            kept_from_ms=self._since,
        )

    def _people(self, connection: Connection, mirror: Mirror) -> pd.DataFrame:
        """The table of people; if it is large enough to be slow, not on every refresh, unless somebody new acted."""
        read_at, took = self._people_read
        known = self._snapshot
        if known is None:
            return self._read_people(connection)
        is_resting = took > SLOW_READ_S and time.monotonic() - read_at < REST * took
        if is_resting and known.generation == generation(connection) and len(known.mirror.people) == len(mirror.people):
            return known.people
        everybody = self._read_people(connection)
        return known.people if known.people.equals(everybody) else everybody

    def _read_people(self, connection: Connection) -> pd.DataFrame:
        start = time.monotonic()
        everybody = people(connection, self._site_id)
        self._people_read = (time.monotonic(), time.monotonic() - start)
        return everybody

    def _keep(self, connection: Connection, loaded: _Loaded) -> None:
        """Write the cache beside everything else, if it is worth it and none is being written."""
        activities = loaded.mirror.activities
        has_grown = abs(activities - self._saved_activities) > CACHE_GROWTH * self._saved_activities
        is_saving = self._saving is not None and self._saving.is_alive()
        if self._path is None or activities < self._cache_from or not has_grown or is_saving:
            return
        self._saved_activities = activities
        state = self._with_tail(connection, loaded.state)
        self._saving = Thread(target=save_cache, args=(self._path, state, loaded.mirror), name="mirror-cache")
        self._saving.start()


def _recorded_from(mirror: Mirror, everybody: pd.DataFrame) -> int | None:
    """When the site was first heard of. The mirror tells what the unknown person did, `everybody` what was pruned.

    A worker may have been up long before, for other sites or for none.
    """
    first_acts = everybody["first_active_at"].dropna()
    starts = _first_activity(mirror), None if first_acts.empty else int(first_acts.min())
    return min((start for start in starts if start is not None), default=None)


def _first_activity(mirror: Mirror) -> int | None:
    """The start of the first quarter with an activity, epoch milliseconds."""
    block = next(iter(mirror.blocks.values()), None)
    if block is None:
        return None
    return int(block.first_quarter + np.flatnonzero(block.totals)[0] // TYPES) * QUARTER_MS


def _store_name(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)

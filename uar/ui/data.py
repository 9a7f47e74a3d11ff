"""What the pages share between viewers: settings, store and, per site, the mirror. The list of people keeps its own in `uar.ui.people`.

`OutOfOrder` is the one exception the pages know: a sentence that says what is wrong and what to do.
"""

from __future__ import annotations

import time

import pandas as pd
import streamlit as st

from uar.config import ConfigError, Settings, load_settings
from uar.live import LiveMirror, Snapshot
from uar.report.memo import Memo
from uar.store.database import Engine, StoreError, StoreUnavailable, migrate, open_store, read_transaction
from uar.store.reads import site_names

# Newer data makes every question of every viewer a new one; whoever wants it at once presses Refresh. The others come to it one by one:
# if all did in the same second, each would wait for what the others ask.
FRESH_FOR_S = 40.0
APART_S = 20.0
SITES_FOR_S = 2.0  # every click asks which sites there are; a new one is in no hurry


class OutOfOrder(Exception):
    """The page cannot be shown; the message says why and what to do."""


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """The settings; raises `OutOfOrder` if one makes no sense."""
    try:
        return load_settings()
    except ConfigError as error:
        raise OutOfOrder(f"The settings cannot be used. {error} Correct it and start the dashboard again.") from error


@st.cache_resource(show_spinner=False)
def store() -> Engine:
    """The store with all its tables; raises `OutOfOrder` if it cannot be reached or is of a newer release."""
    try:
        engine = open_store(settings().database_url.reveal())
        migrate(engine)
    except (StoreUnavailable, StoreError) as error:
        raise OutOfOrder(str(error)) from error
    return engine


@st.cache_resource(ttl=SITES_FOR_S, show_spinner=False)
def sites() -> pd.DataFrame:
    """The sites of the store, columns id, name, cloud_id, base_url; at most `SITES_FOR_S` old, unless `sites.clear` is called."""
    engine = store()
    try:
        with read_transaction(engine) as connection:
            return site_names(connection)
    except (StoreUnavailable, StoreError) as error:
        raise OutOfOrder(str(error)) from error


def is_loaded(site_id: int) -> bool:
    """Whether the site has a snapshot already: if not, the first call of `snapshot` takes a while."""
    return _mirror(site_id).snapshot is not None


def snapshot(site_id: int, max_age_s: float = FRESH_FOR_S) -> Snapshot:
    """The site's newest snapshot that is at most `max_age_s` old; the first call loads the mirror."""
    mirror = _mirror(site_id)
    standing = mirror.snapshot
    if standing and time.time() * 1000 - standing.data_at <= max_age_s * 1000:
        return standing
    try:
        return mirror.refresh()
    except (StoreUnavailable, StoreError) as error:
        raise OutOfOrder(str(error)) from error


def snapshot_for(site_id: int, turn: float, seen_at: int | None) -> Snapshot:
    """The snapshot that a viewer sees now, at most `FRESH_FOR_S + APART_S` old.

    `turn`, from 0 to 1, is the viewer's own place in the `APART_S` after a newer snapshot came, and `seen_at` (epoch milliseconds) the
    `data_at` of what was seen last, None for who has just come: nobody ever goes back to something older.
    """
    newest, former = snapshot(site_id), _mirror(site_id).former
    if former is None or seen_at is None or former.data_at < seen_at:
        return newest
    now = time.time() * 1000
    is_their_turn = now - newest.data_at >= turn * APART_S * 1000
    is_too_old = now - former.data_at > (FRESH_FOR_S + APART_S) * 1000
    return newest if is_their_turn or is_too_old else former


@st.cache_resource(show_spinner=False)
def memo() -> Memo:
    """What was drawn lately."""
    return Memo(512)


def _mirror(site_id: int) -> LiveMirror:
    known = _mirrors().get(site_id)
    return known or _mirrors().setdefault(site_id, LiveMirror(store(), site_id, 0, settings().data_dir))


@st.cache_resource(show_spinner=False)
def _mirrors() -> dict[int, LiveMirror]:
    return {}

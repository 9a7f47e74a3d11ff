"""What both tabs begin with: site, title row, sidebar. `open_page` returns what the page may show, or stops after saying why not.

store -> site -> snapshot -> (nothing there yet: the setup page) -> sidebar filters -> title row -> `View`
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from uar.config import Settings
from uar.demo import SITE as SAMPLE_SITE
from uar.live import Snapshot
from uar.ui import data, setup, timezones
from uar.ui.filters import BOUND, Filters, sidebar
from uar.ui.settle import nearest_option, settle
from uar.ui.theme import Palette, palette
from uar.ui.utility_bar import PHONE_RULE, utility_bar
from uar.ui.words import plain


@dataclass(frozen=True)
class View:
    """What a page shows: one site's snapshot, the viewer's filters, and the colors of the viewer's theme."""

    site: str
    snapshot: Snapshot
    filters: Filters
    recorded_from: date | None
    colors: Palette
    settings: Settings


def open_page(title: str) -> View:
    """Draw the frame; returns only if there is something to show."""
    st.html(PHONE_RULE)
    head = st.container()
    try:
        return _opened(title, head)
    except data.OutOfOrder as error:
        with head:
            utility_bar(title, None, None, timezones.UTC_NAME)
        st.error(plain(str(error)), icon=":material/cloud_off:")
        st.stop()


def _opened(title: str, head: DeltaGenerator) -> View:
    settings, sites = data.settings(), data.sites()
    own_zone = _own_zone(settings)
    site = _site(sites)
    snapshot = _snapshot(sites, site)
    if site is None or snapshot is None or not snapshot.mirror.activities:
        with head:
            utility_bar(title, settings, snapshot, own_zone)
        setup.show_setup(settings)
        st.stop()
    view = _view(site, snapshot, own_zone, settings)
    with head:
        utility_bar(title, settings, snapshot, view.filters.zone)
        setup.show_first_event()
        if site == SAMPLE_SITE:
            setup.show_sample_note(settings)
    return view


def _site(sites: pd.DataFrame) -> str | None:
    """The chosen site; a picker only if there are several. The sample site is never the first choice."""
    names = sorted(sites["name"], key=lambda name: (name == SAMPLE_SITE, name.casefold()))
    if len(names) < 2:
        return names[0] if names else None
    settle("site", lambda texts: nearest_option(texts[0], names))
    return st.sidebar.selectbox("Site", names, key="site", bind=BOUND)


def _snapshot(sites: pd.DataFrame, site: str | None) -> Snapshot | None:
    if site is None:
        return None
    is_asked = bool(st.session_state.get("refresh"))  # true in the run that the button starts
    with st.skeleton(height=420):
        return data.snapshot(int(sites.loc[sites["name"] == site, "id"].iloc[0]), 0.0 if is_asked else data.FRESH_FOR_S)


def _view(site: str, snapshot: Snapshot, own_zone: str, settings: Settings) -> View:
    now = datetime.fromtimestamp(time.time(), UTC)
    zone = str(st.session_state.get("zone") or own_zone)
    filters = sidebar(snapshot.spaces, snapshot.app_ids, _recorded_from(snapshot, zone), own_zone, now)
    return View(site, snapshot, filters, _recorded_from(snapshot, filters.zone), palette(st.context.theme.type), settings)


def _recorded_from(snapshot: Snapshot, zone: str) -> date | None:
    at = snapshot.recorded_from_ms
    return None if at is None else datetime.fromtimestamp(at / 1000, ZoneInfo(zone)).date()


def _own_zone(settings: Settings) -> str:
    """The browser's timezone under its current name; the site's where there is no browser or it reports nonsense."""
    return timezones.current_name(st.context.timezone) or settings.timezone

"""What both tabs begin with: site, title row, sidebar. `open_page` draws it and stops if there is nothing to show, after saying why.

store -> site -> snapshot -> address put right -> (nothing to show yet: the setup page) -> sidebar filters -> title row -> `View`

The list of people needs no events: a directory is enough for it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NoReturn, TypeVar

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.pages_manager import PagesManager

from uar.config import Settings
from uar.demo import SITE as SAMPLE_SITE
from uar.live import Snapshot
from uar.report.coverage import unknown_days
from uar.ui import address, data, setup, timezones
from uar.ui.filters import BOUND, Filters, clear, first_page, sidebar
from uar.ui.nearest import nearest_option
from uar.ui.theme import Palette, page_rules, palette
from uar.ui.utility_bar import utility_bar
from uar.ui.words import plain

T = TypeVar("T")


@dataclass(frozen=True)
class View:
    """What a page shows: one site's snapshot, the viewer's filters, and the colors of the viewer's theme.

    `unknown` are the local dates that a gap in recording touches.
    """

    site: str
    snapshot: Snapshot
    filters: Filters
    recorded_from: date | None
    unknown: frozenset[date]
    colors: Palette
    settings: Settings


def drawn(view: View, question: Hashable, draw: Callable[[], T]) -> T:
    """What `draw` makes of the view's data, remembered for all viewers: figures take longer to make than the numbers in them.

    `question` must name everything that `draw` depends on besides the activities of the site.
    """
    return data.memo().answer((view.site, view.snapshot.version, question), draw)


def open_page(title: str, is_list: bool) -> None:
    """Draw the frame and keep the `View` for `current_view`; returns only if there is something to show.

    `is_list`: the page lists people, and shows them even if nothing was ever recorded.
    """
    st.html(page_rules(palette(st.context.theme.type)))
    head = st.container()
    try:
        st.session_state["frame.view"] = _opened(title, head, is_list)
    except data.OutOfOrder as error:
        with head:
            utility_bar(title, None, None, timezones.UTC_NAME)
        st.error(plain(str(error)), icon=":material/cloud_off:")
        st.stop()


def current_view() -> View:
    """What this run's page shows. A page that Streamlit ran without the main script runs again, after it.

    That happens to the first visitor of `streamlit run` who comes by a link to a page: until `st.navigation` was called once, a folder
    named `pages` means the older way of pages, each a script of its own (docs.streamlit.io, "pages/ directory").
    """
    view: View | None = st.session_state.pop("frame.view", None)
    if view is None:
        PagesManager.uses_pages_directory = False
        st.rerun()
    return view


def _opened(title: str, head: DeltaGenerator, is_list: bool) -> View:
    settings, sites = data.settings(), data.sites()
    own_zone, now = _own_zone(settings), datetime.fromtimestamp(time.time(), UTC)
    # The sample site is never the first choice.
    names = sorted(sites["name"], key=lambda name: (name == SAMPLE_SITE, name.casefold()))
    site = _asked_site(names)
    snapshot = _snapshot(sites, site) if site else None
    if site is None or snapshot is None:
        _show_setup(title, head, settings, None, None, own_zone)
    first_day = snapshot.known_from(own_zone)
    address.settle(address.nearest_filters(names, snapshot.spaces, first_day, now, own_zone))
    if len(names) > 1:
        st.sidebar.selectbox("Site", names, key="site", bind=BOUND, on_change=_leave_site)
    if snapshot.is_blank and not (is_list and known_people(snapshot)):
        _show_setup(title, head, settings, site, snapshot, own_zone)
    space_ids = data.memo().answer(("spaces", site, snapshot.data_at), lambda: address.space_ids_by_label(snapshot.spaces))
    filters = sidebar(space_ids, snapshot.app_ids, snapshot.known_from, own_zone, now)
    with head:
        utility_bar(title, settings, snapshot, filters.zone)
        setup.show_first_event()
        if site == SAMPLE_SITE:
            setup.show_sample_note(settings)
    return View(
        site,
        snapshot,
        filters,
        recorded_from=snapshot.known_from(filters.zone),
        unknown=unknown_days(snapshot.gaps, filters.zone),
        colors=palette(st.context.theme.type),
        settings=settings,
    )


def _leave_site() -> None:
    """Spaces, groups and people are of one site only."""
    for key in ("spaces", "group", "person"):
        clear(key)
    first_page()


def known_people(snapshot: Snapshot) -> int:
    """How many accounts are known, from events or a directory."""
    return int(snapshot.people["account_id"].notna().sum())


def _show_setup(title: str, head: DeltaGenerator, settings: Settings, site: str | None, snapshot: Snapshot | None, zone: str) -> NoReturn:
    with head:
        utility_bar(title, settings, snapshot, zone)
    setup.show_setup(settings, site, known_people(snapshot) if snapshot else 0)
    st.stop()


def _asked_site(names: list[str]) -> str | None:
    """The site that the picker below will show."""
    asked = str(st.session_state.get("site") or st.query_params.get("site", ""))
    return (nearest_option(asked, names) if asked else None) or (names[0] if names else None)


def _snapshot(sites: pd.DataFrame, site: str) -> Snapshot:
    site_id = int(sites.loc[sites["name"] == site, "id"].iloc[0])
    is_asked = bool(st.session_state.get("refresh"))  # true in the run that the button starts
    turn, seen = st.session_state.setdefault("frame.turn", random.random()), f"frame.seen_at.{site_id}"
    with nullcontext() if data.is_loaded(site_id) else st.skeleton(height=420):
        found = data.snapshot(site_id, 0.0) if is_asked else data.snapshot_for(site_id, turn, st.session_state.get(seen))
    st.session_state[seen] = found.data_at
    return found


def _own_zone(settings: Settings) -> str:
    """The browser's timezone under its current name; the site's where there is no browser or it reports nonsense."""
    return timezones.current_name(st.context.timezone) or settings.timezone

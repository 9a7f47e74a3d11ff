"""The top of both tabs in one row: the title on the left; freshness, Refresh, Documentation and Support on the right."""

from __future__ import annotations

import time

import streamlit as st

from uar.config import Settings
from uar.live import Snapshot
from uar.ui.words import ago, clock, quiet

GUIDE = "guide"


def utility_bar(title: str, settings: Settings | None, snapshot: Snapshot | None, zone: str) -> None:
    """Draw the row. Without `snapshot` there is nothing to say about it; the run that Refresh starts finds `refresh` in the session."""
    documentation = _target(settings.documentation_url if settings else "", "")
    support = _target(settings.support_url if settings else "", "#support")
    with st.container(horizontal_alignment="distribute", horizontal=True, vertical_alignment="center", gap="small"):
        st.title(title, width="content", anchor=False)
        with st.container(
            horizontal_alignment="right", width="content", key="utility", horizontal=True, vertical_alignment="center", gap="small"
        ):
            if snapshot:
                _freshness(snapshot.data_at, snapshot.last_received_at, zone)
            st.button("Refresh", icon=":material/refresh:", type="tertiary", key="refresh", help="Load what has arrived since")
            st.link_button("Documentation", documentation, icon=":material/menu_book:", type="tertiary")
            st.link_button("Support", support, icon=":material/help:", type="tertiary")


@st.fragment(run_every=20)
def _freshness(data_at: int, last_received_at: int | None, zone: str) -> None:
    st.markdown(quiet(freshness(data_at, last_received_at, zone, int(time.time() * 1000))), width="content")


def freshness(data_at: int, last_received_at: int | None, zone: str, now: int) -> str:
    """`Data to 14:32, last event 20 s ago`; instants in epoch milliseconds."""
    last = f"last event {ago((now - last_received_at) / 1000)}" if last_received_at else "no event yet"
    return f"Data to {clock(data_at, zone)}, {last}"


def _target(url: str, anchor: str) -> str:
    return url or f"/{GUIDE}{anchor}"

"""One person's activities by day: type, object, space, and a link to Confluence. Dates only: hours are nobody's business."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from uar.activity import ActivityType
from uar.capture.catalog import catalog
from uar.store.database import StoreError, StoreUnavailable, read_transaction
from uar.store.reads import person_activities
from uar.ui import data
from uar.ui.frame import View
from uar.ui.words import plain, quiet

MOST_ACTIVITIES = 500
COLUMNS = ["Day", "Event type", "Object", "Space", "Times", "Link"]
LINKED = ("page", "blogpost")
GONE = ("deleted", "removed", "trashed")
HEIGHT_PX = 320


def show_timeline(view: View, person: int, base_url: str | None) -> None:
    """Draw the latest activities of the person in the view's period, types and spaces."""
    with st.container(border=True):
        st.header("Latest days", anchor=False)
        try:
            found = _activities(view, person)
        except (StoreUnavailable, StoreError) as error:
            st.warning(plain(str(error)), icon=":material/cloud_off:")
            return
        shown = timeline(found, view.filters.zone, base_url)
        if shown.empty:
            st.markdown(quiet("Nothing in this period that fits the filters."))
            return
        _table(shown)
        if len(found) == MOST_ACTIVITIES:
            st.markdown(quiet(f"Made of the latest {MOST_ACTIVITIES:,} activities of the period."))


def _activities(view: View, person: int) -> pd.DataFrame:
    filters = view.filters
    since = max(_instant(filters.first, filters.zone), view.snapshot.kept_from_ms)
    until = _instant(filters.last + timedelta(days=1), filters.zone)
    types = [kind.value for kind in filters.types]
    with read_transaction(data.store()) as connection:
        return person_activities(connection, person, since, until, types, filters.spaces, MOST_ACTIVITIES)


def timeline(activities: pd.DataFrame, zone: str, base_url: str | None) -> pd.DataFrame:
    """The activities of `person_activities`, equal ones of a day in one row, the latest day first.

    Columns: Day (date), Event type, Object, Space (str), Times (int64), and Link (str, None without one) if the site's address is known.
    """
    days = pd.to_datetime(activities["occurred_at"], unit="ms", utc=True).dt.tz_convert(ZoneInfo(zone)).dt.date
    spaces = activities["space_name"].where(activities["space_name"].notna(), activities["space_key"])
    columns = [activities[name] for name in ("type", "event_name", "content_id", "title")]
    acts = zip(days, *columns, spaces, activities["space_key"], strict=True)
    times = Counter(_row(act, base_url) for act in acts)  # in the order of the first of each
    shown = pd.DataFrame([(*row[:4], count, row[4]) for row, count in times.items()], columns=COLUMNS)
    shown = shown.sort_values("Day", ascending=False, kind="stable").reset_index(drop=True)
    return shown if base_url else shown.drop(columns="Link")


def _row(act: tuple[Any, ...], base_url: str | None) -> tuple[object, ...]:
    """Day, event type, object, space and link of one activity, as shown."""
    day, kind, event_name, content, title, space, key = act
    link = _link(base_url, event_name, content, key) if base_url and kind != ActivityType.DELETE else None
    return day, ActivityType(kind).label, _object(event_name, content, title), space if isinstance(space, str) else "", link


def _object(event_name: str, content_id: object, title: object) -> str:
    if isinstance(title, str) and title:
        return title
    word = _objects().get(event_name, "").replace("_", " ").replace("blogpost", "blog post").capitalize()
    return f"{word} {content_id}".strip() if isinstance(content_id, str) and content_id else word


def _link(base_url: str, event_name: str, content_id: object, space_key: object) -> str | None:
    """The object's page, if it is one that an address can be made for and it is not gone.

    `viewpage.action` finds pages and blog posts by their id, on Cloud and Data Center; spaces have an address of their own on each.
    """
    base, thing = base_url.rstrip("/"), _objects().get(event_name)
    if thing in LINKED and isinstance(content_id, str) and content_id.isascii() and content_id.isdecimal():
        return f"{base}/pages/viewpage.action?pageId={content_id}"
    if thing == "space" and isinstance(space_key, str) and not any(word in event_name for word in GONE):
        is_cloud = (urlsplit(base).hostname or "").endswith(".atlassian.net")
        return f"{base}/{'spaces' if is_cloud else 'display'}/{quote(space_key, safe='~')}"
    return None


@cache
def _objects() -> dict[str, str]:
    """The kind of object of each event name, of whatever source."""
    return {name: entry.object for (_, name), entry in catalog().items()}


def _instant(day: date, zone: str) -> int:
    return int(datetime.combine(day, time(), ZoneInfo(zone)).timestamp() * 1000)


def _table(shown: pd.DataFrame) -> None:
    st.dataframe(
        shown,
        hide_index=True,
        height=min(HEIGHT_PX, 36 * (len(shown) + 1)),
        key="person_timeline",
        column_config={
            "Day": st.column_config.DateColumn(format="D MMM YYYY", width=100),
            "Event type": st.column_config.TextColumn(width=90),
            "Times": st.column_config.NumberColumn(format="localized", width=60),
            "Link": st.column_config.LinkColumn(display_text="Open", width=60),
        },
        alt="Activities by day, the latest first",
    )

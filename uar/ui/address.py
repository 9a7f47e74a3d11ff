"""The address bar on the first run of a session: every filter in it becomes the nearest valid one, before any widget reads it.

Bound widgets drop what they do not know. So that an old link, a lower-case word or a zone's old name still means what it meant, and so
that the address always says what is shown, the parameters are put right first and the page runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from uar.activity import EARLIEST, ActivityType
from uar.ui import periods, timezones
from uar.ui.nearest import nearest_day, nearest_flag, nearest_option, nearest_options, nearest_range
from uar.ui.words import MEASURES, WEEK_STARTS

MOST_VALUES, MOST_LETTERS = 200, 200
Nearest = Callable[[list[str]], Sequence[str] | None]


def settle(nearest: Mapping[str, Nearest], once: str = "address.is_settled") -> None:
    """Put each parameter right that `nearest` knows; None or nothing removes it. Runs the page again if that changed the address.

    `once` is the place in the session that keeps that it was done.
    """
    if st.session_state.get(once):
        return
    st.session_state[once] = True
    has_changed = False  # whether the address says something else now
    for key, find in nearest.items():
        raw = st.query_params.get_all(key)
        good = list(find([text[:MOST_LETTERS] for text in raw[:MOST_VALUES]]) or ()) if raw else []
        if good != raw:
            has_changed = True
            _write(key, good)
    if "range" in st.query_params and "period" not in st.query_params:
        has_changed = True
        _write("period", [periods.CUSTOM])
    if has_changed:
        st.rerun()


def _write(key: str, values: list[str]) -> None:
    if values:
        st.query_params[key] = values if len(values) > 1 else values[0]
    else:
        st.query_params.pop(key, None)


def nearest_filters(sites: list[str], spaces: pd.DataFrame, first_day: date | None, now: datetime, own_zone: str) -> dict[str, Nearest]:
    """How each filter of both tabs is put right; `spaces` has the columns id, space_key, name."""
    today = now.astimezone(ZoneInfo(own_zone)).date()
    return {
        "site": lambda texts: _one(nearest_option(texts[0], sites)),
        "zone": lambda texts: _nearest_zone(texts[0], now),
        "range": lambda texts: list(dict.fromkeys(_iso(nearest_range(texts, EARLIEST, today)))),
        "period": lambda texts: _nearest_period(texts[0], today, first_day),
        "types": lambda texts: nearest_options(texts, [kind.label for kind in ActivityType]),
        "spaces": lambda texts: nearest_spaces(texts, spaces),
        "week": lambda texts: _one(nearest_option(texts[0], WEEK_STARTS)),
        "workdays": _nearest_flag,
        "noviews": _nearest_flag,
        "color": lambda texts: _one(nearest_option(texts[0], MEASURES)),
        "table": _nearest_flag,
        "day": lambda texts: _iso((nearest_day(texts[0], EARLIEST, today),)),
    }


def space_ids_by_label(spaces: pd.DataFrame) -> dict[str, int]:
    """Each space's label, `Name (KEY)`, and its id, in alphabetical order."""
    rows = zip(spaces["id"], spaces["space_key"], spaces["name"], strict=True)
    labels = {_space_label(key, name): int(number) for number, key, name in rows}
    return dict(sorted(labels.items(), key=lambda item: item[0].casefold()))


def nearest_spaces(texts: Sequence[str], spaces: pd.DataFrame) -> list[str]:
    """Labels whose space has the key or label of a text; a renamed space is found by the key in its old label."""
    ids = space_ids_by_label(spaces)
    labels = {number: label for label, number in ids.items()}
    by_key = {str(key).lower(): labels[int(number)] for number, key in zip(spaces["id"], spaces["space_key"], strict=True) if key}
    words = [word for text in texts for word in ([text] if text in ids else [text, *text.split(",")])]
    keys = [word.rpartition("(")[2].rstrip(")").strip().lower() for word in words]
    found = {by_key[key] for key in keys if key in by_key}
    return [label for label in ids if label in found] or nearest_options(texts, list(ids))


def _space_label(key: str | None, name: str | None) -> str:
    if not isinstance(key, str) or not key:
        return "No space"
    return f"{name} ({key})" if isinstance(name, str) and name and name != key else key


def _one(value: str | None) -> list[str]:
    return [] if value is None else [value]


def _iso(days: Sequence[date | None] | None) -> list[str]:
    return [day.isoformat() for day in days or () if day]


def _nearest_zone(text: str, now: datetime) -> list[str]:
    zone = timezones.current_name(text.partition("(")[0].strip().replace(" ", "_"))
    return [timezones.label(zone, now)] if zone else []


def _nearest_period(text: str, today: date, first_day: date | None) -> list[str]:
    names = periods.period_names(today, first_day, text)
    return _one(nearest_option(periods.period_name_of(text), names))


def _nearest_flag(texts: list[str]) -> list[str]:
    return ["true"] if nearest_flag(texts) else []

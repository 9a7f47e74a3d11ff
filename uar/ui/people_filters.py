"""The filters of User Status that the dashboard does not have, and the order of its list.

    address (put right by `nearest_people_filters`) -> widgets -> `PeopleFilters` -> `uar.ui.people.listed`

Bound to the address: search, status, group, kind, seen, least. Places, each a step in the browser's history: `sort` (a column and a
direction, or `cleanup`) and `where` (a filter in the head of a column).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from uar.activity import ActivityType, ActorKind
from uar.report.status import Status
from uar.ui.address import Nearest
from uar.ui.filters import BOUND, first_page, remember_default
from uar.ui.nearest import nearest_option, nearest_options
from uar.ui.words import counted

STATUSES = (
    Status.ACTIVE, Status.LOW, Status.INACTIVE, Status.NEVER_SEEN, Status.NOT_ENOUGH_HISTORY,
    Status.NEW, Status.INVITED, Status.DEACTIVATED, Status.APP,
)  # fmt: skip
KINDS = {"Person": ActorKind.PERSON.value, "Guest": ActorKind.GUEST.value, "App": ActorKind.APP.value}
ANY_TIME: Final = "Any time"
NEVER: Final = "Never"
# Days since the last activity, both limits included; None: no limit.
SEEN: dict[str, tuple[int, int | None]] = {
    ANY_TIME: (0, None),
    "Today": (0, 0),
    "Last 7 days": (0, 7),
    "Last 30 days": (0, 30),
    "Last 90 days": (0, 90),
    "More than 30 days ago": (31, None),
    "More than 90 days ago": (91, None),
    "More than a year ago": (366, None),
}
CLEAN_UP: Final = "cleanup"
PAGE_SIZES = (25, 50, 100, 250)
MOST_EVENTS = 1_000_000_000
TEXT_COLUMNS = {"person": "Person", "status": "Status", "groups": "Groups", "email": "Email", "last_type": "Last event type"}
NUMBER_COLUMNS = {
    "days": "Days since last active",
    "active_days": "Active days",
    "current_streak": "Current streak",
    "longest_streak": "Longest streak",
    "events": "Events",
} | {kind.key: kind.label for kind in ActivityType}
COLUMNS = TEXT_COLUMNS | NUMBER_COLUMNS
SORTABLE = COLUMNS | {"line": "Last 30 days"}
COMPARISONS = {
    "contains": "contains", "equals": "is", "startsWith": "starts with",
    "greaterThanOrEqual": "at least", "lessThanOrEqual": "at most", "inRange": "from",
}  # fmt: skip
NUMBER_COMPARISONS = ("greaterThanOrEqual", "lessThanOrEqual", "equals", "inRange")
TEXT_COMPARISONS = ("contains", "equals", "startsWith")


@dataclass(frozen=True)
class Where:
    """A filter in the head of a column. `value` is text or a number as text, `to` the upper end of a range of numbers."""

    column: str
    comparison: str
    value: str
    to: str = ""

    @property
    def as_text(self) -> str:
        """How it stands in the address: `events.greaterThanOrEqual.100`."""
        return ".".join([self.column, self.comparison, self.value + (f"~{self.to}" if self.to else "")])

    @property
    def words(self) -> str:
        """How it stands on its chip: `Events at least 100`."""
        return f"{COLUMNS[self.column]} {COMPARISONS[self.comparison]} {self.value}" + (f" to {self.to}" if self.to else "")


@dataclass(frozen=True)
class PeopleFilters:
    """Which people are listed, and in what order. Empty means all; `sort` is a column and `asc` or `desc`, or `CLEAN_UP` and ''."""

    search: str
    statuses: frozenset[str]
    groups: frozenset[str]
    kinds: frozenset[str]
    seen: str
    least: int
    where: tuple[Where, ...]
    sort: tuple[str, str]


DEFAULT_SORT = ("days", "asc")


def nearest_people_filters(groups: Sequence[str]) -> dict[str, Nearest]:
    """How each filter of the list is put right; `groups` are the names of the site's groups."""
    return {
        "search": lambda texts: [text for text in (" ".join(texts[0].split()),) if text],
        "status": lambda texts: nearest_options(texts, STATUSES),
        "group": lambda texts: [name for name in groups if name in texts] or nearest_options(texts, groups),
        "kind": lambda texts: nearest_options(texts, tuple(KINDS)),
        "seen": lambda texts: [name for name in (nearest_option(texts[0], (*SEEN, NEVER)),) if name],
        "least": lambda texts: _nearest_number(texts[0]),
        "rows": lambda texts: _nearest_size(texts[0]),
        "page": lambda texts: _nearest_number(texts[0]),
        "sort": lambda texts: [] if sort_of(texts[0]) == DEFAULT_SORT else ["-".join(filter(None, sort_of(texts[0])))],
        "where": lambda texts: [one.as_text for one in map(where_of, texts) if one],
    }


def people_filters(slot: DeltaGenerator, groups: Sequence[str]) -> PeopleFilters:
    """Draw the list's filters in `slot` of the sidebar and return what they and the address say. `search` is drawn above the list."""
    with slot:
        statuses = _choice("Status", "status", [status.value for status in STATUSES], "Any status")
        chosen = _choice("Group", "group", list(groups), "Any group")
        kinds = _choice("Account kind", "kind", list(KINDS), "Any kind")
        remember_default("seen", ANY_TIME)
        seen = st.selectbox("Last active", (*SEEN, NEVER), key="seen", bind=BOUND, on_change=first_page)
        remember_default("least", 0)
        least = st.number_input(
            "Minimum events", 0, MOST_EVENTS, step=1, key="least", bind=BOUND, help="In the chosen period.", on_change=first_page
        )
    remember_default("search", "")
    search = " ".join(str(st.session_state["search"] if "search" in st.session_state else st.query_params.get("search", "")).split())
    return PeopleFilters(search, statuses, chosen, kinds, seen, least, current_where(), sort_of(st.query_params.get("sort", "")))


def _choice(label: str, key: str, options: list[str], placeholder: str) -> frozenset[str]:
    remember_default(key, [])
    chosen = st.multiselect(label, options, key=key, bind=BOUND, placeholder=placeholder if options else "None known", on_change=first_page)
    return frozenset(str(one) for one in chosen)


def people_chips(filters: PeopleFilters) -> dict[str, str]:
    """What is filtered beside period, types and spaces: the key of each filter and its words. A column's key is `where.` and its text."""
    found: dict[str, str] = {}
    if filters.search:
        found["search"] = f"Name or email: {filters.search}"
    for key, label, values in (
        ("status", "Status", [status.value for status in STATUSES if status.value in filters.statuses]),
        ("group", "Group", sorted(filters.groups)),
        ("kind", "Kind", [kind for kind in KINDS if kind in filters.kinds]),
    ):
        if values:
            found[key] = f"{label}: {', '.join(values[:2])}" + (f" and {len(values) - 2} more" if len(values) > 2 else "")
    if filters.seen != ANY_TIME:
        found["seen"] = f"Last active: {filters.seen[0].lower()}{filters.seen[1:]}"
    if filters.least:
        found["least"] = f"At least {counted(filters.least, 'event')}"
    return found | {f"where.{one.as_text}": one.words for one in filters.where}


def sort_of(text: str) -> tuple[str, str]:
    """The order that a word in the address means; the default where it means none."""
    if nearest_option(text, (CLEAN_UP,)) and text:
        return CLEAN_UP, ""
    column, _, direction = text.strip().lower().rpartition("-")
    return (column, direction) if column in SORTABLE and direction in ("asc", "desc") else DEFAULT_SORT


def set_sort(column: str, direction: str) -> None:
    """Keep an order in the address and go to the first page."""
    if (column, direction) == DEFAULT_SORT or not column:
        st.query_params.pop("sort", None)
    else:
        st.query_params["sort"] = "-".join(filter(None, (column, direction)))
    first_page()


def where_of(text: str) -> Where | None:
    """The column filter of a text in the address; None if it makes no sense."""
    column, comparison, value = [*text.split(".", 2), "", ""][:3]
    low, _, high = value.partition("~") if comparison == "inRange" else (value, "", "")
    if column in TEXT_COLUMNS and comparison in TEXT_COMPARISONS and value:
        return Where(column, comparison, value)
    is_number = _is_number(low) and (comparison != "inRange" or _is_number(high))
    return Where(column, comparison, low, high) if column in NUMBER_COLUMNS and comparison in NUMBER_COMPARISONS and is_number else None


def current_where() -> tuple[Where, ...]:
    """The column filters in the address, one for each column."""
    found = {one.column: one for one in map(where_of, st.query_params.get_all("where")) if one}
    return tuple(found.values())


def set_where(where: Sequence[Where]) -> None:
    """Keep the column filters in the address and go to the first page."""
    if where:
        st.query_params["where"] = [one.as_text for one in where]
    else:
        st.query_params.pop("where", None)
    first_page()


def lift_where(text: str) -> None:
    """Take one column filter out of the address; for a button's `on_click`."""
    set_where([one for one in current_where() if one.as_text != text])


def _nearest_number(text: str) -> list[str]:
    return [str(min(int(text), MOST_EVENTS))] if text.strip().isascii() and text.strip().isdecimal() else []


def _nearest_size(text: str) -> list[str]:
    number = _nearest_number(text)
    return [str(min(PAGE_SIZES, key=lambda size: abs(size - int(number[0]))))] if number else []


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < MOST_EVENTS * 10
    except ValueError:
        return False

"""The filters of both tabs: sidebar widgets bound to the address, and what they add up to.

    address (put right by `address.settle`) -> widgets -> `Filters` -> `Selection` for the report functions

The keys of the widgets are the names in the address: site, period, range, zone, types, spaces, week, workdays, noviews. The picked day
(`day`) is a place, not a filter: it makes a step in the browser's history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

import streamlit as st

from uar.activity import EARLIEST, ActivityType
from uar.report.selection import Selection
from uar.ui import periods, timezones
from uar.ui.nearest import nearest_day
from uar.ui.words import WEEK_STARTS, date_range, quiet

BOUND: Final = "query-params"
WEEK_START_DAYS = {"Mon": 0, "Sun": 6, "Sat": 5}
# Where the week does not begin on Monday, by the region of the browser's language (Unicode CLDR, supplemental data, weekData).
SUNDAY_REGIONS = "BD BR BW CA CO DO GT HK HN ID IL IN JM JP KE KR MM MO MX NI NP PA PE PH PK PR PT PY SA SG SV TH TT TW US VE ZA"
SATURDAY_REGIONS = "AE AF BH DJ DZ EG IQ IR JO KW LY OM QA SD SY"
# What only User Status filters by. Where its widgets are not drawn, their words in the address are nobody's but `clear_all`'s.
OF_THE_LIST = ("search", "status", "group", "kind", "seen", "least", "where")
WORKING_DAYS_RULE = "Saturdays and Sundays without activity neither break nor lengthen a streak; with activity they count."


@dataclass(frozen=True)
class Filters:
    """What the viewer asked for. `first` and `last` are the period's local dates in `zone`; `day` is the picked day, if any.

    `types` are the types that count, `chosen_types` those chosen by name (none: all).
    """

    zone: str
    own_zone: str
    today: date
    period: str
    first: date
    last: date
    types: frozenset[ActivityType]
    chosen_types: frozenset[ActivityType]
    spaces: frozenset[int] | None
    space_names: tuple[str, ...]
    week_start: int
    is_working_days_only: bool
    is_without_views: bool
    day: date | None
    left_out: frozenset[int]

    def of_period(self) -> Selection:
        """The question about the whole period."""
        return self.of_days(self.first, self.last)

    def of_days(self, first: date, last: date) -> Selection:
        """The same question about other days."""
        return Selection(first, last, self.zone, self.types, self.spaces, None, self.left_out)

    def narrowed(self) -> Selection:
        """The question about the picked day, else about the period."""
        return self.of_days(self.day, self.day) if self.day else self.of_period()


def sidebar(
    space_ids: Mapping[str, int], left_out: frozenset[int], known_from: Callable[[str], date | None], own_zone: str, now: datetime
) -> Filters:
    """Draw the filters and return what they say.

    `space_ids` are the spaces to choose from by their labels; `left_out` are the people who never count; `known_from` tells the first day
    with data or recording in a zone; `own_zone` is the viewer's; `now` is an aware instant.
    """
    period_slot, zone_slot = st.sidebar.container(), st.sidebar.container()
    zone = _zone(zone_slot, own_zone, now)
    today = now.astimezone(ZoneInfo(zone)).date()
    period, first, last = _period(period_slot, today, known_from(zone))
    st.session_state["filters.slot"] = st.sidebar.container()  # for the filters of one tab
    chosen_types = _types()
    chosen_spaces, names = _spaces(space_ids)
    week_start = _week_start()
    is_working_days_only = _flag("workdays", "Working days only", WORKING_DAYS_RULE)
    is_without_views = _flag("noviews", "Without views", "Views usually outnumber everything else.")
    st.sidebar.button("Clear all filters", icon=":material/filter_alt_off:", type="tertiary", on_click=clear_all)
    types = (chosen_types or frozenset(ActivityType)) - (frozenset({ActivityType.VIEW}) if is_without_views else frozenset())
    day = picked_day(first, last)
    return Filters(
        zone, own_zone, today, period, first, last, types, chosen_types, chosen_spaces, names, week_start,
        is_working_days_only, is_without_views, day, left_out,
    )  # fmt: skip


def picked_day(first: date, last: date) -> date | None:
    """The day in the address, if it lies within the period."""
    day = nearest_day(st.query_params.get("day", ""), date.min, date.max)
    return day if day and first <= day <= last else None


def clear_all() -> None:
    """Set every filter of both tabs back to its default and lift the picked day; for a button's `on_click`."""
    for key in (*st.session_state["filters.defaults"], *OF_THE_LIST, "day"):
        clear(key)
    first_page()


def clear(key: str) -> None:
    """Set one filter back to its default, or take it out of the address if no widget here holds it; for a button's `on_click`."""
    if key in st.session_state:
        st.session_state[key] = st.session_state["filters.defaults"][key]
    else:
        st.query_params.pop(key, None)


def first_page() -> None:
    """Go back to the list's first page; for callbacks of whatever changes the list."""
    if "page" in st.session_state:
        st.session_state["page"] = 1
    else:
        st.query_params.pop("page", None)


def remember_default(key: str, default: object) -> None:
    """Keep what `clear` sets this filter back to."""
    st.session_state.setdefault("filters.defaults", {})[key] = default


def _zone(slot: st.delta_generator.DeltaGenerator, own_zone: str, now: datetime) -> str:
    options, known = list(timezones.zones()), timezones.labels(now)
    if own_zone not in options:
        options.insert(0, own_zone)
    remember_default("zone", own_zone)
    return slot.selectbox(
        "Timezone",
        options,
        index=options.index(own_zone),
        format_func=lambda zone: known.get(zone) or timezones.label(zone, now),
        key="zone",
        bind=BOUND,
        help="Days begin and end at midnight in this timezone. The default is your browser's.",
    )


def _period(slot: st.delta_generator.DeltaGenerator, today: date, first_day: date | None) -> tuple[str, date, date]:
    names = periods.period_names(today, first_day, _asked_year())
    remember_default("period", periods.DEFAULT)
    remember_default("range", ())
    period = slot.selectbox("Period", names, index=names.index(periods.DEFAULT), key="period", bind=BOUND, on_change=_carry_range)
    custom = _custom_range(slot, today) if period == periods.CUSTOM else None
    first, last = periods.days_of(period, today, first_day, custom)
    st.session_state["filters.days"] = (first, last)
    slot.markdown(quiet(date_range(first, last) if custom or period != periods.CUSTOM else "Choose the first and the last day."))
    return period, first, last


def _asked_year() -> str:
    return str(st.session_state.get("period") or st.query_params.get("period", ""))


def _carry_range() -> None:
    """A custom range begins as the period shown before, so that the address holds fixed dates."""
    if st.session_state["period"] == periods.CUSTOM and not st.session_state.get("range"):
        st.session_state["range"] = st.session_state["filters.days"]
        st.query_params["range"] = [day.isoformat() for day in st.session_state["filters.days"]]  # what is set here is not bound


def _custom_range(slot: st.delta_generator.DeltaGenerator, today: date) -> tuple[date, date] | None:
    # Tomorrow is allowed for viewers who look from a zone where it has begun.
    chosen = slot.date_input(
        "First and last day", value=[], min_value=EARLIEST, max_value=today, format="YYYY-MM-DD", key="range", bind=BOUND
    )
    # Two equal days are one in the address.
    return (min(chosen), max(chosen)) if isinstance(chosen, tuple) and chosen else None


def _types() -> frozenset[ActivityType]:
    labels = [kind.label for kind in ActivityType]
    remember_default("types", [])
    chosen = st.sidebar.multiselect("Event types", labels, key="types", bind=BOUND, placeholder="All ten types")
    return frozenset(ActivityType[label.upper()] for label in chosen)


def _spaces(ids: Mapping[str, int]) -> tuple[frozenset[int] | None, tuple[str, ...]]:
    """The chosen spaces' ids, None for all, and their names."""
    remember_default("spaces", [])
    chosen = st.sidebar.multiselect("Spaces", list(ids), key="spaces", bind=BOUND, placeholder="All spaces" if ids else "None known")
    return (frozenset(ids[label] for label in chosen) or None), tuple(chosen)


def _week_start() -> int:
    default = _own_week_start(st.context.locale)
    remember_default("week", default)
    chosen = st.sidebar.segmented_control(
        "Week starts on", WEEK_STARTS, default=default, required=True, key="week", bind=BOUND, width="stretch"
    )
    return WEEK_START_DAYS[chosen or default]


def _own_week_start(locale: str | None) -> str:
    region = (locale or "").replace("_", "-").rpartition("-")[2].upper()
    return "Sun" if region in SUNDAY_REGIONS.split() else "Sat" if region in SATURDAY_REGIONS.split() else "Mon"


def _flag(key: str, label: str, help_text: str) -> bool:
    remember_default(key, False)
    return st.sidebar.toggle(label, key=key, bind=BOUND, help=help_text)

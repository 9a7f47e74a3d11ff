"""Random activities that crowd where days go wrong: clock changes, leap days, year ends, first and last seconds of a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import strategies as st

from tests.report.recount import ZONES, Act, local_time
from uar.activity import ActivityType
from uar.report.selection import Selection

# Local dates around which something happens somewhere: (year, month, day).
EDGES = (
    (2011, 12, 30),  # Apia: this date did not exist
    (2018, 11, 4),  # São Paulo: no local midnight
    (2024, 2, 29),
    (2024, 3, 31),  # Beirut: no local midnight; Berlin: 23 hours
    (2024, 4, 26),  # Cairo: no local midnight
    (2025, 3, 30),  # Troll: 22 hours
    (2025, 4, 6),  # Lord Howe: 24.5 hours
    (2025, 10, 5),  # Lord Howe: 23.5 hours
    (2025, 10, 26),  # Berlin: 25 hours; Troll: 26 hours
    (2025, 12, 31),
    (2026, 2, 15),  # Casablanca: back for Ramadan
    (2026, 3, 22),  # Casablanca: forward again
)


def edges() -> st.SearchStrategy[int]:
    return st.sampled_from([int(datetime(*edge, 12, tzinfo=UTC).timestamp() * 1000) for edge in EDGES])


@st.composite
def instants(draw: st.DrawFn, around: int) -> int:
    """Epoch milliseconds within 12 days of `around`, often at the border of a quarter of an hour."""
    at = around + draw(st.integers(-12 * 86_400_000, 12 * 86_400_000))
    border = draw(st.sampled_from([None, 0, 899_999, 1, 1000]))
    return at if border is None else at // 900_000 * 900_000 + border


@st.composite
def acts_near(draw: st.DrawFn, around: int, most: int = 60) -> list[Act]:
    act = st.builds(
        Act,
        person=st.sampled_from([0, 1, 2, 3, 7, 40_000]),
        at=instants(around),
        type=st.sampled_from(ActivityType),
        space=st.sampled_from([0, 1, 5, 70_000]),
    )
    acts = draw(st.lists(act, max_size=most))
    return acts + draw(st.lists(st.sampled_from(acts), max_size=5)) if acts else acts  # some twice, to be one row with a count


@st.composite
def selections(draw: st.DrawFn, around: int) -> Selection:
    zone = draw(st.sampled_from(ZONES))
    first: date = local_time(around, zone).date() + timedelta(days=draw(st.integers(-14, 5)))
    some_people = st.frozensets(st.sampled_from([0, 1, 2, 3, 7, 999]), max_size=4)
    return Selection(
        first=first,
        last=first + timedelta(days=draw(st.integers(0, 25))),
        zone=zone,
        types=draw(st.just(frozenset(ActivityType)) | st.frozensets(st.sampled_from(ActivityType))),
        spaces=draw(st.none() | st.frozensets(st.sampled_from([0, 1, 5, 70_000, 8]))),
        people=draw(st.none() | some_people),
        left_out=draw(st.just(frozenset()) | some_people),
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[Act], Selection]:
    around = draw(edges())
    return draw(acts_near(around)), draw(selections(around))

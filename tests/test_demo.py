"""The sample site: believable, seeded, and loaded through the same door as real events."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from uar import demo
from uar.activity import Activity, ActivityType, ActorKind, Source
from uar.capture.catalog import lookup
from uar.config import load_settings
from uar.demo_cast import DEPARTMENTS, HABIT_COUNTS, Habit, Member, cast
from uar.retention import oldest_kept
from uar.store.database import Engine, read_transaction
from uar.store.reads import activity_columns, find_site, groups, memberships, people
from uar.store.writes import Recorded

TODAY = date(2026, 11, 24)
MONDAY, SATURDAY = 0, 5


@pytest.fixture(scope="module")
def members() -> list[Member]:
    return cast(TODAY, 42)


@pytest.fixture(scope="module")
def acts(members: list[Member]) -> list[Activity]:
    return list(demo.activities(members, TODAY, 42))


def local_day(act: Activity, zone: str) -> date:
    return datetime.fromtimestamp(act.occurred_at / 1000, ZoneInfo(zone)).date()


def days_of(acts: list[Activity], member: Member) -> set[date]:
    return {local_day(act, member.zone) for act in acts if act.account == member.account}


def with_habit(members: list[Member], habit: Habit) -> list[Member]:
    return [member for member in members if member.habit is habit and member.kind is not ActorKind.APP]


def test_the_cast_is_200_different_people_and_three_apps(members: list[Member]) -> None:
    assert Counter(member.kind is ActorKind.APP for member in members) == {False: 200, True: 3}
    assert len({member.name for member in members}) == len({member.account for member in members}) == 203
    assert len({member.zone for member in members if member.kind is not ActorKind.APP}) == 7
    assert {habit: len(with_habit(members, habit)) for habit in Habit} == HABIT_COUNTS


def test_names_are_of_every_kind(members: list[Member]) -> None:
    names = [member.name for member in members]
    assert any("\u0600" <= letter <= "\u06ff" for name in names for letter in name)  # right to left
    assert any(len(name) > 60 for name in names)
    assert any('"' in name and "," in name for name in names)
    assert any(" " not in name for name in names)


def test_the_same_seed_gives_the_same_site_and_another_seed_another(members: list[Member]) -> None:
    day = TODAY - timedelta(days=20)

    def some(seed: int) -> list[Activity]:
        return [act for member in cast(TODAY, seed)[:20] for act in demo._day_of(member, day, TODAY, seed)]

    assert some(42) == some(42)
    assert some(42) != some(43)


def test_the_period_is_fourteen_months_up_to_today(acts: list[Activity]) -> None:
    days = {local_day(act, "UTC") for act in acts}
    assert demo.first_day(TODAY) == date(2025, 9, 1)
    assert min(days) <= date(2025, 9, 2)
    assert max(days) in (TODAY, TODAY + timedelta(days=1))
    assert 100_000 < len(acts) < 160_000


def test_none_of_it_is_old_enough_to_be_pruned(acts: list[Activity], tmp_path: Path) -> None:
    end_of_today = int(datetime(TODAY.year, TODAY.month, TODAY.day, 23, 59, tzinfo=UTC).timestamp() * 1000)
    assert min(act.occurred_at for act in acts) > oldest_kept(end_of_today, load_settings({}, tmp_path).retention_months)


def test_all_ten_types_occur_and_two_thirds_are_views(acts: list[Activity]) -> None:
    counts = Counter(act.type for act in acts)
    assert set(counts) == set(ActivityType)
    assert 0.60 < counts[ActivityType.VIEW] / len(acts) < 0.70


def test_every_event_is_one_of_the_catalog_with_its_type(acts: list[Activity]) -> None:
    for name, kind in {(act.event_name, act.type) for act in acts}:
        entry = lookup(Source.FORGE, name)
        assert entry is not None, name
        assert (entry.type, entry.is_activity) == (kind, True)


def test_weekends_and_company_holidays_are_quiet(acts: list[Activity]) -> None:
    of_people = Counter(local_day(act, "Europe/Berlin") for act in acts if act.actor_kind is not ActorKind.APP)
    weekend = [count for day, count in of_people.items() if day.weekday() >= SATURDAY]
    working = [count for day, count in of_people.items() if day.weekday() < SATURDAY]
    assert sum(weekend) / len(weekend) < 0.15 * sum(working) / len(working)
    assert of_people[date(2025, 12, 25)] < 5


def test_one_day_of_mass_import_stands_out(acts: list[Activity]) -> None:
    created = Counter(local_day(act, "UTC") for act in acts if act.type is ActivityType.CREATE)
    (day, most), (_, second) = created.most_common(2)
    assert day == demo.import_day(TODAY) == date(2026, 7, 8)
    assert most > demo.IMPORT_PAGES > 10 * second


def test_people_keep_their_habits(acts: list[Activity], members: list[Member]) -> None:
    for member in with_habit(members, Habit.MONDAYS):
        assert {day.weekday() for day in days_of(acts, member)} == {MONDAY}
    for member in with_habit(members, Habit.NEVER):
        assert days_of(acts, member) == set()
    for member in with_habit(members, Habit.GONE):
        assert max(days_of(acts, member)) <= member.last < TODAY - timedelta(days=30)
    for member in with_habit(members, Habit.NEW):
        assert min(days_of(acts, member)) >= member.first > TODAY - timedelta(days=151)


def test_readers_only_read(acts: list[Activity], members: list[Member]) -> None:
    readers = {member.account for member in with_habit(members, Habit.READER)}
    assert {act.type for act in acts if act.account in readers} == {ActivityType.VIEW}


def test_people_work_in_the_daytime_of_their_zone(acts: list[Activity], members: list[Member]) -> None:
    zones = {member.account: member.zone for member in members if member.kind is not ActorKind.APP}
    hours = Counter(
        datetime.fromtimestamp(act.occurred_at / 1000, ZoneInfo(zones[act.account])).hour for act in acts if act.account in zones
    )
    assert sum(hours[hour] for hour in range(7, 19)) > 0.97 * sum(hours.values())


@pytest.fixture
def short_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of one month: enough to see how it is stored."""
    monkeypatch.setattr(demo, "MONTHS", 1)


def stored(store: Engine) -> tuple[int, int, int]:
    """Number of activities, their last arrival, and number of people of the sample site."""
    with read_transaction(store) as connection:
        site_id = find_site(connection, demo.SITE)
        assert site_id is not None
        rows = activity_columns(connection, site_id, 0, 0)
        return len(rows.person), rows.last_received_at or 0, len(people(connection, site_id))


@pytest.mark.usefixtures("short_site")
def test_loading_again_adds_nothing_and_a_later_day_adds_only_what_is_new(store: Engine) -> None:
    first = demo.load_demo(store, TODAY)
    assert first.inserted > 5_000
    assert stored(store)[0] == first.inserted
    assert demo.load_demo(store, TODAY) == Recorded(0, first.inserted)
    later = demo.load_demo(store, TODAY + timedelta(days=1))
    assert 0 < later.inserted < 1_500
    assert stored(store)[0] == first.inserted + later.inserted


@pytest.mark.usefixtures("short_site")
def test_the_sample_ends_where_it_is_told_to(store: Engine) -> None:
    noon = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() * 1000)
    demo.load_demo(store, TODAY, until=noon)
    assert noon - 3_600_000 < stored(store)[1] <= noon


@pytest.mark.usefixtures("short_site")
def test_the_directory_holds_everybody_also_those_who_never_act(store: Engine) -> None:
    seen: list[tuple[int, int]] = []
    demo.load_demo(store, TODAY, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == stored(store)[0]
    with read_transaction(store) as connection:
        site_id = find_site(connection, demo.SITE)
        assert site_id is not None
        everybody = people(connection, site_id)
        names = set(groups(connection, site_id)["name"])
        belonging = memberships(connection, site_id)
    assert len(everybody) == 203
    assert Counter(everybody["kind"]) == {"person": 198, "guest": 2, "app": 3}
    assert Counter(everybody["state"])["deactivated"] > 2
    assert Counter(everybody["state"])["invited"] > 0
    never = {member.account for member in with_habit(cast(TODAY, 42), Habit.NEVER)}
    assert everybody.loc[everybody["account_id"].isin(never), "last_active_at"].isna().all()
    assert names == {"confluence-users", *DEPARTMENTS}
    assert belonging["person_id"].nunique() == 198

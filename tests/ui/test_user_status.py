"""User Status without a browser: the list is the report's, each filter leaves what it says, and bad addresses are put right."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.ui.conftest import Open
from tests.ui.seed import HOSTILE, PEOPLE, activities, new_store
from tests.ui.test_pages import BERLIN, everything_written, selection, snapshot, today
from uar.activity import ActivityType
from uar.report.people import newest_first, people_table
from uar.report.status import Rules, Status
from uar.store.database import open_store, write_transaction
from uar.store.directory import Group, Person, save_groups, save_members, save_people
from uar.store.reads import people as read_people
from uar.store.sync_state import note_attempt
from uar.store.writes import ensure_site, record_activities
from uar.ui.grid import grid_rows
from uar.ui.people import Directory, Everybody, Names, directory, ordered, passing
from uar.ui.people_filters import DEFAULT_SORT, PeopleFilters, Where, sort_of, where_of
from uar.ui.person_dialog import group_median
from uar.ui.person_timeline import timeline
from uar.ui.theme import LIGHT

TAB = "pages/user_status.py"
NOW = 1_780_000_000_000


def shown(page: AppTest) -> str:
    """The words under the list: `1–9 of 9 accounts`."""
    return next(text for text in (str(one.value) for one in page.markdown) if " of " in text and text.endswith("]]") and "–" in text)


def grid(page: AppTest) -> dict[str, object]:
    """What the page hands to AG Grid."""
    return dict(json.loads(page.get("component_instance")[0].proto.json_args))


def table_of(folder: Path) -> pd.DataFrame:
    found = snapshot(folder)
    start = today() - timedelta(days=364)
    asked = selection((today() - start).days + 1, found)
    return people_table(found.mirror, found.people, asked, Rules(today(), BERLIN, (30, 90), found.recorded_from_ms))


def with_directory(folder: Path) -> None:
    """Two people who never came, a deactivated one, and groups of two and of six; synced just now."""
    engine = open_store(f"sqlite:///{folder / 'uar.db'}")
    now = int(time.time() * 1000)
    people = [
        Person("never-1", "=cmd|' /C calc'!A0", "one@example.org", "person", "active", now - 400 * 86_400_000),
        Person("never-2", HOSTILE, "two@example.org", "guest", "active", now - 400 * 86_400_000),
        Person("left-1", "Gone Away", "gone@example.org", "person", "deactivated", now - 400 * 86_400_000),
    ]
    with write_transaction(engine) as connection:
        site = ensure_site(connection, "wiki")
        ids = save_people(connection, site, people, now, listed_at=now).ids
        everybody = read_people(connection, site)
        known = everybody.loc[everybody["account_id"].str.startswith("account-"), "id"].tolist()
        groups = save_groups(connection, site, [Group("small", "Small"), Group("large", "Large")])
        save_members(connection, groups["small"], [ids["never-1"], ids["never-2"]])
        save_members(connection, groups["large"], [*known[:6], ids["never-1"]])
    engine.dispose()


def test_a_new_name_and_state_is_on_the_list_after_refresh(open_page: Open, seeded: Path) -> None:
    page = open_page({"search": "Ann Other"}, page=TAB)
    assert "1–1 of 1 account" not in everything_written(page)
    engine = open_store(f"sqlite:///{seeded / 'uar.db'}")
    with write_transaction(engine) as connection:
        save_people(connection, ensure_site(connection, "wiki"), [Person("account-1", "Ann Other", state="deactivated")], 5)
    engine.dispose()
    page.button(key="refresh").click().run()
    assert "1–1 of 1 account" in everything_written(page)


def test_two_people_who_swap_their_groups_make_another_directory(data_dir: Path) -> None:
    engine = new_store(data_dir)
    with write_transaction(engine) as connection:
        site = ensure_site(connection, "wiki")
        ids = list(save_people(connection, site, [Person(f"p{number}") for number in range(8)], 1).ids.values())
        groups = list(save_groups(connection, site, [Group(f"g{number}", f"G{number}") for number in range(9)]).values())

    def version(first: int, second: int) -> int:
        st.cache_resource.clear()
        with write_transaction(engine) as connection:
            save_members(connection, groups[0], [first])
            save_members(connection, groups[8], [second])
        return directory("wiki").version

    for first, second in itertools.combinations(ids, 2):
        assert version(first, second) != version(second, first)
    engine.dispose()


def test_everybody_is_listed_as_the_report_lists_them(open_page: Open, seeded: Path) -> None:
    page = open_page(page=TAB)
    assert not page.exception
    assert f"1–{PEOPLE + 1} of {PEOPLE + 1} accounts" in shown(page)
    assert page.button_group[0].options  # the counts by status
    export = next(button for button in page.get("download_button"))
    assert export.proto.label == f"Export {PEOPLE + 1} accounts (CSV)"


def test_before_a_sync_one_line_says_what_it_adds(open_page: Open, seeded: Path) -> None:
    written = everything_written(open_page(page=TAB))
    assert "people seen in events" in written
    assert "python -m uar sync" in written


def test_after_a_sync_those_who_never_came_are_there(open_page: Open, seeded: Path) -> None:
    with_directory(seeded)
    page = open_page({"status": "Never seen"}, page=TAB)
    assert not page.exception
    assert "people seen in events" not in everything_written(page)
    assert "1–2 of 2 accounts" in shown(page)


def test_a_failed_sync_is_told_with_its_remedy(open_page: Open, seeded: Path) -> None:
    engine = open_store(f"sqlite:///{seeded / 'uar.db'}")
    with write_transaction(engine) as connection:
        note_attempt(connection, "wiki", NOW, "The site refused the credentials (401): make a new token.")
    engine.dispose()
    page = open_page(page=TAB)
    assert [warning.value.replace("\\", "") for warning in page.warning] == [
        "The directory could not be read. The site refused the credentials (401): make a new token."
    ]


def test_a_young_recording_says_from_when_never_seen_can_be_said(open_page: Open, data_dir: Path) -> None:
    engine = new_store(data_dir)
    recent = int((time.time() - 20 * 86_400) * 1000)
    with write_transaction(engine) as connection:
        record_activities(connection, [act for act in activities("wiki") if act.occurred_at > recent])
    engine.dispose()
    assert "“Never seen” can be said from" in everything_written(open_page(page=TAB))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"search": "NUMBER3"}, lambda table: table["display_name"] == "Person Number3"),
        ({"status": "Active"}, lambda table: table["status"] == "Active"),
        ({"kind": "App"}, lambda table: table["kind"] == "app"),
        ({"seen": "Today"}, lambda table: table["days_since_last_active"] == 0),
        ({"least": "60"}, lambda table: table["events"] >= 60),
        ({"where": "events.lessThanOrEqual.60"}, lambda table: table["events"] <= 60),
        ({"where": ["events.inRange.10~90", "person.contains.number"]}, lambda table: table["events"].between(10, 90)),
        ({"where": "last_type.equals.Comment"}, lambda table: table["last_type"] == "comment"),
        ({"search": "nobody at all"}, lambda table: table["events"] < 0),
    ],
)
def test_each_filter_leaves_what_it_says(open_page: Open, seeded: Path, query: Mapping[str, str | list[str]], expected: object) -> None:
    hits = int(expected(table_of(seeded)).fillna(False).sum())  # type: ignore[operator]
    page = open_page(query, page=TAB)
    assert not page.exception
    assert f" of {hits} {'account' if hits == 1 else 'accounts'}" in shown(page)


def test_a_group_filters_by_its_members(open_page: Open, seeded: Path) -> None:
    with_directory(seeded)
    assert "1–2 of 2 accounts" in shown(open_page({"group": "small"}, page=TAB))
    assert "1–7 of 7 accounts" in shown(open_page({"group": "Large"}, page=TAB))


def test_nobody_found_is_not_the_same_as_nobody_there(open_page: Open, seeded: Path) -> None:
    page = open_page({"search": "nobody at all"}, page=TAB)
    assert [info.value for info in page.info] == ["Nobody fits these filters."]
    page.button(key="nobody.clear").click().run()
    assert f"of {PEOPLE + 1} accounts" in shown(page)


def test_every_filter_is_a_chip_that_lifts_it(open_page: Open, seeded: Path) -> None:
    page = open_page({"search": "person", "status": ["Active", "App"], "where": "events.greaterThanOrEqual.1"}, page=TAB)
    labels = {button.key: button.label.replace("\\", "") for button in page.button if str(button.key).startswith("chip.")}
    assert labels == {
        "chip.search": "Name or email: person",
        "chip.status": "Status: Active, App",
        "chip.where.events.greaterThanOrEqual.1": "Events at least 1",
        "chip.all": "Clear all",
    }
    page.button(key="chip.where.events.greaterThanOrEqual.1").click().run()
    assert "where" not in page.query_params
    page.button(key="chip.all").click().run()
    assert f"of {PEOPLE + 1} accounts" in shown(page)
    assert not [button for button in page.button if str(button.key).startswith("chip.")]


@pytest.mark.parametrize("tab", ["pages/activity_dashboard.py", TAB])
def test_clear_all_filters_lifts_those_of_both_tabs_and_leaves_what_is_no_filter(open_page: Open, seeded: Path, tab: str) -> None:
    address = {"search": "person", "status": "Active", "least": "2", "where": "events.greaterThanOrEqual.1", "types": "View", "page": "2"}
    page = open_page(address | {"sort": "events-desc", "columns": "Status", "rows": "25"}, page=tab if tab == TAB else "")
    clear = next(button for button in page.sidebar.button if button.label == "Clear all filters")
    clear.click().run()
    assert not page.exception
    assert page.query_params == {"sort": "events-desc", "columns": "Status", "rows": "25"}


def test_a_filter_goes_to_the_first_page(open_page: Open, data_dir: Path) -> None:
    with_people(data_dir, 120)
    page = open_page({"rows": "25", "page": "3"}, page=TAB)
    page.multiselect(key="status").set_value(["New"]).run()
    assert shown(page).startswith(":small[:gray[1–25 of ")


def test_a_directory_without_events_is_listed_and_says_what_cannot_be_said_yet(open_page: Open, data_dir: Path) -> None:
    with_people(data_dir, 3, events=0)
    page = open_page(page=TAB)
    assert not page.exception
    assert "1–3 of 3 accounts" in shown(page)
    assert list(page.button_group[0].options) == ["… Not enough history 3"]
    assert "Nothing is recorded yet. After 90 days of recording" in everything_written(page)
    page.query_params["person"] = "p1"
    page.run()
    assert not page.exception
    assert "Person 001" in [header.value for header in page.header]
    dashboard = open_page()
    assert dashboard.header[0].value == "Connect Confluence"
    assert "3 people of the directory can be seen already" in everything_written(dashboard)


def test_a_bad_address_becomes_the_nearest_valid_one(open_page: Open, seeded: Path) -> None:
    bad = {
        "status": "inact,never,nonsense", "group": "nope", "kind": "gue", "seen": "last 7", "least": "-4", "rows": "60", "page": "99",
        "sort": "EVENTS-desc", "where": ["foo.bar.1", "events.equals.x"], "person": "nobody",
    }  # fmt: skip
    page = open_page(bad, page=TAB)
    assert not page.exception
    kept = {key: value for key, value in page.query_params.items() if key != "page"}
    assert kept == {"status": ["Inactive", "Never seen"], "kind": "Guest", "seen": "Last 7 days", "sort": "events-desc"}


@pytest.mark.parametrize(
    ("text", "expected"), [("cleanup", ("cleanup", "")), ("", DEFAULT_SORT), ("x-desc", DEFAULT_SORT), ("view-asc", ("view", "asc"))]
)
def test_an_order_is_read_from_its_word(text: str, expected: tuple[str, str]) -> None:
    assert sort_of(text) == expected


def test_a_column_filter_survives_the_address() -> None:
    for where in (Where("events", "inRange", "1", "5"), Where("person", "contains", "a.b~c"), Where("days", "equals", "3")):
        assert where_of(where.as_text) == where
    assert where_of("events.greaterThanOrEqual.nan") is None
    assert where_of("line.contains.x") is None


def test_the_default_order_is_the_reports(seeded: Path) -> None:
    table = table_of(seeded)
    assert ordered(table, DEFAULT_SORT, Names(table)).tolist() == newest_first(table).tolist()


def test_clean_up_begins_with_who_never_came_and_ends_with_who_cannot_be_cleaned_up(seeded: Path) -> None:
    with_directory(seeded)
    table = table_of(seeded)
    statuses = table["status"].iloc[ordered(table, ("cleanup", ""), Names(table))].tolist()
    assert statuses[:2] == ["Never seen"] * 2
    assert set(statuses[-2:]) == {"App", "Deactivated"}
    between = table["last_active_at"].iloc[ordered(table, ("cleanup", ""), Names(table))].iloc[2:-2].tolist()
    assert between == sorted(between)


@pytest.mark.parametrize("column", ["events", "active_days", "view", "person", "status", "last_type", "line"])
def test_an_order_is_that_of_the_column(seeded: Path, column: str) -> None:
    table = table_of(seeded)
    by = {
        "person": table["display_name"].str.casefold(),
        "status": table["status"].map({"Active": 0, "Low": 1, "App": 8}),
        "line": table["line"].map(lambda line: sum(day != "▁" for day in line)),
    }.get(column, table.get(column))
    assert by is not None
    up = by.iloc[ordered(table, (column, "asc"), Names(table))].tolist()
    assert up == sorted(up)
    assert by.iloc[ordered(table, (column, "desc"), Names(table))].tolist() == up[::-1]


def with_people(folder: Path, count: int, events: int = 500) -> None:
    """A new store with so many people of a directory, who did nothing, and the last events of the small site."""
    engine = new_store(folder)
    now = int(time.time() * 1000)
    listed = [Person(f"p{n}", f"Person {n:03}", None, "person", "active", None) for n in range(count)]
    with write_transaction(engine) as connection:
        record_activities(connection, activities("wiki")[:events])
        save_people(connection, ensure_site(connection, "wiki"), listed, now, listed_at=now)
    engine.dispose()


def test_a_page_sends_no_more_than_it_shows(open_page: Open, data_dir: Path) -> None:
    with_people(data_dir, 120)
    page = open_page({"rows": "25", "page": "2"}, page=TAB)
    assert shown(page).startswith(":small[:gray[26–50 of 1")


def test_the_grid_shows_dates_and_never_hours(seeded: Path) -> None:
    table = table_of(seeded)
    rows = grid_rows(table, today(), BERLIN)
    assert rows["status"].iloc[0] == f"{Status(table['status'].iloc[0]).shape} {table['status'].iloc[0]}"
    assert not rows["last_day"].str.contains(":").any()
    assert set(rows["last"]) <= {"today", "yesterday", *(f"{days} days ago" for days in range(2, 110))}


def test_the_drawer_shows_the_persons_own_numbers(open_page: Open, seeded: Path) -> None:
    page = open_page({"person": "account-3"}, page=TAB)
    assert not page.exception
    mine = table_of(seeded).set_index("account_id").loc["account-3"]
    cards = {card.label: card.value for card in page.metric}
    assert cards["Active Days"].startswith(f"{mine['active_days']} of ")
    assert cards["Longest Streak"] == f"{mine['longest_streak']} day{'' if mine['longest_streak'] == 1 else 's'}"
    assert "Person Number3" in [header.value for header in page.header]
    assert page.button(key="person.Next").label == "Next"


def test_next_goes_to_the_next_of_the_list(open_page: Open, seeded: Path) -> None:
    table = table_of(seeded)
    accounts = table["account_id"].iloc[newest_first(table)].tolist()
    page = open_page({"person": accounts[1]}, page=TAB)
    page.button(key="person.Next").click().run()
    assert page.query_params["person"] == accounts[2]


def test_an_apps_own_record_is_counted_in_its_drawer(open_page: Open, seeded: Path) -> None:
    page = open_page({"person": f"account-{PEOPLE}"}, page=TAB)
    assert not {card.label: card.value for card in page.metric}["Active Days"].startswith("0 of")


def filters(**changes: object) -> PeopleFilters:
    none = {"search": "", "statuses": frozenset(), "groups": frozenset(), "kinds": frozenset(), "seen": "Any time", "least": 0}
    return PeopleFilters(**(none | {"where": (), "sort": DEFAULT_SORT} | changes))  # type: ignore[arg-type]


def test_a_search_is_text_and_not_a_pattern(seeded: Path) -> None:
    table = table_of(seeded)
    known = Directory(pd.DataFrame({"id": [], "name": []}), pd.DataFrame({"group_id": [], "person_id": []}), None, None, 0)
    assert not passing(table, filters(search=".*"), known, Names(table)).any()
    assert passing(table, filters(search="pERSON"), known, Names(table)).all()


def test_a_median_is_told_for_five_people_and_not_for_four(seeded: Path) -> None:
    from uar.ui.person_dialog import Person as Opened

    table = table_of(seeded)
    people = table.loc[table["kind"] == "person", "id"].tolist()
    groups = pd.DataFrame({"id": [1, 2], "name": ["Four", "Five"]})
    members = pd.DataFrame({"group_id": [1] * 4 + [2] * 5, "person_id": people[:4] + people[:5]})
    known = Directory(groups, members, None, None, 0)
    everybody = Everybody(table, Rules(today(), BERLIN), (), Names(table))
    found = group_median(Opened(people[0], table.iloc[0], 0, selection(1, snapshot(seeded))), everybody, known)
    assert found is not None
    assert found.group == "Five"
    assert found.counts["events"] == float(np.median(table.loc[table["id"].isin(people[:5]), "events"]))
    four = Directory(groups, members[members["group_id"] == 1], None, None, 0)
    assert group_median(Opened(people[0], table.iloc[0], 0, selection(1, snapshot(seeded))), everybody, four) is None


def test_the_time_line_joins_equal_activities_of_a_day_and_links_pages_only() -> None:
    rows = [
        (1_711_750_000_000, ActivityType.VIEW, "avi:confluence:viewed:page", "12", "Plan"),
        (1_711_740_000_000, ActivityType.VIEW, "avi:confluence:viewed:page", "12", "Plan"),
        (1_711_660_000_000, ActivityType.COMMENT, "avi:confluence:created:comment", "77", None),
        (1_711_660_000_000, ActivityType.VIEW, "avi:confluence:viewed:page", "x/../y", None),
    ]
    frame = pd.DataFrame(rows, columns=["occurred_at", "type", "event_name", "content_id", "title"])
    frame["type"] = frame["type"].astype("int64")
    frame = frame.assign(space_key="DOCS", space_name="Docs")
    found = timeline(frame, BERLIN, "https://wiki.example.org/")
    assert found["Times"].tolist() == [2, 1, 1]
    assert found["Object"].tolist() == ["Plan", "Comment 77", "Page x/../y"]
    assert found["Link"].tolist()[0] == "https://wiki.example.org/pages/viewpage.action?pageId=12"
    assert found["Link"].isna().tolist() == [False, True, True]
    assert [str(day) for day in found["Day"]] == ["2024-03-29", "2024-03-28", "2024-03-28"]
    assert "Link" not in timeline(frame, BERLIN, None)


@pytest.mark.parametrize(
    ("base", "event", "content", "space", "expected"),
    [
        ("https://acme.atlassian.net/wiki", "avi:confluence:viewed:blogpost", "9", None, "/pages/viewpage.action?pageId=9"),
        ("https://acme.atlassian.net/wiki/", "avi:confluence:updated:space:V2", "5", "ENG", "/spaces/ENG"),
        ("https://wiki.example.org", "blog_created", "9", "ENG", "/pages/viewpage.action?pageId=9"),
        ("https://wiki.example.org", "space_created", None, "~jo/../x", "/display/~jo%2F..%2Fx"),
        ("https://wiki.example.org", "space_removed", None, "ENG", None),
        ("https://wiki.example.org", "page_trashed", "9", "ENG", None),
    ],
)
def test_a_link_leads_to_the_object(base: str, event: str, content: str | None, space: str | None, expected: str | None) -> None:
    kind = ActivityType.DELETE if event == "page_trashed" else ActivityType.VIEW
    row = {"occurred_at": NOW, "type": kind.value, "event_name": event, "content_id": content, "title": None, "space_key": space}
    frame = pd.DataFrame([row | {"space_name": None}])
    found = timeline(frame, BERLIN, base)["Link"].iloc[0]
    assert found == (expected and base.rstrip("/") + expected)


def test_my_activity_says_that_it_needs_a_login(open_page: Open, seeded: Path) -> None:
    page = open_page(page="pages/my_activity.py")
    assert not page.exception
    assert "no login" in page.info[0].value


def test_colors_of_the_status_words_can_be_read() -> None:
    from uar.ui.grid import STATUS_COLORS
    from uar.ui.theme import DARK

    def light(color: str) -> float:
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for shades in STATUS_COLORS.values():
        for color, theme in zip(shades, (LIGHT, DARK), strict=True):
            low, high = sorted((light(color), light(theme.surface)))
            assert (high + 0.05) / (low + 0.05) >= 4.5

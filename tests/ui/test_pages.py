"""The pages on a real store, without a browser: what they show, that filters change numbers as the report does, and bad addresses."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pytest
from streamlit.testing.v1 import AppTest

from tests.ui.conftest import ROOT, Open
from tests.ui.seed import DAYS, PEOPLE, activities, fill, new_store
from uar.activity import DAY_MS, ActivityType, ActorKind, identity
from uar.live import LiveMirror, Snapshot
from uar.report.breakdown import active_people, breakdown
from uar.report.days import calendar
from uar.report.selection import Selection
from uar.report.streaks import WorkingDays, kpis
from uar.store.database import open_store, read_transaction, write_transaction
from uar.store.reads import site_names
from uar.store.retention import prune
from uar.store.writes import ensure_site, extend_coverage, record_activities, start_coverage
from uar.ui import data

TABS = ("", "pages/user_status.py")
BERLIN = "Europe/Berlin"


def snapshot(folder: Path, site: str = "wiki") -> Snapshot:
    engine = open_store(f"sqlite:///{folder / 'uar.db'}")
    with read_transaction(engine) as connection:
        sites = site_names(connection)
    return LiveMirror(engine, int(sites.loc[sites["name"] == site, "id"].iloc[0]), 0, None).refresh()


def today(zone: str = BERLIN) -> date:
    return datetime.now(UTC).astimezone(ZoneInfo(zone)).date()


def selection(days: int, found: Snapshot, zone: str = BERLIN, types: frozenset[ActivityType] = frozenset(ActivityType)) -> Selection:
    return Selection(today(zone) - timedelta(days=days - 1), today(zone), zone, types, left_out=found.app_ids)


def cards(page: AppTest) -> dict[str, str]:
    return {card.label: card.value for card in page.metric}


def everything_written(page: AppTest) -> str:
    return " ".join(
        [str(element.value) for kind in ("markdown", "header", "title", "code", "info", "error", "caption") for element in page.get(kind)]
    )


@pytest.mark.parametrize("tab", TABS)
def test_an_empty_store_without_a_source_says_how_to_connect(open_page: Open, tab: str) -> None:
    page = open_page(page=tab)
    assert not page.exception
    written = everything_written(page)
    assert "Connect Confluence" in written
    assert "UAR_DATACENTER_SECRETS" in written
    assert page.button(key="setup.sample").label == "Load the sample site"
    assert not page.metric


def test_a_configured_source_shows_address_and_command_but_never_the_secret(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UAR_DATACENTER_SECRETS", "wiki=s3cr3t-of-wiki")
    monkeypatch.setenv("UAR_CONNECT_TOKENS", "acme=t0k3n-of-acme")
    page = open_page()
    written = everything_written(page)
    assert "Waiting for the first event" in written
    assert "http://127.0.0.1:8080/webhooks/datacenter/wiki" in written
    assert "http://127.0.0.1:8080/webhooks/connect/acme/" in written
    assert "openssl dgst -sha256 -hmac" in written
    assert "s3cr3t" not in written
    assert "t0k3n" not in written


@pytest.mark.parametrize("tab", TABS)
def test_a_filled_store_opens_without_error(open_page: Open, seeded: Path, tab: str) -> None:
    page = open_page(page=tab)
    assert not page.exception
    assert not page.error
    assert page.title[0].value == ("User Status" if tab else "Activity Dashboard")
    assert [link.label for link in page.get("link_button")] == ["Documentation", "Support"]
    assert page.button(key="refresh").label == "Refresh"


def test_a_page_that_streamlit_runs_by_itself_runs_again_after_the_main_script(seeded: Path) -> None:
    page = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=30).run()
    page.switch_page("pages/user_status.py").run()
    assert not page.exception
    assert page.title[0].value == "User Status"


def test_the_cards_are_the_report(open_page: Open, seeded: Path) -> None:
    found = snapshot(seeded)
    days = calendar(found.mirror, selection(90, found))
    expected = kpis(days, today=today(), recorded_from=today() - timedelta(days=DAYS))
    assert cards(open_page({"period": "90 days"})) == {
        "Active Days": f"{expected.active_days} of 90",
        "Longest Streak": f"{expected.longest_streak} days",
        "Current Streak": f"{expected.current_streak} day{'' if expected.current_streak == 1 else 's'}",
        "Active people": str(PEOPLE),
    }


def test_days_before_recording_are_not_in_the_denominator(open_page: Open, seeded: Path) -> None:
    active, of_days = cards(open_page())["Active Days"].split(" of ")
    assert 80 <= int(active) < int(of_days)
    assert int(of_days) in (DAYS - 1, DAYS, DAYS + 1)  # a Sunday or the zone may move the first day


@pytest.mark.parametrize(("zone", "first"), [("", 10), ("America/New_York", 9), ("Asia/Kathmandu", 10)])
def test_all_time_begins_with_the_first_activity_in_the_zone_that_is_looked_from(
    open_page: Open, data_dir: Path, zone: str, first: int
) -> None:
    engine = new_store(data_dir)
    at = int(datetime(2026, 3, 9, 23, 30, tzinfo=UTC).timestamp() * 1000)
    with write_transaction(engine) as connection:
        record_activities(connection, [replace(activities("wiki")[0], occurred_at=at, key=b"k" * 16)])
    engine.dispose()
    page = open_page({"period": "All time"} | ({"zone": zone} if zone else {}))
    assert any(f"[{first} Mar" in str(line.value) for line in page.sidebar.markdown)
    assert cards(page)["Active Days"].startswith("1 of ")


def test_a_streak_of_an_ended_period_is_compared_with_nothing(open_page: Open, seeded: Path) -> None:
    ended = open_page({"period": "Last month"}).metric
    assert (ended[2].value, ended[2].delta) == ("0 days", "")
    assert ended[0].delta
    assert open_page({"period": "30 days"}).metric[2].delta


def test_custom_days_are_in_the_address_from_the_start_and_one_day_is_a_range(open_page: Open, seeded: Path) -> None:
    page = open_page({"period": "Last month"})
    page.selectbox(key="period").set_value("Custom").run()
    first, last = page.query_params["range"]
    again = open_page({"period": "Custom", "range": [first, last]})
    assert cards(again) == cards(page)
    day = (today() - timedelta(days=40)).isoformat()
    assert cards(open_page({"period": "Custom", "range": day}))["Active Days"].endswith(" of 1")


def test_another_site_begins_without_the_spaces_of_the_one_before(open_page: Open, seeded: Path) -> None:
    engine = open_store(f"sqlite:///{seeded / 'uar.db'}")
    fill(engine, "other")
    engine.dispose()
    page = open_page({"site": "wiki", "spaces": "ENG", "person": "account-1"})
    assert page.session_state["spaces"]
    page.selectbox(key="site").set_value("other").run()
    assert not page.session_state["spaces"]
    assert not {"spaces", "person"} & set(page.query_params)


def test_working_days_lengthen_streaks_over_quiet_sundays(open_page: Open, seeded: Path) -> None:
    found = snapshot(seeded)
    days = calendar(found.mirror, selection(90, found))
    expected = kpis(days, today=today(), recorded_from=today() - timedelta(days=DAYS), working_days=WorkingDays())
    page = open_page({"period": "90 days"})
    before = page.metric[1].value
    page.toggle(key="workdays").set_value(True).run()
    assert page.metric[1].value == f"{expected.longest_streak} days" != before


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ({"types": "Comment"}, {ActivityType.COMMENT}),
        ({"types": ["View", "Like"]}, {ActivityType.VIEW, ActivityType.LIKE}),
        ({"noviews": "true"}, set(ActivityType) - {ActivityType.VIEW}),
        ({"types": "View", "noviews": "true"}, set()),
    ],
)
def test_types_in_the_address_change_the_numbers_as_the_report_does(
    open_page: Open, seeded: Path, query: dict[str, str | list[str]], types: set[ActivityType]
) -> None:
    found = snapshot(seeded)
    asked = selection(30, found, types=frozenset(types))
    page = open_page({"period": "30 days"} | query)
    assert cards(page)["Active people"] == str(active_people(found.mirror, asked))
    total = int(breakdown(found.mirror, asked)["events"].sum())
    assert f"{total:,} event{'' if total == 1 else 's'}." in everything_written(page)


def test_the_zone_of_the_browser_is_the_default_under_its_current_name(open_page: Open, seeded: Path) -> None:
    page = open_page(timezone="Asia/Calcutta")
    assert page.selectbox(key="zone").value == "Asia/Kolkata"
    assert "zone" not in page.query_params
    label = next(option for option in page.selectbox(key="zone").options if option.startswith("Asia/Kolkata"))
    assert label == "Asia/Kolkata (UTC+5:30)"


def test_another_zone_cuts_other_days(open_page: Open, seeded: Path) -> None:
    found = snapshot(seeded)
    for zone in ("Pacific/Kiritimati", "Pacific/Niue"):
        expected = breakdown(found.mirror, selection(7, found, zone))["events"].sum()
        assert f"{expected:,} events." in everything_written(open_page({"period": "7 days", "zone": zone}))


def test_a_space_is_chosen_by_key_and_its_name_is_only_text(open_page: Open, seeded: Path) -> None:
    found = snapshot(seeded)
    docs = int(found.spaces.loc[found.spaces["space_key"] == "DOCS", "id"].iloc[0])
    page = open_page({"period": "30 days", "spaces": "docs"})
    asked = Selection(today() - timedelta(days=29), today(), BERLIN, spaces=frozenset({docs}), left_out=found.app_ids)
    assert cards(page)["Active people"] == str(active_people(found.mirror, asked))
    chip = page.button(key="chip.spaces").label
    assert r"\<script\>" in chip
    assert "<script>" not in chip


def test_a_day_in_the_address_narrows_people_and_breakdown(open_page: Open, seeded: Path) -> None:
    found = snapshot(seeded)
    day = today() - timedelta(days=1 if today().weekday() else 2)
    asked = Selection(day, day, BERLIN, left_out=found.app_ids)
    page = open_page({"day": day.isoformat()})
    assert cards(page)["Active people"] == str(active_people(found.mirror, asked))
    page.button(key="chip.day").click().run()
    assert "day" not in page.query_params
    assert cards(page)["Active people"] == str(PEOPLE)


@pytest.mark.parametrize(
    ("query", "settled"),
    [
        ({"zone": "Asia/Calcutta"}, {"zone": "Asia/Kolkata (UTC+5:30)"}),
        ({"zone": "Mars/Base"}, {}),
        ({"period": "30D"}, {"period": "30 days"}),
        ({"period": "2019"}, {"period": "2019"}),
        ({"period": "12 years"}, {}),
        ({"types": ["view", "nope"]}, {"types": "View"}),
        ({"types": "nope"}, {}),
        ({"spaces": "eng"}, {"spaces": "Engineering (ENG)"}),
        ({"week": "sunday"}, {"week": "Sun"}),
        ({"week": ""}, {}),
        ({"workdays": "maybe"}, {}),
        ({"noviews": "1"}, {"noviews": "true"}),
        ({"color": "people"}, {"color": "People"}),
        ({"table": "yes"}, {"table": "true"}),
        ({"day": "2026-99-99"}, {}),
        ({"day": "x" * 5_000}, {}),
        ({"range": ["2026-03-01", "2026-01-01"]}, {"range": ["2026-01-01", "2026-03-01"], "period": "Custom"}),
        ({"range": "soon"}, {}),
        ({"site": "elsewhere"}, {}),
        ({"foo": "\x00<b>"}, {"foo": "\x00<b>"}),
    ],
)
def test_any_address_opens_with_the_nearest_valid_filter(
    open_page: Open, seeded: Path, query: dict[str, str | list[str]], settled: dict[str, object]
) -> None:
    page = open_page(query)
    assert not page.exception
    assert not page.error
    assert page.metric
    assert {key: page.query_params[key] for key in page.query_params} == settled


def test_a_day_without_a_worker_is_not_recorded_and_no_end_of_a_streak(open_page: Open, data_dir: Path) -> None:
    midnight = int(datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
    one = activities("wiki")[0]
    acts = [replace(one, occurred_at=midnight - back * DAY_MS, key=identity("wiki", "gap", back)) for back in (1, 2, 3, 5, 6)]
    engine = new_store(data_dir)
    with write_transaction(engine) as connection:
        record_activities(connection, acts)
        for since, until in ((midnight - 12 * DAY_MS, midnight - 4 * DAY_MS), (midnight - 3 * DAY_MS, midnight + DAY_MS)):
            extend_coverage(connection, start_coverage(connection, "a worker", since), until)
    engine.dispose()
    page = open_page({"period": "7 days"}, timezone="UTC")
    found = cards(page)
    assert (found["Longest Streak"], found["Current Streak"]) == ("5 days", "5 days")
    targets = json.loads(page.get("plotly_chart")[0].proto.spec)["data"][2]
    hover = dict(zip(targets["customdata"], targets["hovertext"], strict=True))
    assert [day for day, said in hover.items() if said.endswith("Not recorded")] == [(today("UTC") - timedelta(days=4)).isoformat()]
    assert any("not recorded" in legend.proto.body for legend in page.get("html"))


def test_a_year_without_data_says_so(open_page: Open, seeded: Path) -> None:
    page = open_page({"period": "2019"})
    assert page.info[0].value.startswith("There is no data for 1 Jan – 31 Dec 2019: recording began on ")
    assert cards(page)["Active Days"] == "0 of 0"


def test_days_that_were_pruned_are_neither_quiet_nor_in_the_second_number(open_page: Open, seeded: Path) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    prune(open_store(f"sqlite:///{seeded / 'uar.db'}"), int((midnight - timedelta(days=9)).timestamp() * 1000))
    page = open_page({"period": "2019"}, timezone="UTC")
    assert page.info[0].value.startswith("There is no data for 1 Jan – 31 Dec 2019: what is older than ")
    assert cards(open_page({"period": "90d"}, timezone="UTC"))["Active Days"].endswith(" of 10")


@pytest.mark.parametrize("tab", TABS)
def test_a_site_of_which_everything_is_pruned_is_not_a_new_one(open_page: Open, seeded: Path, tab: str) -> None:
    prune(open_store(f"sqlite:///{seeded / 'uar.db'}"), int(time.time() * 1000) + DAY_MS)
    page = open_page(page=tab)
    assert not page.exception
    assert not page.error
    assert page.title[0].value == ("User Status" if tab else "Activity Dashboard")
    assert "Connect Confluence" not in everything_written(page)


def test_no_results_differ_from_no_data(open_page: Open, seeded: Path) -> None:
    page = open_page({"types": "Space"})
    assert page.info[0].value == "Nothing happened that fits these filters."
    page.button(key="no_results.clear").click().run()
    assert not page.info
    assert dict(page.query_params) == {}


def test_clear_all_sets_every_filter_back(open_page: Open, seeded: Path) -> None:
    query = {
        "period": "30 days",
        "zone": "Asia/Tokyo",
        "types": "View",
        "spaces": "ENG",
        "week": "Sat",
        "workdays": "true",
        "noviews": "true",
    }
    page = open_page(query | {"day": (today() - timedelta(days=3)).isoformat()})
    assert len([button for button in page.button if button.key and button.key.startswith("chip.")]) == 8
    page.button(key="chip.all").click().run()
    assert not page.exception
    assert dict(page.query_params) == {}
    assert page.selectbox(key="zone").value == BERLIN


def test_a_custom_period_begins_as_the_one_shown_before(open_page: Open, seeded: Path) -> None:
    page = open_page({"period": "7 days"})
    page.selectbox(key="period").select("Custom").run()
    assert page.date_input(key="range").value == (today() - timedelta(days=6), today())


def test_the_two_switches_without_view_are_one(open_page: Open, seeded: Path) -> None:
    page = open_page()
    page.toggle(key="breakdown.without_view").set_value(True).run()
    assert page.toggle(key="noviews").value is True
    page.toggle(key="noviews").set_value(False).run()
    assert page.toggle(key="breakdown.without_view").value is False


def test_the_table_stands_in_for_the_calendar(open_page: Open, seeded: Path) -> None:
    found = snapshot(seeded)
    page = open_page({"table": "true", "period": "7 days"})
    table = page.dataframe[0].value
    expected = calendar(found.mirror, selection(7, found)).iloc[::-1]
    assert table["Events"].tolist() == expected["events"].tolist()
    assert table["Date"].tolist() == [day.date() for day in expected["day"]]


@pytest.mark.parametrize(("locale", "first"), [("en-US", "Sun"), ("de-DE", "Mon"), ("ar-EG", "Sat"), ("xx", "Mon")])
def test_the_week_begins_as_the_locale_has_it(open_page: Open, seeded: Path, locale: str, first: str) -> None:
    page = open_page(locale=locale)
    control = next(one for one in page.get("segmented_control") if one.label == "Week starts on")
    assert control.value == first


def test_hours_need_five_people(open_page: Open, seeded: Path) -> None:
    found = snapshot(seeded)
    quiet = {"period": "30 days", "types": "Like"}  # only one person likes
    assert active_people(found.mirror, selection(30, found, types=frozenset({ActivityType.LIKE}))) < 5
    assert "at least 5 people" in everything_written(open_page(quiet))
    assert "at least 5 people" not in everything_written(open_page({"period": "30 days"}))


def test_several_sites_have_a_picker_and_the_sample_comes_last(open_page: Open, data_dir: Path) -> None:
    engine = new_store(data_dir)
    for site in ("zeta", "alpha", "sample"):
        fill(engine, site)
    engine.dispose()
    page = open_page()
    assert page.selectbox(key="site").options == ["alpha", "zeta", "sample"]
    assert not page.info
    sample = open_page({"site": "sample"})
    assert "Sample data" in sample.info[0].value
    assert sample.query_params["site"] == "sample"


@pytest.fixture
def with_source(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site that the settings expect deliveries from."""
    monkeypatch.setenv("UAR_DATACENTER_SECRETS", "wiki=a-secret-of-some-length")


@pytest.mark.usefixtures("with_source")
def test_the_sample_site_can_be_seen_beside_data_of_ones_own(open_page: Open, data_dir: Path) -> None:
    engine = new_store(data_dir)
    for site in ("wiki", "sample"):
        fill(engine, site)
    page = open_page({"site": "sample"})
    assert any("Sample data" in note.value and "wiki" in note.value for note in page.info)
    assert not page.expander
    assert not page.success
    assert len(page.metric) == 4


@pytest.mark.usefixtures("with_source")
def test_a_site_without_events_waits_beside_one_that_has_them(open_page: Open, data_dir: Path) -> None:
    engine = new_store(data_dir)
    fill(engine, "zeta")
    with write_transaction(engine) as connection:
        ensure_site(connection, "alpha")
    page = open_page({"site": "alpha"})
    assert any("Listening" in text.value for text in page.markdown)
    fill(engine, "alpha")
    page.button(key="refresh").click().run()
    assert len(page.metric) == 4


@pytest.mark.usefixtures("with_source")
def test_a_store_lost_while_the_page_waits_is_said_in_a_sentence(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uar.ui.setup._sites_with_data", Mock(side_effect=data.OutOfOrder("No store")))
    page = open_page()
    assert [note.value for note in page.warning] == ["No store"]
    assert not page.exception


def test_the_sample_site_is_one_click_away(open_page: Open, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uar.ui.setup.load_demo", lambda engine, *_, **__: fill(engine, "sample"))
    page = open_page()
    page.button(key="setup.sample").click().run()
    assert not page.exception
    assert page.metric
    assert "Sample data" in page.expander[0].label


def test_a_store_that_cannot_be_used_is_one_sentence(open_page: Open, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "uar.db").write_bytes(b"this is no database" * 100)
    page = open_page()
    assert not page.exception
    assert len(page.error) == 1
    assert page.title[0].value == "Activity Dashboard"


def test_a_setting_that_makes_no_sense_is_one_sentence(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UAR_STATUS_DAYS", "many")
    page = open_page()
    assert not page.exception
    assert r"UAR\_STATUS\_DAYS" in page.error[0].value


def test_refresh_loads_what_has_arrived_since(open_page: Open, data_dir: Path) -> None:
    engine = new_store(data_dir)
    acts = activities("wiki")
    with write_transaction(engine) as connection:
        record_activities(connection, acts[::2])
    page = open_page()
    before = everything_written(page)
    assert re.search(r"Data to \d\d:\d\d, last event \d+ (s|min|h|days) ago", before)
    with write_transaction(engine) as connection:
        record_activities(connection, acts)
    engine.dispose()
    page.run()
    assert total_events(page) == total_events_in(before)
    page.button(key="refresh").click().run()
    assert total_events(page) == sum(act.actor_kind is not ActorKind.APP for act in acts)


def total_events(page: AppTest) -> int:
    return total_events_in(everything_written(page))


def total_events_in(written: str) -> int:
    found = re.search(r"([\d,]+) events?\. Click a row", written)
    assert found
    return int(found[1].replace(",", ""))


def test_no_names_on_the_dashboard(open_page: Open, seeded: Path) -> None:
    page = open_page()
    assert "Person Number" not in str(page)
    assert "account-1" not in str(page)


def test_the_guide_needs_no_store(open_page: Open, data_dir: Path) -> None:
    page = open_page(page="pages/guide.py")
    assert not page.exception
    assert "# User guide" in page.markdown[0].value

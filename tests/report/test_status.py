"""The status of a person: the rules as a table of cases, and the thresholds across midnight in several zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uar.report.status import Rules, Status, status_of

TODAY = date(2026, 3, 30)  # the day after Berlin's clocks went forward
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Australia/Lord_Howe")
BLANK = dict.fromkeys(("created_at", "first_active_at", "last_active_at", "last_type", "atlassian_last_seen_at"))


def instant(days_ago: int, zone: str = "UTC", hour: int = 12) -> int:
    local = datetime.combine(TODAY - timedelta(days=days_ago), datetime.min.time(), ZoneInfo(zone)).replace(hour=hour)
    return int(local.timestamp() * 1000)


def person(**facts: object) -> dict[str, object]:
    return {"kind": "person", "state": "active", "first_seen_at": instant(400), **BLANK, **facts}


def status(rules: Rules, **facts: object) -> pd.Series:
    return status_of(pd.DataFrame([person(**facts)]), rules).iloc[0]


def rules(zone: str = "UTC", recorded_days: int | None = 400, limits: tuple[int, int] = (30, 90)) -> Rules:
    return Rules(TODAY, zone, limits, None if recorded_days is None else instant(recorded_days))


CASES = [
    # facts, days recorded, expected
    ({"last_active_at": instant(0)}, 400, "Active"),
    ({"last_active_at": instant(30)}, 400, "Active"),
    ({"last_active_at": instant(31)}, 400, "Low"),
    ({"last_active_at": instant(90)}, 400, "Low"),
    ({"last_active_at": instant(91)}, 400, "Inactive"),
    ({"last_active_at": instant(3000)}, 10, "Inactive"),
    ({"last_active_at": instant(-1)}, 400, "Active"),  # a clock ahead of ours
    ({"last_active_at": instant(0), "state": "deactivated"}, 400, "Deactivated"),
    ({"last_active_at": instant(0), "state": "deleted"}, 400, "Deactivated"),
    ({"state": "deactivated", "kind": "app"}, 400, "Deactivated"),
    ({"last_active_at": instant(0), "kind": "app"}, 400, "App"),
    ({"kind": "app"}, 400, "App"),
    ({"last_active_at": instant(0), "kind": "guest"}, 400, "Active"),
    ({"kind": "guest"}, 400, "Never seen"),
    ({"last_active_at": instant(2), "state": "invited"}, 400, "Active"),
    ({"state": "invited"}, 400, "Invited"),
    ({"state": "invited", "created_at": instant(3)}, 10, "Invited"),
    ({"created_at": instant(0)}, 400, "New"),
    ({"created_at": instant(29)}, 10, "New"),
    ({"created_at": instant(30)}, 400, "Never seen"),
    ({"created_at": instant(30)}, 89, "Not enough history"),
    ({"created_at": instant(30)}, None, "Not enough history"),
    ({}, 90, "Never seen"),
    ({}, 89, "Not enough history"),
    # Without a date of creation: new only if we heard of the account after recording began.
    ({"first_seen_at": instant(3)}, 400, "New"),
    ({"first_seen_at": instant(30)}, 400, "Never seen"),
    ({"first_seen_at": instant(3)}, 3, "Not enough history"),
    ({"first_seen_at": instant(3)}, None, "Not enough history"),
    ({"atlassian_last_seen_at": instant(40)}, 400, "Low"),
    ({"atlassian_last_seen_at": instant(10), "last_active_at": instant(100)}, 400, "Active"),
    ({"atlassian_last_seen_at": instant(100), "last_active_at": instant(10)}, 400, "Active"),
]


@pytest.mark.parametrize(("facts", "recorded_days", "expected"), CASES)
def test_first_matching_rule_wins(facts: dict[str, object], recorded_days: int | None, expected: str) -> None:
    assert status(rules(recorded_days=recorded_days), **facts)["status"] == expected


@pytest.mark.parametrize(("days", "expected"), [(15, "Active"), (16, "Low"), (45, "Low"), (46, "Inactive")])
def test_limits_can_be_set(days: int, expected: str) -> None:
    assert status(rules(limits=(15, 45)), last_active_at=instant(days))["status"] == expected


def test_a_newer_date_of_atlassian_fills_in_and_is_named() -> None:
    newer = status(rules(), last_active_at=instant(100), atlassian_last_seen_at=instant(5))
    assert (newer["last_active_at"], newer["days_since_last_active"], newer["last_source"]) == (instant(5), 5, "Atlassian")
    older = status(rules(), last_active_at=instant(5), atlassian_last_seen_at=instant(100))
    assert (older["last_active_at"], older["days_since_last_active"], older["last_source"]) == (instant(5), 5, "")


def test_who_never_acted_has_no_number_of_days() -> None:
    row = status(rules())
    assert row["days_since_last_active"] is pd.NA
    assert row["last_active_at"] is pd.NA


def test_an_empty_directory_has_an_empty_status_table() -> None:
    found = status_of(pd.DataFrame([person()]).iloc[:0], rules())
    assert list(found.columns) == ["status", "days_since_last_active", "last_active_at", "last_source"]
    assert len(found) == 0


def test_the_first_day_of_never_seen_is_ninety_days_after_recording_began() -> None:
    began = instant(10)
    assert Rules(TODAY, "UTC", recorded_from=began).never_seen_from == TODAY + timedelta(days=80)
    assert Rules(TODAY, "UTC").never_seen_from is None


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("limit", "before", "after"), [(30, "Active", "Low"), (90, "Low", "Inactive")])
def test_a_threshold_falls_on_midnight_of_the_zone(zone: str, limit: int, before: str, after: str) -> None:
    midnight = instant(limit, zone, hour=0)
    assert status(rules(zone), last_active_at=midnight)["status"] == before
    assert status(rules(zone), last_active_at=midnight - 1)["status"] == after


SOME_TIME = st.integers(
    int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000), int(datetime(2026, 12, 31, tzinfo=UTC).timestamp() * 1000)
)


@settings(deadline=None)
@given(
    last=st.none() | SOME_TIME,
    atlassian=st.none() | SOME_TIME,
    created=st.none() | SOME_TIME,
    known=SOME_TIME,
    recorded=st.none() | SOME_TIME,
    state=st.sampled_from(["active", "invited", "deactivated", "deleted"]),
    kind=st.sampled_from(["person", "guest", "app"]),
    zone=st.sampled_from(ZONES),
)
def test_status_is_what_the_rules_say_one_after_another(
    last: int | None, atlassian: int | None, created: int | None, known: int, recorded: int | None, state: str, kind: str, zone: str
) -> None:
    facts = person(last_active_at=last, atlassian_last_seen_at=atlassian, created_at=created, first_seen_at=known, state=state, kind=kind)
    found = status_of(pd.DataFrame([facts]), Rules(TODAY, zone, (30, 90), recorded)).iloc[0]
    newest = max((at for at in (last, atlassian) if at is not None), default=None)
    assert found["status"] == spelled_out(newest, created, known, recorded, state, kind, zone)


def spelled_out(newest: int | None, created: int | None, known: int, recorded: int | None, state: str, kind: str, zone: str) -> str:
    def day(at: int) -> date:
        return datetime.fromtimestamp(at / 1000, ZoneInfo(zone)).date()

    if state in ("deactivated", "deleted"):
        return "Deactivated"
    if kind == "app":
        return "App"
    if newest is not None:
        age = (TODAY - day(newest)).days
        return "Active" if age <= 30 else "Low" if age <= 90 else "Inactive"
    if state == "invited":
        return "Invited"
    if created is None and recorded is not None and day(known) > day(recorded):
        created = known
    if created is not None and (TODAY - day(created)).days < 30:
        return "New"
    has_history = recorded is not None and (TODAY - day(recorded)).days >= 90
    return "Never seen" if has_history else "Not enough history"


def test_every_status_has_a_shape_of_its_own() -> None:
    assert len({one.shape for one in Status}) == len(Status)

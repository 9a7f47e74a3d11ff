"""Loading the users export of Atlassian Administration."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.confluence.conftest import ON_ONE_DATABASE, Bench, activity
from uar.confluence.export_columns import Columns, UnreadableExport, UnreadableRow, find_columns, normalized, read_row
from uar.confluence.users_export import Imported, import_users
from uar.store.database import write_transaction
from uar.store.directory import Person, claim_site, save_people
from uar.store.schema import memberships, people

HEADER = (
    "User id,User name,email,User status,Added to org,Org role,Jira - acme,Last seen in Jira - acme,"
    "Confluence - acme,Last seen in Confluence - acme,Groups"
)
Load = Callable[..., Imported]
NOW = int(datetime(2026, 5, 28, 8, tzinfo=UTC).timestamp() * 1000)


def instant(year: int, month: int, day: int, hour: int, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def load(bench: Bench, tmp_path: Path) -> Load:
    def load(*lines: str, header: str = HEADER, encoding: str = "utf-8") -> Imported:
        path = tmp_path / "export-users.csv"
        path.write_bytes(("\r\n".join([header, *lines]) + "\r\n").encode(encoding))
        return import_users(bench.store, path, "acme", None, lambda: NOW)

    return load


def columns_of(bench: Bench, account: str, *names: str) -> tuple[object, ...]:
    (row,) = bench.rows(select(*(people.c[name] for name in names)).where(people.c.account_id == account))
    return tuple(row)


def test_each_column_of_the_export_reaches_the_person(bench: Bench, load: Load) -> None:
    imported = load(
        'a-1,"Smith, ""Ann""",ann@acme.example,Active,02 Jan 2024,User,User,30 May 2025,User,12 Mar 2026,"confluence-users, staff"',
        "a-2,Bea,bea@acme.example,Invited,01 May 2026,User,None,Never accessed,User,Never accessed,confluence-users",
        "a-3,Cem,,Suspended,2023-01-31,User,None,Never accessed,Guest,2026-03-12T10:15:00Z,",
    )
    assert (imported.added, imported.changed, imported.bad_lines) == (3, 0, [])
    told = ("display_name", "email", "kind", "state", "created_at", "atlassian_last_seen_at")
    added, seen = instant(2024, 1, 2, 12), instant(2026, 3, 12, 12)
    assert columns_of(bench, "a-1", *told) == ('Smith, "Ann"', "ann@acme.example", "person", "active", added, seen)
    assert columns_of(bench, "a-2", *told) == ("Bea", "bea@acme.example", "person", "invited", instant(2026, 5, 1, 12), None)
    assert columns_of(bench, "a-3", *told) == ("Cem", None, "guest", "deactivated", instant(2023, 1, 31, 12), instant(2026, 3, 12, 10, 15))
    assert bench.members() == {"confluence-users": {"a-1", "a-2"}, "staff": {"a-1"}}


def test_loading_again_changes_nothing(bench: Bench, load: Load) -> None:
    lines = ["a-1,Ann,,Active,02 Jan 2024,,,,User,12 Mar 2026,staff", "a-2,Bea,,Active,,,,,User,,staff"]
    load(*lines)
    before = bench.everything()
    again = load(*lines)
    assert (again.added, again.changed) == (0, 0)
    assert bench.everything() == before


def test_known_people_are_completed_and_keep_their_row(bench: Bench, load: Load) -> None:
    bench.record(activity(1, "a-1"))
    before = columns_of(bench, "a-1", "id")
    assert load("a-1,Ann,,Active,02 Jan 2024,,,,User,12 Mar 2026,").changed == 1
    assert columns_of(bench, "a-1", "id") == before
    assert columns_of(bench, "a-1", "display_name") == ("Ann",)


@ON_ONE_DATABASE
def test_who_has_no_access_to_confluence_is_not_made_a_person_of_it(bench: Bench, load: Load) -> None:
    bench.record(activity(1, "a-1"))
    load("a-1,Ann,,Active,,,User,,None,Never accessed,staff", "a-2,Jim,,Active,,,User,,None,Never accessed,staff")
    assert bench.people() == {"a-1": ("Ann", "person", "active")}
    assert len(bench.rows(select(memberships))) == 1


@ON_ONE_DATABASE
def test_a_row_per_group_and_a_column_per_group_are_read(bench: Bench, load: Load) -> None:
    load("u1,staff,a-1,Ann", "u2,editors,a-1,Ann", "u1,staff,a-2,Bea", header="Group id,Group name,User id,User name")
    load("a-3,Cem,staff,new group", header="User id,User name,Group 1,Group 2")
    assert bench.members() == {"staff": {"a-1", "a-2", "a-3"}, "editors": {"a-1"}, "new group": {"a-3"}}


@ON_ONE_DATABASE
def test_the_export_of_managed_accounts_is_read(bench: Bench, load: Load) -> None:
    load("Ann,a-1,deactivated,2026-03-12,ann@acme.example", header="Name,Atlassian ID,Status,Last active date [UTC],Email")
    assert columns_of(bench, "a-1", "state", "atlassian_last_seen_at") == ("deactivated", instant(2026, 3, 12, 12))


@ON_ONE_DATABASE
def test_a_file_saved_again_by_a_spreadsheet_is_read(bench: Bench, load: Load) -> None:
    load("a-1;Jörg;staff, editors", header="User id;User name;Groups", encoding="utf-8-sig")
    assert bench.people() == {"a-1": ("Jörg", "person", "active")}
    assert sorted(bench.members()) == ["editors", "staff"]


def test_a_file_without_ids_completes_people_by_their_address(bench: Bench, load: Load) -> None:
    with write_transaction(bench.store) as connection:
        site_id, _ = claim_site(connection, "acme", None, None)
        known = [Person("a-1", "A", "Ann@acme.example"), Person("a-2", "B", "team@acme.example"), Person("a-3", "C", "team@acme.example")]
        save_people(connection, site_id, known, NOW)
    imported = load(
        "Ann,ann@acme.example,12 Mar 2026",
        "Team,team@acme.example,12 Mar 2026",
        "New,new@acme.example,12 Mar 2026",
        header="Name,Email,Last seen in Confluence - acme",
    )
    assert columns_of(bench, "a-1", "display_name", "atlassian_last_seen_at") == ("Ann", instant(2026, 3, 12, 12))
    assert [line for line, _ in imported.bad_lines] == [3, 4]
    assert len(bench.people()) == 3


@ON_ONE_DATABASE
def test_bad_lines_are_named_by_their_number_and_change_nothing_else(bench: Bench, load: Load) -> None:
    imported = load(
        "a-1,Ann,active,12 Mar 2026",
        ",Nobody,active,12 Mar 2026",
        '"a-2","Two\nlines",active,the day before yesterday',
        "a-3,Cem,active",
        "a-4,Dan,dancing,12 Mar 2026",
        "a-5,Eve,active,12 Mar 2036",
        "",
        "a-6,Fay,active,28 May 2026",
        header="User id,User name,User status,Last seen in Confluence",
    )
    assert imported.bad_lines == [
        (3, "It has no user id."),
        (5, "The day it was last seen is no date such as 12 Mar 2026 or 2026-03-12."),
        (6, "It has 3 cells, the header has 4."),
        (7, "Its status is none of active, invited, suspended, deactivated."),
        (8, "The day it was last seen lies in the future or before 1970."),
    ]
    assert sorted(bench.people()) == ["a-1", "a-6"]
    assert columns_of(bench, "a-6", "atlassian_last_seen_at") == (NOW,)


def test_more_lines_than_one_batch_are_loaded_and_counted(bench: Bench, load: Load, tmp_path: Path) -> None:
    assert load(*(f"a-{number},Person {number}" for number in range(2_500)), header="User id,User name").added == 2_500
    seen: list[tuple[int, int]] = []
    path = tmp_path / "export-users.csv"
    import_users(bench.store, path, "acme", lambda done, total: seen.append((done, total)), lambda: NOW)
    size = path.stat().st_size
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("", "no column 'User id' or 'User name'"),
        ("Summary,Status", "no column 'User id'"),
        ("User id,Org role", "no column 'User name' or 'User status' or 'Last seen in Confluence'"),
        ("User id,Last seen in Confluence - beta,Last seen in Confluence - gamma", "none is called 'acme'"),
    ],
)
def test_a_file_that_is_no_export_is_refused_with_what_is_missing(header: str, sentence: str) -> None:
    with pytest.raises(UnreadableExport, match=sentence):
        find_columns(header.split(","), "acme")


def test_of_several_sites_the_one_of_that_name_counts() -> None:
    header = [
        "User id",
        "Last seen in Confluence - beta",
        "Last seen in Confluence - Acme_Docs",
        "Confluence - beta",
        "Confluence - Acme_Docs",
    ]
    found = find_columns(header, "acme-docs")
    assert (found.last_seen, found.access) == (2, 4)


def test_names_of_columns_are_compared_by_their_words() -> None:
    assert normalized("  Last seen in Confluence - acme ") == "last seen in confluence acme"
    assert normalized("User_ID") == "user id"


def seen_on(text: str) -> int | None:
    columns = Columns(account=0, name=None, email=None, status=None, added=None, last_seen=1, access=None, groups=())
    return read_row(["a", text], columns, 2, NOW)[0].atlassian_last_seen_at


@pytest.mark.parametrize(
    "text",
    [
        "12 Mar 2026",
        "12 March 2026",
        "Mar 12, 2026",
        "12-Mar-2026",
        "12 Mar 26",
        "2026-03-12",
        "2026-03-12T12:00Z",
        "12 Mar 2026 12:00:00 UTC",
    ],
)
def test_dates_are_read_in_the_ways_exports_write_them(text: str) -> None:
    assert seen_on(text) == instant(2026, 3, 12, 12)


@pytest.mark.parametrize("text", ["", "Never accessed", "NEVER", "N/A", "Never logged in"])
def test_never_is_no_date(text: str) -> None:
    assert seen_on(text) is None


@pytest.mark.parametrize("text", ["31 Feb 2026", "12.3.", "1", "tomorrow", "0001-01-01", "9999-12-31"])
def test_what_is_no_date_is_a_bad_line(text: str) -> None:
    with pytest.raises(UnreadableRow, match="The day it was last seen"):
        seen_on(text)

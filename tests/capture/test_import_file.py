"""A file of activities: good lines go in once, bad ones are named by number."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from sqlalchemy import text

from uar.capture.import_file import LONGEST_CELL, Imported, UnreadableFile, import_file
from uar.store.database import Engine, read_transaction

NOW = 1_790_000_000_000  # 2026-09-21
HEADER = "site,occurred_at,event,account_id,display_name,space_key,content_id,source,delivery_id"
LOG = "SELECT site, source, event, type, person, space, content_id, occurred_at FROM activity_log ORDER BY id"


def load(store: Engine, folder: Path, content: str | bytes, name: str = "a.csv") -> Imported:
    path = folder / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return import_file(store, path, now=lambda: NOW)


def log(store: Engine) -> list[tuple[object, ...]]:
    with read_transaction(store) as connection:
        return [tuple(row) for row in connection.execute(text(LOG))]


def test_lines_become_activities(store: Engine, tmp_path: Path) -> None:
    content = "\r\n".join(
        [
            HEADER,
            "acme,2026-03-29T03:30:00+02:00,view,u1,Ann,ENG,98305,,",
            "acme,1774748400123,avi:confluence:updated:page,u2,,,,forge,",
            "acme,2026-03-29T01:00:00Z,page_trashed,,,HR,,connect,d-1",
        ]
    )
    assert load(store, tmp_path, content) == Imported(inserted=3)
    assert log(store) == [
        ("acme", "import", "view", "view", "u1", "ENG", "98305", "2026-03-29T01:30:00.000Z"),
        ("acme", "forge", "avi:confluence:updated:page", "update", "u2", None, None, "2026-03-29T01:40:00.123Z"),
        ("acme", "connect", "page_trashed", "delete", None, "HR", None, "2026-03-29T01:00:00.000Z"),
    ]


def test_the_same_file_again_adds_nothing(store: Engine, tmp_path: Path) -> None:
    content = HEADER + "\nacme,2026-03-29T03:30:00Z,view,u1,,,,,\nacme,2026-03-29T03:30:00Z,view,u1,,,7,,d-1\n"
    assert load(store, tmp_path, content) == Imported(inserted=2)
    assert load(store, tmp_path, content) == Imported(duplicates=2)
    in_another_form = HEADER + "\nacme,2026-03-29T04:30:00+01:00,view,u1,,,,,\nacme,2026-03-29T09:00:00Z,view,u1,,,7,,d-1\n"
    assert load(store, tmp_path, in_another_form) == Imported(duplicates=2)
    assert len(log(store)) == 2


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("acme,2026-03-29T03:30:00,view,u1,,,,,", "offset"),
        ("acme,yesterday,view,u1,,,,,", "offset"),
        ("acme,20260329,view,u1,,,,,", "offset"),
        ("acme,,view,u1,,,,,", "offset"),
        ("acme,1999-01-01T00:00:00Z,view,u1,,,,,", "before 2004"),
        ("acme,2026-12-29T03:30:00Z,view,u1,,,,,", "a day ahead"),
        ("acme,99999999999999999999999,view,u1,,,,,", "offset"),
        ("acme,2026-03-29T03:30:00Z,page_danced,u1,,,,,", "neither in the catalogue"),
        ("acme,2026-03-29T03:30:00Z,page_viewed,u1,,,,forge,", "neither in the catalogue"),
        ("acme,2026-03-29T03:30:00Z,view,u1,,,,pigeon,", "source"),
        (",2026-03-29T03:30:00Z,view,u1,,,,,", "site: it is empty"),
        ("acme,2026-03-29T03:30:00Z,view,u1", "4 cells"),
        ("acme,2026-03-29T03:30:00Z,view,u\0,,,,,", "account_id"),
        ("acme,2026-03-29T03:30:00Z,view," + "u" * 256 + ",,,,,", "longer than 255"),
    ],
)
def test_a_bad_line_is_named_and_the_others_go_in(store: Engine, tmp_path: Path, line: str, sentence: str) -> None:
    good = "acme,2026-03-29T03:30:00Z,view,u1,,,,,"
    imported = load(store, tmp_path, "\n".join([HEADER, line, good]))
    assert imported.inserted == 1
    assert [number for number, _ in imported.bad_lines] == [2]
    assert sentence in imported.bad_lines[0][1]
    assert len(log(store)) == 1


def test_a_row_of_several_lines_is_named_by_its_first(store: Engine, tmp_path: Path) -> None:
    content = HEADER + '\nacme,2026-03-29T03:30:00Z,view,u1,"two\nlines",,,,\nacme,no,view,"u\n2",,,,,\nacme,no,view,u3,,,,,\n'
    imported = load(store, tmp_path, content)
    assert (imported.inserted, [number for number, _ in imported.bad_lines]) == (1, [4, 6])


def test_a_cell_without_end_spoils_its_line_only(store: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uar.capture.import_file.LONGEST_CELL", 300)
    good = "acme,2026-03-29T03:30:00Z,view,u1,,,,,"
    imported = load(store, tmp_path, "\n".join([HEADER, good, "acme," + "9" * 301 + ",view,u1,,,,,", good.replace("u1", "u2")]))
    csv.field_size_limit(LONGEST_CELL)  # the limit is the process's
    assert (imported.inserted, imported.bad_lines) == (2, [(3, "It is no CSV (field larger than field limit (300)).")])


def test_bytes_that_are_not_utf8_spoil_their_line_only(store: Engine, tmp_path: Path) -> None:
    content = HEADER.encode() + b"\nacme,2026-03-29T03:30:00Z,view,u\xff,,,,,\nacme,2026-03-29T03:30:00Z,view,u1,,,,,"
    imported = load(store, tmp_path, b"\xef\xbb\xbf" + content)
    assert (imported.inserted, [number for number, _ in imported.bad_lines]) == (1, [2])


def test_events_that_are_no_activity_are_not_counted(store: Engine, tmp_path: Path) -> None:
    assert load(store, tmp_path, HEADER + "\nacme,2026-03-29T03:30:00Z,plugin_enabled,u1,,,,,\n") == Imported(not_counted=1)
    assert log(store) == []


def test_json_lines(store: Engine, tmp_path: Path) -> None:
    good = {"site": "acme", "occurred_at": 1_774_748_400_123, "event": "comment", "account_id": "u1", "content_id": 12}
    lines = [
        json.dumps(good),
        "",
        "{",
        "[1]",
        json.dumps(good | {"colour": "red"}),
        json.dumps(good | {"account_id": ["u"]}),
        "[" * 100_000,
    ]
    imported = load(store, tmp_path, "\n".join(lines), "a.jsonl")
    assert (imported.inserted, [number for number, _ in imported.bad_lines]) == (1, [3, 4, 5, 6, 7])
    assert log(store) == [("acme", "import", "comment", "comment", "u1", None, "12", "2026-03-29T01:40:00.123Z")]
    lone = json.dumps(good | {"account_id": "\ud800"})
    assert [number for number, _ in load(store, tmp_path, lone, "b.jsonl").bad_lines] == [1]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "", "missing: site, occurred_at, event, account_id"),
        ("a.csv", "site,event\n", "missing: occurred_at, account_id"),
        ("a.csv", HEADER + ",colour\n", "'colour'"),
        ("a.csv", HEADER + ",site\n", "twice"),
        ("a.xlsx", "PK", "only .csv and .jsonl"),
    ],
)
def test_a_file_that_cannot_be_imported_says_why(store: Engine, tmp_path: Path, name: str, content: str, sentence: str) -> None:
    with pytest.raises(UnreadableFile, match=sentence):
        load(store, tmp_path, content, name)


@pytest.mark.parametrize("source", ["pipeline", "access_log", "backfill"])
def test_a_source_without_names_of_its_own_may_use_any_name_of_the_catalogue(store: Engine, tmp_path: Path, source: str) -> None:
    imported = load(store, tmp_path, f"{HEADER}\nacme,2026-03-29T03:30:00Z,page_viewed,u1,,,,{source},")
    assert (imported.inserted, imported.bad_lines) == (1, [])

"""The catalogue says of every event name what the table of names says."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import uar.capture.catalog
from uar.activity import ActivityType, Source
from uar.capture.catalog import catalog, lookup

ROWS = list(csv.DictReader(Path(uar.capture.catalog.__file__).with_name("catalog.csv").read_text(encoding="utf-8").splitlines()))


def test_there_are_209_names() -> None:
    assert len(ROWS) == 209
    assert len(catalog()) == 209


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['source']}-{row['event_name']}")
def test_each_name_maps_as_the_table_says(row: dict[str, str]) -> None:
    entry = lookup(Source[row["source"].upper()], row["event_name"])
    assert entry is not None
    assert (entry.type.key, entry.object, entry.is_activity) == (row["type"], row["object"], row["activity"] == "yes")


def test_a_name_belongs_to_its_source_only() -> None:
    assert lookup(Source.CONNECT, "page_viewed") is not None
    assert lookup(Source.DATACENTER, "page_viewed") is None
    assert lookup(Source.FORGE, "page_viewed") is None
    assert lookup(Source.CONNECT, "Page_Viewed") is None
    assert lookup(Source.CONNECT, "") is None


def test_events_of_other_apps_are_known_by_their_prefix() -> None:
    entry = lookup(Source.FORGE, "avi:cloud:ecosystem::event/00000000-0000-4000-8000-0000000000a0/something")
    assert entry is not None
    assert (entry.type, entry.is_activity) == (ActivityType.OTHER, False)
    assert lookup(Source.FORGE, "avi:cloud:ecosystem::eventual") is None
    assert lookup(Source.CONNECT, "avi:cloud:ecosystem::event/x") is None

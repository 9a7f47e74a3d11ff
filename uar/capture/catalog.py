"""What each event name of each source means: the vocabulary, kept as data in `catalog.csv` beside this file.

A name is in one of three states: known and counted, known and not counted (`is_activity` is False), or not in the catalogue at all
(`lookup` returns None), which makes the delivery go to quarantine until a newer catalogue knows it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from uar.activity import ActivityType, Source

# Events that other apps send carry their own id and key after this prefix
# (developer.atlassian.com/platform/forge/events-reference/app-events), so this entry stands for all of them.
APP_EVENT_PREFIX = "avi:cloud:ecosystem::event"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event name: its type, the kind of object it is about, and whether it counts as somebody's activity."""

    type: ActivityType
    object: str
    is_activity: bool


def lookup(source: Source, event_name: str) -> Entry | None:
    """The meaning of an event name as this source spells it; None if the catalogue does not know it."""
    entries = catalog()
    entry = entries.get((source, event_name))
    if entry is None and source is Source.FORGE and event_name.startswith(APP_EVENT_PREFIX + "/"):
        return entries[source, APP_EVENT_PREFIX]
    return entry


@cache
def catalog() -> dict[tuple[Source, str], Entry]:
    """The whole vocabulary by source and event name, in the order of the file."""
    text = files("uar.capture").joinpath("catalog.csv").read_text(encoding="utf-8")
    return {
        (Source[row["source"].upper()], row["event_name"]): Entry(
            type=ActivityType[row["type"].upper()], object=row["object"], is_activity=row["activity"] == "yes"
        )
        for row in csv.DictReader(text.splitlines())
    }

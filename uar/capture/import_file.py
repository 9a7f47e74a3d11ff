"""Activities from a file: what other systems recorded, or a script made, line by line into the store.

Columns (CSV with a header, or one JSON object a line): `site, occurred_at, event, account_id` and optionally `display_name, space_key,
content_id, source, delivery_id`. A bad line is named by its number and changes nothing else; the same line again changes nothing at all.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from uar.activity import Activity, ActivityType, Source, believable_time, identity
from uar.capture.catalog import Entry, lookup
from uar.capture.payload import EPOCH
from uar.store.database import Engine, write_transaction
from uar.store.retention import keep_from
from uar.store.writes import record_activities

NEEDED = ("site", "occurred_at", "event", "account_id")
OPTIONAL = ("display_name", "space_key", "content_id", "source", "delivery_id")
COLUMNS = frozenset(NEEDED + OPTIONAL)
BATCH = 5_000
LONGEST_TEXT = 255
LONGEST_CELL = 1_000_000
LEAST_DIGITS, MOST_DIGITS = 9, 18  # of epoch milliseconds: eight digits would be a date such as 20260329
WITH_NAMES = (Source.FORGE, Source.CONNECT, Source.DATACENTER)
SOURCES = {source.key: source for source in Source}
TYPES = {kind.key: kind for kind in ActivityType}

Line = tuple[int, Mapping[str, Any]]


class UnreadableFile(Exception):
    """The file as a whole cannot be imported; the message is a sentence."""


class BadLine(Exception):
    """One line cannot be imported; the message is a sentence."""


@dataclass
class Imported:
    """What an import did: new activities, those that were there already, names that are no activity, and bad lines (number, sentence).

    `too_old` of the activities occurred before the instant from which on they are kept.
    """

    inserted: int = 0
    duplicates: int = 0
    not_counted: int = 0
    too_old: int = 0
    bad_lines: list[tuple[int, str]] = field(default_factory=list)


def import_file(
    engine: Engine,
    path: Path,
    progress: Callable[[int, int], None] | None = None,
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    oldest_kept: int = 0,
) -> Imported:
    """Store the activities of a `.csv` or `.jsonl` file; `progress` is told (bytes done, bytes in all), `now` is in epoch milliseconds.

    What occurred before `oldest_kept` (epoch milliseconds) is stored as well, and counted, as it will be pruned. Later activities move the
    begin of what counts back to them, where an earlier pruning had moved it further.

    Raises `UnreadableFile` before anything is stored, and the exceptions of `write_transaction`.
    """
    imported, batch, received_at = Imported(), list[Activity](), now()
    total = path.stat().st_size
    # What is not UTF-8 comes as lone surrogates, which `_text` refuses, so the line is named instead of ending the import.
    with path.open("rb") as raw, TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for number, cells in _lines(file, path, imported):
            try:
                activity = _activity(cells, received_at)
            except BadLine as error:
                imported.bad_lines.append((number, str(error)))
                continue
            if activity is None:
                imported.not_counted += 1
                continue
            batch.append(activity)
            if len(batch) >= BATCH:
                _store(engine, batch, imported, oldest_kept)
                if progress is not None:
                    progress(min(raw.tell(), total), total)
        _store(engine, batch, imported, oldest_kept)
    if progress is not None:
        progress(total, total)
    return imported


def _store(engine: Engine, batch: list[Activity], imported: Imported, oldest_kept: int) -> None:
    if batch:
        kept = [activity.occurred_at for activity in batch if activity.occurred_at >= oldest_kept]
        with write_transaction(engine) as connection:
            recorded = record_activities(connection, batch)
            if kept:
                keep_from(connection, min(kept))
        imported.inserted += recorded.inserted
        imported.duplicates += recorded.duplicates
        imported.too_old += len(batch) - len(kept)
        batch.clear()


def _lines(file: TextIO, path: Path, imported: Imported) -> Iterator[Line]:
    kinds = {".csv": _csv_lines, ".jsonl": _json_lines}
    read = kinds.get(path.suffix.lower())
    if read is None:
        raise UnreadableFile(f"{path.name}: only .csv and .jsonl files can be imported.")
    return read(file, path, imported)


def _csv_lines(file: TextIO, path: Path, imported: Imported) -> Iterator[Line]:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(file)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as error:
        raise UnreadableFile(f"{path.name}: the first line is no CSV ({error}).") from error
    _check_header(header, path)
    while True:
        number = reader.line_num + 1  # a quoted line break makes a row of several lines: it is named by its first
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            imported.bad_lines.append((number, f"It is no CSV ({error})."))
            continue
        if len(cells) == len(header):
            yield number, dict(zip(header, cells, strict=True))
        elif cells:
            imported.bad_lines.append((number, f"It has {len(cells)} cells, the header has {len(header)}."))


def _check_header(header: list[str], path: Path) -> None:
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise UnreadableFile(f"{path.name}: the first line must name the columns; missing: {', '.join(missing)}.")
    unknown = [name for name in header if name not in COLUMNS]
    if unknown or len(set(header)) < len(header):
        names = ", ".join(repr(name) for name in unknown) or "one stands twice"
        raise UnreadableFile(f"{path.name}: columns that are not known: {names}. Known are {', '.join(NEEDED + OPTIONAL)}.")


def _json_lines(file: TextIO, path: Path, imported: Imported) -> Iterator[Line]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError):
            cells = None
        if not isinstance(cells, dict):
            imported.bad_lines.append((number, "It is not one JSON object."))
        elif unknown := sorted(set(cells) - COLUMNS):
            imported.bad_lines.append((number, f"It has a key that is not known: {_printable(unknown[0])}."))
        else:
            yield number, cells


def _activity(cells: Mapping[str, Any], received_at: int) -> Activity | None:
    """The activity of a line, None if its event is no activity; raises `BadLine`."""
    site, event_name = _needed(cells, "site"), _needed(cells, "event")
    source = _source(cells)
    entry = _entry(source, event_name)
    occurred_at = _instant(cells.get("occurred_at"), received_at)
    account, content_id, space_key = _text(cells, "account_id"), _text(cells, "content_id"), _text(cells, "space_key")
    delivery_id = _text(cells, "delivery_id")
    if not entry.is_activity:
        return None
    act = (delivery_id, content_id) if delivery_id else (occurred_at, content_id, space_key)
    return Activity(
        site=site,
        source=source or Source.IMPORT,
        event_name=event_name,
        type=entry.type,
        account=account,
        occurred_at=occurred_at,
        received_at=received_at,
        is_event_time=True,
        key=identity("import", site, (source or Source.IMPORT).key, event_name, account, *act),
        display_name=_text(cells, "display_name"),
        space_key=space_key,
        content_id=content_id,
    )


def _source(cells: Mapping[str, Any]) -> Source | None:
    word = _text(cells, "source")
    if word is None:
        return None
    if word.lower() not in SOURCES:
        raise BadLine(f"source: {_printable(word)} is none of {', '.join(SOURCES)}.")
    return SOURCES[word.lower()]


def _entry(source: Source | None, event_name: str) -> Entry:
    """The meaning of an event name: a type's own word, else from the catalogue: its source's own names if it has any."""
    if event_name.lower() in TYPES:
        return Entry(TYPES[event_name.lower()], "", is_activity=True)
    for candidate in (source,) if source in WITH_NAMES else Source:
        entry = lookup(candidate, event_name)
        if entry is not None:
            return entry
    raise BadLine(f"event: {_printable(event_name)} is neither in the catalogue nor one of {', '.join(TYPES)}.")


def _instant(value: Any, received_at: int) -> int:
    """Epoch milliseconds of ISO 8601 with an offset, or of a whole number of them."""
    at = value if isinstance(value, int) and not isinstance(value, bool) else _parsed(str(value or "").strip())
    if at is None:
        raise BadLine(f"occurred_at: {_printable(value)} is neither ISO 8601 with an offset nor epoch milliseconds.")
    occurred_at, is_believable = believable_time(at, received_at)
    if not is_believable:
        raise BadLine(f"occurred_at: {_printable(value)} is before 2004 or more than a day ahead.")
    return occurred_at


def _parsed(text: str) -> int | None:
    if LEAST_DIGITS <= len(text) <= MOST_DIGITS and text.isascii() and text.isdigit():
        return int(text)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if instant.tzinfo is None else (instant - EPOCH) // timedelta(milliseconds=1)


def _needed(cells: Mapping[str, Any], name: str) -> str:
    value = _text(cells, name)
    if value is None:
        raise BadLine(f"{name}: it is empty.")
    return value


def _text(cells: Mapping[str, Any], name: str) -> str | None:
    """A cell as text without outer blanks; None if it is empty."""
    value = cells.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadLine(f"{name}: it must be text.")
    if not value.isprintable() and any("\ud800" <= sign <= "\udfff" or sign == "\0" for sign in value):
        raise BadLine(f"{name}: it holds signs that are not UTF-8 text.")
    if len(value) > LONGEST_TEXT:
        raise BadLine(f"{name}: it is longer than {LONGEST_TEXT} signs.")
    return value.strip() or None


def _printable(value: Any) -> str:
    """A value for an error message: short, quoted, without control signs."""
    return ascii(value if len(str(value)) <= 60 else str(value)[:60] + "…")

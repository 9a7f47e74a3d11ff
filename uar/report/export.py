"""CSV files: the people of User Status, and one person or the site by day.

RFC 4180 with commas and CRLF. The bytes are the same from the button and from `python -m uar report`, but for the mark
(`with_mark`) that makes Excel read a file as UTF-8. Text that a spreadsheet could take for a formula is defused (`defused`).
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd

from uar.activity import ActivityType
from uar.report.status import local_instants

SCHEMA_VERSION = 1
TYPE_COLUMNS = tuple(kind.key for kind in ActivityType)
USER_COLUMNS = (
    "account_id",
    "display_name",
    "email",
    "account_type",
    "account_status",
    "groups",
    "status",
    "days_since_last_active",
    "first_active_at",
    "last_active_at",
    "last_event_type",
    "active_days",
    "longest_streak",
    "current_streak",
    "events_total",
    *TYPE_COLUMNS,
    "report_from",
    "report_to",
    "report_timezone",
    "generated_at_utc",
    "schema_version",
)
# What the people table calls the columns that have another name in the file.
NAMES_IN_TABLE = {"account_type": "kind", "account_status": "state", "last_event_type": "last_type", "events_total": "events"}
TEXT_COLUMNS = ("account_id", "display_name", "email", "account_type", "account_status", "groups", "status", "last_event_type")
INSTANT_COLUMNS = ("first_active_at", "last_active_at")
NAMING_COLUMNS = ("display_name", "email")

# What starts a formula in Excel, LibreOffice or Google Sheets, and the full-width forms that some input methods turn into them
# (owasp.org/www-community/attacks/CSV_Injection; Excel takes `@`, old Lotus forms and `|` of DDE too).
_STARTERS = "=+\\-@|%＝＋－＠｜％\x00"
_BLANKS = " \u00a0\u1680\u2000-\u200f\u2028\u2029\u202a-\u202f\u205f-\u2064\u2066-\u206f\u3000\ufeff"
_FORMULA = re.compile(f"[{_BLANKS}]*[{_STARTERS}\t\r\n]")
# A reader that takes another separator for the right one splits a cell in the middle: the part after it must not start a formula.
_INNER = {separator: re.compile(f'([{other}\t\r\n])(?=["{_BLANKS}]*[{_STARTERS}])') for separator, other in ((",", ";"), (";", ","))}
_NOT_IN_FILE_NAMES = re.compile(r"[^a-z0-9.-]+")

Cells = Sequence[object]


@dataclass(frozen=True)
class Heading:
    """What every row of a file says about the report: its days, its zone, and when it was made (aware)."""

    first: date
    last: date
    zone: str
    generated_at: datetime

    @property
    def generated_text(self) -> str:
        """When the file was made, ISO 8601 in UTC."""
        return self.generated_at.astimezone(UTC).isoformat(timespec="seconds")


def users_csv(table: pd.DataFrame, heading: Heading, *, separator: str = ",", is_pseudonymous: bool = False) -> bytes:
    """The people table (`uar.report.people.people_table`) as a file, in the table's order; columns `USER_COLUMNS`.

    Instants are ISO 8601 in the report's zone, to the second. In pseudonymous mode names and addresses are absent, instants are cut to
    dates, and `account_id` is what the table has there, the pseudonym. `separator` is a comma or a semicolon.
    """
    names = [name for name in USER_COLUMNS if not (is_pseudonymous and name in NAMING_COLUMNS)]
    constants = _constants(heading)
    columns = [
        [constants[name]] * len(table) if name in constants else _cells(table, name, heading.zone, separator, is_pseudonymous)
        for name in names
    ]
    return _csv(names, columns, separator)


def users_json(table: pd.DataFrame, heading: Heading) -> str:
    """The people table as a list of objects with the names of `USER_COLUMNS`; what is not known is null, texts are as they are."""
    constants = _constants(heading)
    columns = {name: [constants[name]] * len(table) if name in constants else _values(table, name, heading.zone) for name in USER_COLUMNS}
    return json.dumps([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def _values(table: pd.DataFrame, name: str, zone: str) -> Cells:
    column = table[NAMES_IN_TABLE.get(name, name)]
    values = _instants(column, zone, None) if name in INSTANT_COLUMNS else column.astype(object).where(column.notna(), None).tolist()
    return [None if value == "" else value for value in values]


def days_csv(calendar: pd.DataFrame, heading: Heading, *, account_id: str | None = None, separator: str = ",") -> bytes:
    """A calendar (`uar.report.days.calendar`) as a file: one line per day, zeros included.

    Columns: account_id (one person's file only), day, events, people (not in one person's file), the ten types, report_timezone,
    generated_at_utc, schema_version.
    """
    days = calendar["day"].dt.strftime("%Y-%m-%d").tolist()
    who = {} if account_id is None else {"account_id": [defused(account_id, separator)] * len(days)}
    counted = ["events", *TYPE_COLUMNS] if who else ["events", "people", *TYPE_COLUMNS]
    tail = {name: [value] * len(days) for name, value in _constants(heading).items() if name not in ("report_from", "report_to")}
    columns: dict[str, Cells] = {**who, "day": days, **{name: calendar[name].tolist() for name in counted}, **tail}
    return _csv(list(columns), list(columns.values()), separator)


def with_mark(content: bytes) -> bytes:
    """The same file with the byte-order mark that Excel needs to read it as UTF-8."""
    return codecs.BOM_UTF8 + content


def users_file_name(site: str, heading: Heading) -> str:
    """The name of the file of people: `confluence-user-status_<site>_<from>_<to>_<generated>.csv`."""
    return _file_name("confluence-user-status", site, heading)


def person_file_name(pseudonym: str, heading: Heading) -> str:
    """The name of one person's file; it must not tell who it is, so it takes a pseudonym."""
    return _file_name("confluence-user-activity", pseudonym, heading)


def defused(text: str, separator: str = ",") -> str:
    """`text` as no spreadsheet takes it for a formula: an apostrophe in front, a space where a wrong separator could split it."""
    start = "'" if _FORMULA.match(text) else ""
    return start + _INNER[separator].sub(r"\1 ", text)


def _cells(table: pd.DataFrame, name: str, zone: str, separator: str, is_pseudonymous: bool) -> Cells:
    column = table[NAMES_IN_TABLE.get(name, name)]
    if name in INSTANT_COLUMNS:
        return _instants(column, zone, 10 if is_pseudonymous else None)
    if name in TEXT_COLUMNS:
        return _texts(column, separator)
    values: Cells = column.astype(object).where(column.notna(), "").tolist()
    return values


def _texts(column: pd.Series, separator: str) -> list[str]:
    inner, formula = _INNER[separator].search, _FORMULA.match
    texts: Iterable[str] = column.astype(object).where(column.notna(), "").tolist()
    return [defused(text, separator) if formula(text) or inner(text) else text for text in texts]


def _instants(column: pd.Series, zone: str, length: int | None) -> list[str]:
    """ISO 8601 with the zone's offset at that instant; '' where there is none; the first `length` letters."""
    is_there = column.notna().to_numpy()
    instants = column[is_there].to_numpy(dtype=np.int64)
    wall = local_instants(instants, zone)
    offsets, place = np.unique((wall.astype(np.int64) - instants) // 1000, return_inverse=True)
    ends = np.array([_offset_text(int(offset)) for offset in offsets], dtype=object)
    texts = np.full(len(column), "", dtype=object)
    if len(instants):
        texts[is_there] = np.datetime_as_string(wall, unit="s").astype(object) + ends[place]
    return [text[:length] for text in texts.tolist()]


def _offset_text(seconds: int) -> str:
    sign, minutes = ("-" if seconds < 0 else "+"), abs(seconds) // 60
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def _constants(heading: Heading) -> dict[str, object]:
    return {
        "report_from": heading.first.isoformat(),
        "report_to": heading.last.isoformat(),
        "report_timezone": heading.zone,
        "generated_at_utc": heading.generated_text,
        "schema_version": SCHEMA_VERSION,
    }


def _csv(names: Sequence[str], columns: Sequence[Cells], separator: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows(zip(*columns, strict=True))
    # Half of a surrogate pair is no text; the store refuses it, a name made elsewhere must not break the file.
    return text.getvalue().encode("utf-8", "replace")


def _file_name(kind: str, subject: str, heading: Heading) -> str:
    generated = heading.generated_at.astimezone(UTC).strftime("%Y%m%dt%H%M%Sz")
    safe = _NOT_IN_FILE_NAMES.sub("-", subject.lower()).strip("-.") or "site"
    return f"{kind}_{safe}_{heading.first}_{heading.last}_{generated}.csv"

"""The users export of Atlassian Administration (CSV) into the store: who was added when, invited, last seen by Atlassian, in which groups.

Its columns vary with the time of the export and the boxes ticked (support.atlassian.com/organization-administration/docs/
export-user-accounts): a list of groups, a column per group or a row per group; one "Last seen in Confluence - <site>" per site; or the
export of managed accounts with "Atlassian ID", "Status" and "Last active date [UTC]". So columns are found by what their names come to
(`uar.confluence.export_columns`), and only those without which a person cannot be told are demanded.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from uar.confluence.directory import Now, now_ms
from uar.confluence.export_columns import Columns, UnreadableExport, UnreadableRow, find_columns, read_row
from uar.store import directory as store
from uar.store.database import Connection, Engine, write_transaction
from uar.store.directory import Person

__all__ = ["Imported", "UnreadableExport", "import_users"]

BATCH = 1_000
LARGEST_FIELD = 1_000_000


@dataclass
class Imported:
    """What an import did: people new and changed, and the lines that could not be read (number, sentence)."""

    added: int = 0
    changed: int = 0
    bad_lines: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Line:
    """A line of the file, read: its number, the person, the names of the groups."""

    number: int
    person: Person
    groups: tuple[str, ...]


def import_users(engine: Engine, path: Path, site: str, progress: Callable[[int, int], None] | None = None, now: Now = now_ms) -> Imported:
    """Load a users export into the site; again does no harm. Lines that cannot be read change nothing else.

    Raises `UnreadableExport` (a sentence) if columns that are needed are not there, and the store's exceptions.
    """
    total = path.stat().st_size
    imported = Imported()
    with path.open("rb") as raw, TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="") as file:
        batch: list[Line] = []
        for line in _lines(file, site, now(), imported):
            batch.append(line)
            if len(batch) == BATCH:
                _save(engine, site, batch, imported, now())
                batch.clear()
                if progress is not None:
                    progress(min(total, raw.tell()), total)
        _save(engine, site, batch, imported, now())
    if progress is not None:
        progress(total, total)
    return imported


def _lines(file: TextIO, site: str, at: int, imported: Imported) -> Iterator[Line]:
    """The readable lines; the others are noted. Raises `UnreadableExport`."""
    csv.field_size_limit(LARGEST_FIELD)
    first = file.readline()
    file.seek(0)
    # Atlassian writes commas; a German Excel that saved the file again writes semicolons.
    reader = csv.reader(file, delimiter=";" if first.count(";") > first.count(",") else ",")
    try:
        header = next(reader, [])
        columns: Columns = find_columns(header, site)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            try:
                person, groups = read_row(cells, columns, len(header), at)
            except UnreadableRow as error:
                imported.bad_lines.append((reader.line_num, str(error)))
                continue
            yield Line(reader.line_num, person, groups)
    except csv.Error as error:
        raise UnreadableExport(f"Line {reader.line_num} is no CSV ({error}): export the users again.") from error


def _save(engine: Engine, site: str, batch: Sequence[Line], imported: Imported, at: int) -> None:
    if not batch:
        return
    with write_transaction(engine) as connection:
        site_id = store.site_id_of(connection, site) or store.claim_site(connection, site, None, None)[0]
        found = _with_accounts(connection, site_id, batch, imported)
        saved = store.save_people(connection, site_id, [line.person for line in found], at)
        names = {name for line in found for name in line.groups}
        group_ids = store.group_ids_by_name(connection, site_id, sorted(names)) if names else {}
        members = [(line, saved.ids[line.person.account]) for line in found if line.person.account in saved.ids]
        store.add_members(connection, {(group_ids[name], person_id) for line, person_id in members for name in line.groups})
    imported.added += saved.added
    imported.changed += saved.changed


def _with_accounts(connection: Connection, site_id: int, batch: Sequence[Line], imported: Imported) -> list[Line]:
    """The lines whose account is known: told by the file, or by an address that one person of the site has."""
    emails = [line.person.email.lower() for line in batch if not line.person.account and line.person.email]
    accounts = store.accounts_by_email(connection, site_id, emails) if emails else {}
    found = []
    for line in batch:
        if line.person.account:
            found.append(line)
        elif account := accounts.get((line.person.email or "").lower()):
            found.append(replace(line, person=replace(line.person, account=account)))
        else:
            imported.bad_lines.append((line.number, "It has no user id, and nobody known has its email address: run the sync first."))
    return found

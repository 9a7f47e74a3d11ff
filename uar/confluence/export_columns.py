"""The columns of a users export, and what one of its lines says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from uar.activity import DAY_MS, ActorKind
from uar.store.directory import ACTIVE, DEACTIVATED, INVITED, Person

ACCOUNT = ("user id", "atlassian id", "account id", "atlassian account id", "aaid", "id")
NAME = ("user name", "name", "display name", "full name")
EMAIL = ("email", "email address", "user email")
STATUS = ("user status", "status", "account status")
ADDED = ("added to org", "added to organization", "added to site", "created", "date added")
GROUPS = ("groups", "group membership", "group name", "group names")
SEEN_HERE = re.compile(r"last (?:seen|active) (?:in|on) confluence(?: (.+))?")
SEEN_ANYWHERE = ("last active date utc", "last active date", "last active", "last seen")  # of all products: better than nothing
ACCESS = re.compile(r"confluence(?: (.+))?")
GROUP = re.compile(r"group \d+")
STATES = {
    "active": ACTIVE,
    "invited": INVITED,
    "pending": INVITED,
    "pending invite": INVITED,
    "invite sent": INVITED,
    "inactive": DEACTIVATED,
    "deactivated": DEACTIVATED,
    "suspended": DEACTIVATED,
    "disabled": DEACTIVATED,
    "deleted": DEACTIVATED,
}
NO_ACCESS = ("", "none", "no", "no access", "false")
NEVER = ("", "never", "never accessed", "never logged in", "n a", "none", "not active in the last 180 days")
DATES = ("%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y", "%d %b %y", "%d %b %Y %H:%M:%S", "%d %b %Y %H:%M", "%Y/%m/%d")
LONGEST = 1_024


class UnreadableExport(Exception):
    """The file is no users export; the message says what is missing."""


class UnreadableRow(Exception):
    """One line cannot be read; the message says why, without the values."""


@dataclass(frozen=True)
class Columns:
    """Where in a line what stands; None: the export does not have it."""

    account: int | None
    name: int | None
    email: int | None
    status: int | None
    added: int | None
    last_seen: int | None
    access: int | None
    groups: tuple[int, ...]


def normalized(header: str) -> str:
    """A column's name in lower case, without punctuation: `Last seen in Confluence - acme` → `last seen in confluence acme`."""
    return " ".join(re.sub(r"[^\w]+|_", " ", header.lower()).split())


def find_columns(header: Sequence[str], site: str) -> Columns:
    """Where the columns are. Raises `UnreadableExport` naming those that are needed and missing."""
    names = [normalized(name) for name in header]
    account, email = _place(names, ACCOUNT), _place(names, EMAIL)
    seen = _place_of_site(header, names, SEEN_HERE, site)
    columns = Columns(
        account=account,
        name=_place(names, NAME),
        email=email,
        status=_place(names, STATUS),
        added=_place(names, ADDED),
        last_seen=seen if seen is not None else _place(names, SEEN_ANYWHERE),
        access=_place_of_site(header, names, ACCESS, site),
        groups=tuple(place for place, name in enumerate(names) if name in GROUPS or GROUP.fullmatch(name)),
    )
    missing = [] if account is not None or email is not None else ["User id"]
    if columns.name is None and columns.last_seen is None and columns.status is None:
        missing += ["User name", "User status", "Last seen in Confluence"]
    if missing:
        raise UnreadableExport(
            f"The file has no column {' or '.join(repr(name) for name in missing)}: export the users in Atlassian Administration "
            "(Directory, Users, Export users) and give that file."
        )
    return columns


def _place(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _place_of_site(header: Sequence[str], names: Sequence[str], pattern: re.Pattern[str], site: str) -> int | None:
    """The column of this site among those that each site has; the only one if there is one."""
    found: Mapping[int, str] = {place: match[1] or "" for place, name in enumerate(names) if (match := pattern.fullmatch(name))}
    if len(found) <= 1:
        return next(iter(found), None)
    mine = [place for place, name in found.items() if name == normalized(site)]
    if len(mine) != 1:
        shown = ", ".join(repr(header[place]) for place in found)
        raise UnreadableExport(f"The file tells several sites apart ({shown}), and none is called {site!r}: export the users of one site.")
    return mine[0]


def read_row(cells: Sequence[str], columns: Columns, width: int, at: int) -> tuple[Person, tuple[str, ...]]:
    """The person of a line, and the names of the groups. `at` is now (epoch ms). Raises `UnreadableRow`.

    The account is empty where the file has no ids.
    """
    if len(cells) != width:
        raise UnreadableRow(f"It has {len(cells)} cells, the header has {width}.")
    account, email = _cell(cells, columns.account), _cell(cells, columns.email)
    if len(account) > LONGEST or (not account and (columns.account is not None or not email)):
        raise UnreadableRow("It has no user id.")
    status = normalized(_cell(cells, columns.status))
    if status and status not in STATES:
        raise UnreadableRow("Its status is none of active, invited, suspended, deactivated.")
    access = normalized(_cell(cells, columns.access))
    is_licensed = columns.access is None or access not in NO_ACCESS
    person = Person(
        account=account,
        name=_cell(cells, columns.name)[:LONGEST] or None,
        email=email[:LONGEST] or None,
        kind=ActorKind.GUEST if access == "guest" else None,
        state=STATES.get(status) if is_licensed else None,
        created_at=_instant(_cell(cells, columns.added), at, "day it was added"),
        atlassian_last_seen_at=_instant(_cell(cells, columns.last_seen), at, "day it was last seen"),
        is_licensed=is_licensed,
    )
    return person, tuple(dict.fromkeys(name for place in columns.groups for name in _groups(_cell(cells, place))))


def _cell(cells: Sequence[str], place: int | None) -> str:
    return "" if place is None else cells[place].replace("\0", "�").strip()


def _groups(text: str) -> list[str]:
    return [name for part in re.split(r"[,;\n]", text) if (name := part.strip()[:LONGEST])]


def _instant(text: str, at: int, what: str) -> int | None:
    """Epoch milliseconds, UTC; None for "Never accessed" and the like.

    A day without a time is its noon, so that it is the same day in nearly every zone; nothing lies in the future but by a day's zones.
    """
    if normalized(text) in NEVER:
        return None
    moment = _moment(text)
    if moment is None:
        raise UnreadableRow(f"The {what} is no date such as 12 Mar 2026 or 2026-03-12.")
    milliseconds = int(moment.timestamp() * 1000)
    if not 0 < milliseconds <= at + DAY_MS:
        raise UnreadableRow(f"The {what} lies in the future or before 1970.")
    return min(milliseconds, at)


def _moment(text: str) -> datetime | None:
    plain = " ".join(text.replace(",", " ").replace(" UTC", "Z").split())
    if not re.match(r"\d{4}-\d\d-\d\d", plain):
        plain = plain.replace("-", " ").removesuffix("Z")
        for pattern in DATES:
            try:
                found = datetime.strptime(plain, pattern).replace(tzinfo=UTC)
            except ValueError:
                continue
            return found if "%H" in pattern else found + timedelta(hours=12)
        return None
    try:
        found = datetime.fromisoformat(plain)
    except ValueError:
        return None
    found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return found + timedelta(hours=12) if len(plain) == 10 else found

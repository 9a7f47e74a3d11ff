"""What a report is asked: the options of the command line, checked, as one `Question` with the data to answer it.

Everything unknown (site, zone, type, space, group, person, day) ends as `Wrong` with one sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, TypedDict
from zoneinfo import ZoneInfo

import click

from uar.activity import EARLIEST, ActivityType
from uar.commands.failure import Failure, Wrong
from uar.config import load_settings

if TYPE_CHECKING:
    import pandas as pd

    from uar.live import Snapshot
    from uar.report.selection import Selection
    from uar.store.database import Engine


class Options(TypedDict):
    """The options of a question as click hands them over."""

    site: str | None
    zone: str | None
    first: str | None
    last: str | None
    today: str | None
    types: tuple[str, ...]
    spaces: tuple[str, ...]
    group: str | None
    person: str | None


@dataclass(frozen=True)
class Question:
    """A selection, the site's data, its groups as one text per person, and the day and the limits in days that a status depends on."""

    selection: Selection
    snapshot: Snapshot
    site: str
    today: date
    status_days: tuple[int, int]
    groups: pd.Series

    @property
    def recorded_from(self) -> date | None:
        """The first local day that is recorded and not pruned; None if nothing was ever recorded."""
        return self.snapshot.known_from(self.selection.zone)

    @property
    def unknown(self) -> frozenset[date]:
        """The local days with a gap in recording."""
        from uar.report.coverage import unknown_days

        return unknown_days(self.snapshot.gaps, self.selection.zone)


OPTIONS = (
    click.option("--site", help="Name of the site; needed only with several."),
    click.option("--zone", help="Timezone in which days are cut, e.g. Europe/Berlin; default: UAR_TIMEZONE."),
    click.option("--from", "first", help="First day, e.g. 2026-01-31; default: the last 12 months."),
    click.option("--to", "last", help="Last day, included; default: today."),
    click.option("--today", help="The day that counts as today; default: today in the zone."),
    click.option("--type", "types", multiple=True, help="Count only this event type; may be repeated."),
    click.option("--space", "spaces", multiple=True, help="Count only this space, by its key; may be repeated."),
    click.option("--group", help="Count only members of this group."),
    click.option("--person", help="Count only this person, by account id, e-mail address or name."),
)


def question_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a question."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def ask(options: Options) -> Question:
    """The question that the options ask, with the site's data loaded; `Wrong` if one of them makes no sense."""
    from uar.live import LiveMirror
    from uar.report.selection import Selection
    from uar.store.database import open_store

    settings = load_settings()
    zone = known_zone(options["zone"] or settings.timezone)
    today = known_day("--today", options["today"]) or datetime.now(UTC).astimezone(ZoneInfo(zone)).date()
    first, last = days_asked(options, today)
    types = known_types(options["types"])
    engine = open_store(settings.database_url.reveal())
    site_id, site = known_site(engine, options["site"])
    snapshot = LiveMirror(engine, site_id, 0, settings.data_dir).refresh()
    people = people_asked(engine, site_id, snapshot.people, options)
    selection = Selection(
        first=first,
        last=last,
        zone=zone,
        types=types,
        spaces=known_spaces(snapshot.spaces, options["spaces"]),
        people=people,
        # Apps do not count, unless one is asked for by name.
        left_out=snapshot.app_ids if options["person"] is None else frozenset(),
    )
    return Question(selection, snapshot, site, today, settings.status_days, groups_of_people(engine, site_id))


def known_zone(name: str) -> str:
    """The zone's name, if there is such a zone."""
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, KeyError):
        raise Wrong(f"--zone: {name!r} is not a timezone such as Europe/Berlin.") from None


def known_day(option: str, text: str | None) -> date | None:
    """The day of an option, None if it was left out."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Wrong(f"{option}: {text!r} is not a day such as 2026-01-31.") from None


def days_asked(options: Options, today: date) -> tuple[date, date]:
    """First and last day; by default the twelve months that end today, as on the page."""
    from uar.report.periods import last_12_months

    last = known_day("--to", options["last"]) or today
    first = known_day("--from", options["first"]) or last_12_months(last)[0]
    if first > last:
        raise Wrong(f"--from: {first} is after {last}, the last day.")
    if first < EARLIEST or last.year > today.year + 1:
        raise Wrong(f"--from and --to: the days must lie between {EARLIEST} and {today.year + 1}-12-31.")
    return first, last


def known_types(words: tuple[str, ...]) -> frozenset[ActivityType]:
    """The types by their words; all if none is given."""
    by_word = {kind.key: kind for kind in ActivityType}
    for word in words:
        if word.lower() not in by_word:
            raise Wrong(f"--type: {word!r} is none of {', '.join(by_word)}.")
    return frozenset(by_word[word.lower()] for word in words) or frozenset(ActivityType)


def known_site(engine: Engine, name: str | None) -> tuple[int, str]:
    """Id and name of the site that is meant."""
    from uar.store.database import read_transaction
    from uar.store.reads import site_names

    with read_transaction(engine) as connection:
        sites = site_names(connection)
    if name is not None:
        sites = sites[(sites["name"] == name) | (sites["cloud_id"] == name)]
        if sites.empty:
            raise Wrong(f"--site: the store holds no site {name!r}.")
    if sites.empty:
        raise Failure("The store holds no site yet: connect Confluence (docs/connect.md) or load the sample site (python -m uar demo).")
    if len(sites) > 1:
        raise Wrong(f"--site: there are several, choose one of {', '.join(sites['name'])}.")
    return int(sites["id"].iloc[0]), str(sites["name"].iloc[0])


def known_spaces(spaces: pd.DataFrame, keys: tuple[str, ...]) -> frozenset[int] | None:
    """The ids of spaces by their keys, whatever their case; None (all) if no key is given."""
    if not keys:
        return None
    ids = {str(key).lower(): int(number) for number, key in zip(spaces["id"], spaces["space_key"], strict=True)}
    for key in keys:
        if key.lower() not in ids:
            raise Wrong(f"--space: the site has no space {key!r} with activity.")
    return frozenset(ids[key.lower()] for key in keys)


def people_asked(engine: Engine, site_id: int, people: pd.DataFrame, options: Options) -> frozenset[int] | None:
    """The ids of the people that `--person` and `--group` leave; None means everybody."""
    asked = [
        found
        for found in (
            known_person(people, options["person"]) if options["person"] is not None else None,
            members(engine, site_id, options["group"]) if options["group"] is not None else None,
        )
        if found is not None
    ]
    return frozenset.intersection(*asked) if asked else None


def known_person(people: pd.DataFrame, text: str) -> frozenset[int]:
    """The one person with this account id, else e-mail address, else name."""
    for column in ("account_id", "email", "display_name"):
        found = people.loc[people[column].astype("str").str.casefold() == text.casefold(), "id"]
        if len(found) == 1:
            return frozenset({int(found.iloc[0])})
        if len(found) > 1:
            raise Wrong(f"--person: {text!r} is the name of {len(found)} people; give an account id.")
    raise Wrong(f"--person: the site has nobody with the account id, e-mail address or name {text!r}.")


def members(engine: Engine, site_id: int, name: str) -> frozenset[int]:
    """The ids of a group's members."""
    from uar.store.database import read_transaction
    from uar.store.reads import groups, memberships

    with read_transaction(engine) as connection:
        known, belonging = groups(connection, site_id), memberships(connection, site_id)
    ids = known.loc[known["name"].str.casefold() == name.casefold(), "id"]
    if ids.empty:
        raise Wrong(f"--group: the site has no group {name!r}; python -m uar sync reads groups.")
    return frozenset(int(person) for person in belonging.loc[belonging["group_id"].isin(ids), "person_id"])


def groups_of_people(engine: Engine, site_id: int) -> pd.Series:
    """The names of each person's groups as one text, by person id."""
    from uar.report.people import group_names
    from uar.store.database import read_transaction
    from uar.store.reads import groups, memberships

    with read_transaction(engine) as connection:
        return group_names(groups(connection, site_id), memberships(connection, site_id))

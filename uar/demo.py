"""The sample site: 200 invented people and 14 months of believable activity, through the same store functions as real events.

    cast (demo_cast.py) -> activities(day by day) -> record_activities

Everything hangs on `seed` and the calendar, not on the time of the call: each person's day has its own random source, and the key of
an activity names person, day and number. Loading again adds nothing; loading on a later day adds the days since.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from uar.activity import Activity, ActivityType, ActorKind, Source, identity
from uar.demo_cast import DEPARTMENTS, Habit, Member, cast
from uar.demo_days import presence, season
from uar.store.database import Engine, write_transaction
from uar.store.directory import Group, Person, save_groups, save_members, save_people
from uar.store.writes import Recorded, ensure_site, record_activities

SITE = "sample"
MONTHS = 14
BATCH = 5_000
IMPORT_PAGES = 2_600
Progress = Callable[[int, int], None]

# Event names of the Forge catalogue with their shares within the type.
EVENTS: dict[ActivityType, tuple[tuple[str, float], ...]] = {
    ActivityType.VIEW: (("viewed:page", 84), ("viewed:blogpost", 7), ("performed:search", 6), ("viewed:attachment", 3)),
    ActivityType.CREATE: (
        ("created:page", 80),
        ("created:blogpost", 8),
        ("created:whiteboard", 6),
        ("created:database", 3),
        ("created:folder", 3),
    ),
    ActivityType.UPDATE: (("updated:page", 84), ("updated:blogpost", 4), ("moved:page", 6), ("copied:page", 4), ("restored:page", 2)),
    ActivityType.DELETE: (("trashed:page", 75), ("archived:page", 20), ("removed:task", 5)),
    ActivityType.COMMENT: (("created:comment", 88), ("updated:comment", 9), ("deleted:comment", 3)),
    ActivityType.LIKE: (("liked:page", 80), ("liked:comment", 14), ("liked:blogpost", 6)),
    ActivityType.ATTACHMENT: (("created:attachment", 82), ("updated:attachment", 15), ("deleted:attachment", 3)),
    ActivityType.LABEL: (("added:label", 88), ("removed:label", 12)),
    ActivityType.SPACE: (("updated:space:V2", 80), ("permissions_updated:space:V2", 20)),
    ActivityType.OTHER: (("created:relation", 85), ("deleted:relation", 15)),
}

# Shares of the ten types, in their order, by habit.
SHARES_OF_MOST = (71.0, 4.0, 10.0, 1.0, 5.5, 4.5, 2.2, 1.1, 0.1, 0.6)
SHARES = {
    Habit.WRITER: (46.0, 11.0, 24.0, 2.4, 7.0, 2.5, 4.2, 2.2, 0.2, 0.5),
    Habit.READER: (100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
}
SHARES_OF_APPS = (0.0, 20.0, 60.0, 0.0, 10.0, 0.0, 5.0, 5.0, 0.0, 0.0)


@dataclass(frozen=True)
class Space:
    """A space of the sample site; `home` is the department that uses it most, None for all alike."""

    key: str
    name: str
    pages: int
    weight: float
    home: str | None = None


SPACES = (
    Space("KB", "Knowledge Base", 900, 10),
    Space("NEWS", "Company News", 260, 6),
    Space("ENG", "Engineering", 1400, 2, "Engineering"),
    Space("PROD", "Product", 420, 2, "Product"),
    Space("MKT", "Marketing", 380, 1, "Marketing"),
    Space("SALES", "Sales Playbook", 300, 1, "Sales"),
    Space("HR", "People & Culture", 180, 2, "People"),
    Space("FIN", "Finance", 120, 0.5, "Finance"),
    Space("ITHELP", "IT Help Desk", 240, 2, "IT"),
    Space("OPS", "Operations", 210, 1, "Operations"),
)
HOME_WEIGHT = 22.0
PERSONAL_EVERY = 40  # every 40th person keeps a personal space


def load_demo(engine: Engine, today: date, seed: int = 42, progress: Progress | None = None, until: int | None = None) -> Recorded:
    """Load the sample site; `until` (epoch ms) ends it at that instant of `today`. Says how many activities were new."""
    members = cast(today, seed)
    acts = sorted(activities(members, today, seed), key=lambda act: act.occurred_at)
    if until is not None:
        acts = [act for act in acts if act.received_at <= until]
    _save_directory(engine, members, int(datetime.combine(today, time(), UTC).timestamp() * 1000))
    inserted = 0
    for start in range(0, len(acts), BATCH):
        with write_transaction(engine) as connection:
            inserted += record_activities(connection, acts[start : start + BATCH]).inserted
        if progress:
            progress(min(start + BATCH, len(acts)), len(acts))
    return Recorded(inserted=inserted, duplicates=len(acts) - inserted)


def _save_directory(engine: Engine, members: list[Member], at: int) -> None:
    """What a directory sync would have read: all accounts, also those that never act, and one group for each department."""
    with write_transaction(engine) as connection:
        site_id = ensure_site(connection, SITE)
        ids = save_people(connection, site_id, [_record(member) for member in members], at, listed_at=at).ids
        names = ("confluence-users", *DEPARTMENTS)
        for name, group_id in save_groups(connection, site_id, [Group(name, name) for name in names]).items():
            belonging = [
                member for member in members if member.kind is ActorKind.PERSON and name in ("confluence-users", member.department)
            ]
            save_members(connection, group_id, [ids[member.account] for member in belonging])


def _record(member: Member) -> Person:
    created_at = int(datetime.combine(member.created, time(9), UTC).timestamp() * 1000)
    return Person(member.account, member.name, member.email, member.kind.value, member.state, created_at)


def activities(members: list[Member], today: date, seed: int) -> Iterator[Activity]:
    """All activities of the site, day by day from `MONTHS` months before `today` to `today`, unordered within a day."""
    first = first_day(today)
    for number in range((today - first).days + 1):
        day = first + timedelta(days=number)
        for member in members:
            yield from _day_of(member, day, today, seed)


def first_day(today: date) -> date:
    """The first day of the month that lies `MONTHS` months back."""
    months = today.year * 12 + today.month - 1 - MONTHS
    return date(months // 12, months % 12 + 1, 1)


def import_day(today: date) -> date:
    """The day of the mass import: a Wednesday about four months back."""
    months = today.year * 12 + today.month - 1 - 4
    start = date(months // 12, months % 12 + 1, 8)
    return start + timedelta(days=(2 - start.weekday()) % 7)


def _day_of(member: Member, day: date, today: date, seed: int) -> Iterator[Activity]:
    chooser = random.Random(f"day/{seed}/{member.number}/{day.toordinal()}")
    if member.habit is Habit.IMPORTER and day == import_day(today):
        yield from _import(member, day, chooser)
    if chooser.random() >= presence(member, day, seed):
        return
    shares = SHARES_OF_APPS if member.kind is ActorKind.APP else SHARES.get(member.habit, SHARES_OF_MOST)
    for number in range(_poisson(chooser, member.rate * season(day, today)) or 1):
        kind = chooser.choices(tuple(ActivityType), shares)[0]
        at = _instant(member, day, chooser)
        yield _activity(member, (day, number), kind, _event(kind, chooser), _space(member, chooser), at, chooser)


def _import(member: Member, day: date, chooser: random.Random) -> Iterator[Activity]:
    """One day of mass import: pages of an older wiki, within four hours."""
    start = _at(member.zone, day, 9 * 3600)
    for number in range(IMPORT_PAGES):
        at = start + number * 4 * 3_600_000 // IMPORT_PAGES
        yield _activity(member, (day, number + 10_000), ActivityType.CREATE, "created:page", SPACES[0], at, chooser)


def _activity(
    member: Member, number: tuple[date, int], kind: ActivityType, event: str, space: Space, at: int, chooser: random.Random
) -> Activity:
    day, count = number
    return Activity(
        site=SITE,
        source=Source.DEMO,
        event_name=f"avi:confluence:{event}",
        type=kind,
        account=member.account,
        occurred_at=at,
        received_at=at + chooser.randint(400, 45_000),
        is_event_time=True,
        key=identity(SITE, member.number, day.toordinal(), count),
        actor_kind=member.kind,
        display_name=member.name,
        space_key=space.key,
        space_name=space.name,
        content_id=str(100_000 + int(space.pages * chooser.random() ** 2.5) + 2_000 * len(space.key) * ord(space.key[0])),
    )


def _event(kind: ActivityType, chooser: random.Random) -> str:
    names = [name for name, _ in EVENTS[kind]]
    return chooser.choices(names, [weight for _, weight in EVENTS[kind]])[0]


def _space(member: Member, chooser: random.Random) -> Space:
    if member.number % PERSONAL_EVERY == 0 and chooser.random() < 0.15:
        return Space(f"~{member.account}", member.name, 30, 0)
    weights = [space.weight + (HOME_WEIGHT if space.home == member.department else 0) for space in SPACES]
    return chooser.choices(SPACES, weights)[0]


def _instant(member: Member, day: date, chooser: random.Random) -> int:
    """A moment of the member's own day: two humps, at ten and at half past two; apps work in the night."""
    if member.kind is ActorKind.APP:
        hour = chooser.gauss(2.0, 0.4)
    else:
        hour = chooser.gauss(10.0, 1.1) if chooser.random() < 0.55 else chooser.gauss(14.6, 1.5)
    return _at(member.zone, day, int(min(max(hour, 0.2), 23.8) * 3600) + chooser.randint(0, 59))


def _at(zone: str, day: date, second: int) -> int:
    # Wall-clock arithmetic: on the two days of a clock change the hour on the clock is what counts.
    local = datetime.combine(day, time(), ZoneInfo(zone)) + timedelta(seconds=second)
    return int(local.timestamp() * 1000)


def _poisson(chooser: random.Random, mean: float) -> int:
    count, passed = 0, chooser.expovariate(1.0)
    while passed < mean:
        count, passed = count + 1, passed + chooser.expovariate(1.0)
    return count

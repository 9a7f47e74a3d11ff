"""The people of the sample site: who they are, where they live, how they use Confluence. All names are invented.

`cast(today, seed)` gives the same 200 people and three apps for the same day and seed. Every habit that a report must tell apart has
somebody: steady, writing, only reading, only Mondays, only weekends, now and then, every day, gone, new, never seen.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum, auto

from uar.activity import ActorKind
from uar.store.directory import ACTIVE, DEACTIVATED, INVITED

PEOPLE = 200

# Zone: how many of the 200 live there, given names, family names.
REGIONS: dict[str, tuple[int, str, str]] = {
    "Europe/Berlin": (
        88,
        "Anna Jonas Mia Lukas Zoë Felix Łucja Matteo Élodie Jürgen Søren Ingrid Bartłomiej Chiara Noémie Håkon Katja Emre Ağça Dragan",
        "Müller Schneider Nowak Rossi Lefèvre Øvergård Jørgensen Weiß Brandt García Dvořák Yılmaz Kowalska Petrović Lindqvist Vogel",
    ),
    "Europe/London": (10, "Oliver Siobhán Rhys Amelia Callum", "O’Brien Hughes Okafor Whitfield MacLeod"),
    "America/New_York": (
        42,
        "Emily Marcus Sofía Tyrone Grace Diego Hannah Malik Chloe Andre Nguyệt Isaiah",
        "Johnson Alvarez Washington Nguyen Cohen Brooks Castillo Park Sullivan Okonkwo Delacroix",
    ),
    "America/Sao_Paulo": (8, "João Beatriz Caio Luísa", "Araújo Gonçalves Conceição Magalhães"),
    "Asia/Kolkata": (
        36,
        "Priya Arjun Ananya Rahul Lakshmi Vikram Ishaan Meera Sanjay Kavya",
        "Iyer Sharma Venkataraman Banerjee Kapoor Reddy Chatterjee Nair Subramaniam",
    ),
    "Asia/Kathmandu": (6, "Sita Bikram Asmita", "Gurung Thapa Shrestha"),
    "Australia/Sydney": (10, "Lachlan Matilda Kiri Bao Harriet", "Walker Tran Ngata Fitzgerald"),
}

# Names that break careless software: long, accented, right to left, quoted, of one word. They replace the first names drawn.
SPECIAL_NAMES = (
    ("Europe/Berlin", "Maximiliane Konstantina Freifrau von Hohenstein-Wittgenstein zu Lauenburg-Altenkirchen"),
    ("Europe/Berlin", "ليلى حدّاد"),
    ("Europe/Berlin", "נועה ברק"),
    ("America/New_York", 'Dwayne "Ace" Carter, Jr.'),
    ("America/New_York", "王秀英"),
    ("Asia/Kolkata", "Thiruvengadam"),
    ("Asia/Kathmandu", "सीता गुरुङ"),
)

DEPARTMENTS = ("Engineering", "Product", "Marketing", "Sales", "People", "Finance", "IT", "Operations")
DEPARTMENT_SHARES = (34, 12, 12, 16, 8, 6, 6, 6)


class Habit(StrEnum):
    """How somebody uses Confluence."""

    IMPORTER = auto()
    EVERY_DAY = auto()
    WRITER = auto()
    STEADY = auto()
    READER = auto()
    MONDAYS = auto()
    WEEKENDS = auto()
    NOW_AND_THEN = auto()
    GONE = auto()
    NEW = auto()
    NEVER = auto()


HABIT_COUNTS = {
    Habit.IMPORTER: 1,
    Habit.EVERY_DAY: 1,
    Habit.WRITER: 14,
    Habit.STEADY: 90,
    Habit.READER: 30,
    Habit.MONDAYS: 8,
    Habit.WEEKENDS: 5,
    Habit.NOW_AND_THEN: 20,
    Habit.GONE: 16,
    Habit.NEW: 8,
    Habit.NEVER: 7,
}


@dataclass(frozen=True)
class Member:
    """One account of the sample site. `first` and `last` are the days between which it acts, both included."""

    number: int
    name: str
    zone: str
    department: str
    habit: Habit
    rate: float
    first: date
    last: date
    kind: ActorKind = ActorKind.PERSON
    created: date = date(2021, 3, 1)
    state: str = ACTIVE

    @property
    def email(self) -> str | None:
        """An address that cannot exist (RFC 2606); None for apps."""
        if self.kind is ActorKind.APP:
            return None
        plain = unicodedata.normalize("NFKD", self.name).encode("ascii", "ignore").decode().lower()
        words = "".join(letter if letter.isalnum() else " " for letter in plain).split()
        return f"{'.'.join(words[:1] + words[-1:]) or self.account}.{self.number}@example.org"

    @property
    def account(self) -> str:
        """The account id; no real one looks like it."""
        return f"sample-{self.number:04d}"


def cast(today: date, seed: int) -> list[Member]:
    """The 200 people, then three apps."""
    chooser = random.Random(f"cast/{seed}")
    homes = list(_homes(chooser))
    habits = list(_habits(chooser))
    people = [_member(number, homes[number - 1], habits[number - 1], today, seed) for number in range(1, PEOPLE + 1)]
    return [*people, *_apps()]


def _homes(chooser: random.Random) -> Iterator[tuple[str, str]]:
    """200 pairs of zone and name, no name twice, in random order."""
    homes = list(SPECIAL_NAMES)
    for zone, (count, given, family) in REGIONS.items():
        names = [f"{first} {last}" for first in given.split() for last in family.split()]
        missing = count - sum(special_zone == zone for special_zone, _ in SPECIAL_NAMES)
        homes += [(zone, name) for name in chooser.sample(names, missing)]
    chooser.shuffle(homes)
    yield from homes


def _habits(chooser: random.Random) -> Iterator[Habit]:
    habits = [habit for habit, count in HABIT_COUNTS.items() for _ in range(count)]
    chooser.shuffle(habits)
    yield from habits


def _member(number: int, home: tuple[str, str], habit: Habit, today: date, seed: int) -> Member:
    chooser = random.Random(f"member/{seed}/{number}")
    zone, name = home
    first, last = date.min, date.max
    if habit is Habit.NEW:
        first = today - timedelta(days=chooser.randint(3, 150))
    if habit is Habit.GONE:
        last = today - timedelta(days=chooser.randint(35, 330))
    department = chooser.choices(DEPARTMENTS, DEPARTMENT_SHARES)[0]
    kind = ActorKind.GUEST if number % 67 == 0 else ActorKind.PERSON
    rate = _rate(habit, chooser)
    created = first if habit is Habit.NEW else today - timedelta(days=chooser.randint(430, 1500))
    created, state = _account(habit, number, created, today)
    return Member(number, name, zone, department, habit, rate, first, last, kind, created, state)


def _account(habit: Habit, number: int, created: date, today: date) -> tuple[date, str]:
    """When the account was made and what state it is in: half of the gone are deactivated, the never seen are of three kinds."""
    if habit is Habit.GONE:
        return created, (DEACTIVATED if number % 2 else ACTIVE)
    if habit is Habit.NEVER and number % 4 == 0:
        return today - timedelta(days=20), INVITED
    if habit is Habit.NEVER and number % 4 == 1:
        return today - timedelta(days=12), ACTIVE
    return created, ACTIVE


def _rate(habit: Habit, chooser: random.Random) -> float:
    """Activities on a day of use."""
    if habit is Habit.WRITER:
        return chooser.uniform(8, 15)
    return min(9.0, chooser.lognormvariate(1.1, 0.5))


def _apps() -> Iterator[Member]:
    for number, name in enumerate(("Jira Automation", "Release Notes Bot", "Diagrams for Confluence"), start=PEOPLE + 1):
        yield Member(number, name, "UTC", "IT", Habit.EVERY_DAY, 4.0, date.min, date.max, ActorKind.APP)

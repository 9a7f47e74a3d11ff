"""When the people of the sample site use Confluence: weekends, holidays, vacations, seasons. Pure and seeded."""

from __future__ import annotations

import random
from datetime import date, timedelta

from uar.activity import ActorKind
from uar.demo_cast import Habit, Member

# Fixed holidays by zone, as (month, day); moving ones are left out but for Thanksgiving.
HOLIDAYS = {
    "Europe/Berlin": ((1, 1), (5, 1), (10, 3), (12, 25), (12, 26)),
    "Europe/London": ((1, 1), (12, 25), (12, 26)),
    "America/New_York": ((1, 1), (6, 19), (7, 4), (12, 25)),
    "America/Sao_Paulo": ((1, 1), (4, 21), (9, 7), (11, 15), (12, 25)),
    "Asia/Kolkata": ((1, 26), (8, 15), (10, 2)),
    "Asia/Kathmandu": ((4, 14), (9, 20)),
    "Australia/Sydney": ((1, 1), (1, 26), (4, 25), (12, 25), (12, 26)),
}
# The whole company is closed: the only days without people.
CLOSED = ((12, 25), (12, 26), (12, 31), (1, 1))
SATURDAY = 5
MONDAY = 0

PRESENCE = {Habit.MONDAYS: 0.92, Habit.WEEKENDS: 0.75, Habit.NOW_AND_THEN: 0.09, Habit.READER: 0.6, Habit.EVERY_DAY: 1.0, Habit.NEVER: 0.0}
PRESENCE_OF_MOST = 0.85


def presence(member: Member, day: date, seed: int) -> float:
    """How likely the member is to use Confluence on its own local `day`."""
    if member.kind is ActorKind.APP:
        return 0.9
    if not member.first <= day <= member.last or (day.month, day.day) in CLOSED:
        return 0.0
    if member.habit is Habit.EVERY_DAY:
        return 1.0
    usual = _by_weekday(member.habit, day.weekday())
    is_away = _is_holiday(member.zone, day) or _is_on_vacation(member.number, day, seed)
    return usual * 0.015 if is_away else usual


def _by_weekday(habit: Habit, weekday: int) -> float:
    usual = PRESENCE.get(habit, PRESENCE_OF_MOST)
    is_weekend = weekday >= SATURDAY
    if habit is Habit.WEEKENDS:
        return usual if is_weekend else 0.0
    if habit is Habit.MONDAYS:
        return usual if weekday == MONDAY else 0.0
    if is_weekend:
        return usual * 0.025
    return usual * (0.9 if weekday == SATURDAY - 1 else 1.0)


def season(day: date, today: date) -> float:
    """A factor on everybody's rate: slow growth over the 14 months, a dip in summer, quiet weeks around New Year."""
    growth = 1.0 - 0.3 * (today - day).days / 425
    if day.month in (7, 8):
        return growth * 0.75
    if (day.month, day.day) >= (12, 20) or (day.month, day.day) <= (1, 6):
        return growth * 0.45
    return growth


def _is_holiday(zone: str, day: date) -> bool:
    is_thanksgiving = zone == "America/New_York" and day.month == 11 and day.weekday() == 3 and 22 <= day.day <= 28
    return is_thanksgiving or (day.month, day.day) in HOLIDAYS.get(zone, ())


def _is_on_vacation(number: int, day: date, seed: int) -> bool:
    """Two weeks in summer, one week at another time of the year, and now and then an ill week; drawn per person and year."""
    chooser = random.Random(f"vacation/{seed}/{number}/{day.year}")
    summer = date(day.year, 6, 20) + timedelta(days=chooser.randint(0, 60))
    other = date(day.year, 1, 10) + timedelta(days=chooser.randint(0, 320))
    illness = date(day.year, 1, 5) + timedelta(days=chooser.randint(0, 340))
    breaks = ((summer, 16), (other, 9), (illness, chooser.randint(0, 6)))
    return any(start <= day < start + timedelta(days=length) for start, length in breaks)

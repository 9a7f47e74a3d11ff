"""The timezones a viewer can choose, under their current names and with today's offset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

UTC_NAME = "UTC"


@lru_cache(maxsize=1)
def zones() -> tuple[str, ...]:
    """Every zone of the tz database's table for people (`zone.tab`), and UTC, in alphabetical order."""
    lines = _tzdata("zone.tab").splitlines()
    return tuple(sorted({line.split("\t")[2] for line in lines if line and not line.startswith("#")} | {UTC_NAME}))


def current_name(name: str | None) -> str | None:
    """The name of `zones` for any name the tz database knows, in any case: browsers still report `Asia/Calcutta`. Else None."""
    known, links = _by_lower_name(), _links()
    for _ in range(4):  # a link may lead to another link
        if name is None:
            return None
        if name.lower() in known:
            return known[name.lower()]
        name = links.get(name.lower())
    return None


def label(zone: str, at: datetime) -> str:
    """`Europe/Berlin (UTC+1)`, with the offset in the hour of the instant `at`."""
    return labels(at).get(zone) or _label(zone, at)


def labels(at: datetime) -> dict[str, str]:
    """The label of every zone of `zones`."""
    return _labels(at.astimezone(UTC).replace(minute=0, second=0, microsecond=0))


@lru_cache(maxsize=4)
def _labels(hour: datetime) -> dict[str, str]:
    """All labels at once: 400 zones are more than `zoneinfo` keeps open, and reading them again takes 15 ms."""
    return {zone: _label(zone, hour) for zone in zones()}


def _label(zone: str, at: datetime) -> str:
    offset = at.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
    return f"{zone} ({offset_label(offset)})"


def offset_label(offset: timedelta) -> str:
    """`UTC+0`, `UTC+1`, `UTC−3:30`."""
    minutes = round(offset.total_seconds() / 60)
    if minutes == 0:
        return "UTC+0"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '−'}{hours}" + (f":{rest:02}" if rest else "")


@lru_cache(maxsize=1)
def _by_lower_name() -> dict[str, str]:
    return {name.lower(): name for name in zones()}


@lru_cache(maxsize=1)
def _links() -> dict[str, str]:
    """Old name in lower case -> newer name, from the `L` lines of `tzdata.zi` (its format: man 8 zic)."""
    lines = (line.split() for line in _tzdata("tzdata.zi").splitlines() if line.startswith("L "))
    links = {old.lower(): new for _, new, old in lines}
    return links | dict.fromkeys(("etc/utc", "etc/uct", "etc/universal", "etc/zulu", "etc/gmt", "gmt"), UTC_NAME)


def _tzdata(name: str) -> str:
    return (files("tzdata") / "zoneinfo" / name).read_text(encoding="utf-8")

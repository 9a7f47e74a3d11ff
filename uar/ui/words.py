"""Numbers, dates and foreign text as the interface writes them."""

from __future__ import annotations

import re
from datetime import date, datetime
from zoneinfo import ZoneInfo

# Everything that Streamlit's Markdown could take for markup: names come from strangers. Addresses it links by itself
# (github.github.com/gfm, "autolinks"), however they are escaped; a word joiner in them, which cannot be seen, keeps it from that.
ADDRESS = re.compile(r"(https?(?=://)|www(?=\.))", re.IGNORECASE)
MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=])")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WEEK_STARTS = ("Mon", "Sun", "Sat")
MEASURES = ("Events", "People")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")


def plain(text: str) -> str:
    """Foreign text for a Markdown field: shown as it is, on one line, never as markup; an address in it does not become a link."""
    return MARKUP.sub(r"\\\1", ADDRESS.sub("\\1\u2060", " ".join(text.split())))


def quiet(text: str) -> str:
    """Markdown for small secondary text, instead of `st.caption`, which is too pale to read (3.99:1 on white; 4.5:1 is the least)."""
    return f":small[:gray[{text}]]"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 event`, `1,204 events`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def compact(number: int) -> str:
    """A count for a narrow place: `987`, `12.4k`, `3.1M`."""
    for limit, unit in ((1_000_000, "M"), (10_000, "k")):
        if number >= limit:
            shown = number / (1000 if unit == "k" else 1_000_000)
            return f"{shown:.1f}".removesuffix(".0") + unit
    return f"{number:,}"


def percent(share: float) -> str:
    """A share from 0 to 1 as `12.3 %`; a small one that is not nothing as `< 0.1 %`."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{share * 100:.1f} %"


def short_date(day: date) -> str:
    """`15 Apr 2026`."""
    return f"{day.day} {MONTHS[day.month - 1][:3]} {day.year}"


def long_date(day: date) -> str:
    """`Wednesday, 15 April 2026`."""
    return f"{WEEKDAYS[day.weekday()]}, {day.day} {MONTHS[day.month - 1]} {day.year}"


def date_range(first: date, last: date) -> str:
    """`14 Aug – 23 Sep 2026`; the year stands twice only if it differs, a single day once."""
    if first == last:
        return short_date(first)
    start = short_date(first) if first.year != last.year else f"{first.day} {MONTHS[first.month - 1][:3]}"
    return f"{start} – {short_date(last)}"


def ago(seconds: float) -> str:
    """How long ago, in one unit: `20 s ago`, `5 min ago`, `3 h ago`, `12 days ago`."""
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{int(seconds)} s ago"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 2 * 86_400:
        return f"{int(seconds // 3600)} h ago"
    return f"{int(seconds // 86_400)} days ago"


def clock(at_ms: int, zone: str) -> str:
    """The time of day of an instant on the viewer's clock: `14:32`."""
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).strftime("%H:%M")

"""The nearest valid value for what people make of an address: a lower-case word, an old zone name, a day that does not exist."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

FLAGS = {"1": True, "yes": True, "on": True, "true": True}


def nearest_option(text: str, options: Sequence[str]) -> str | None:
    """The option with the same letters and digits, else the only one that contains them or that they begin with."""
    wanted = _bare(text)
    bare = {_bare(option): option for option in options}
    if wanted in bare:
        return bare[wanted]
    near = [option for word, option in bare.items() if wanted and word and (wanted in word or wanted.startswith(word))]
    return near[0] if len(near) == 1 else None


def nearest_options(texts: Sequence[str], options: Sequence[str]) -> list[str]:
    """The nearest option of each text, in the order of `options`, without repetition; texts may hold several, comma separated."""
    words = [word for text in texts for word in ([text] if nearest_option(text, options) else text.split(","))]
    found = {nearest_option(word, options) for word in words}
    return [option for option in options if option in found]


def nearest_flag(texts: Sequence[str]) -> bool | None:
    """Whether the text is one of the words for true; None for all others."""
    return FLAGS.get(texts[0].strip().lower()) if texts else None


def nearest_day(text: str, low: date, high: date) -> date | None:
    """The day of an ISO date, moved into low..high; None if it is no date."""
    match = re.match(r"\s*(\d{4})-(\d{1,2})-(\d{1,2})", text)
    if not match:
        return None
    year, month, day = map(int, match.groups())
    for last in (day, 30, 29, 28):  # the 31st of a shorter month is its last day
        try:
            return max(low, min(high, date(year, month, min(day, last))))
        except ValueError:
            continue
    return None


def nearest_range(texts: Sequence[str], low: date, high: date) -> tuple[date, date] | None:
    """First and last day of two ISO dates in any order, or of one; None if there is none or one of them is no date."""
    words = [word for text in texts for word in re.split(r"[,;]|\.\.|/", text)]
    days = sorted(day for word in words[:2] if (day := nearest_day(word, low, high)))
    return (days[0], days[-1]) if days and len(days) == len(words[:2]) else None


def _bare(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()

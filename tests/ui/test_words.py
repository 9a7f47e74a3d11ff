"""How the interface writes numbers, dates, zones and foreign text; and the nearest valid value of an address."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest

from uar.ui import address, nearest, periods, theme, timezones, words

WINTER = datetime(2026, 1, 15, 12, tzinfo=UTC)
TODAY = date(2026, 11, 24)


def test_foreign_text_is_never_markup() -> None:
    assert words.plain("HTTPS://evil.example www.evil.example") == "HTTPS\u2060\\://evil\\.example www\u2060\\.evil\\.example"
    assert words.plain("**a**\n<b> [x](y) :red[z] $1$") == r"\*\*a\*\* \<b\> \[x\]\(y\) \:red\[z\] \$1\$"


@pytest.mark.parametrize(("number", "text"), [(987, "987"), (9_999, "9,999"), (12_400, "12.4k"), (20_000, "20k"), (3_100_000, "3.1M")])
def test_counts_on_cards_are_compact(number: int, text: str) -> None:
    assert words.compact(number) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0.0 %"), (0.0001, "< 0.1 %"), (0.123, "12.3 %"), (1, "100.0 %")])
def test_a_small_share_is_not_zero(share: float, text: str) -> None:
    assert words.percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s ago"), (20, "20 s ago"), (300, "5 min ago"), (90_000, "25 h ago"), (2e5, "2 days ago")]
)
def test_age_is_in_one_unit(seconds: float, text: str) -> None:
    assert words.ago(seconds) == text


def test_a_range_names_its_year_once() -> None:
    assert words.date_range(date(2026, 8, 14), date(2026, 9, 23)) == "14 Aug – 23 Sep 2026"
    assert words.date_range(date(2025, 11, 25), date(2026, 11, 24)) == "25 Nov 2025 – 24 Nov 2026"
    assert words.date_range(TODAY, TODAY) == "24 Nov 2026"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("europe/kiev", "Europe/Kyiv"),
        ("Etc/UTC", "UTC"),
        ("US/Pacific", "America/Los_Angeles"),
        ("Mars/Base", None),
    ],
)
def test_old_zone_names_lead_to_current_ones(old: str, new: str | None) -> None:
    assert timezones.current_name(old) == new


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("Europe/Berlin", "Europe/Berlin (UTC+1)"),
        ("Asia/Kathmandu", "Asia/Kathmandu (UTC+5:45)"),
        ("America/St_Johns", "America/St_Johns (UTC−3:30)"),
        ("UTC", "UTC (UTC+0)"),
    ],
)
def test_a_zone_is_shown_with_its_offset(zone: str, text: str) -> None:
    assert timezones.label(zone, WINTER) == text


@pytest.mark.parametrize(
    ("text", "found"), [("30 Days", "30 days"), ("90", "90 days"), ("thismonth", "This month"), ("0", None), ("", None), ("nonsense", None)]
)
def test_the_nearest_option_has_the_same_letters(text: str, found: str | None) -> None:
    assert nearest.nearest_option(text, periods.period_names(TODAY, None)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("2026-02-31", date(2026, 2, 28)), ("2030-01-01", TODAY), ("1999-1-1", date(2004, 1, 1)), ("2026-13-01", None), ("yesterday", None)],
)
def test_the_nearest_day_exists(text: str, found: date | None) -> None:
    assert nearest.nearest_day(text, date(2004, 1, 1), TODAY) == found


@pytest.mark.parametrize("texts", [["2026-03-01", "2026-01-02"], ["2026-01-02,2026-03-01"], ["2026-01-02..2026-03-01"]])
def test_a_range_is_read_in_any_order(texts: list[str]) -> None:
    assert nearest.nearest_range(texts, date(2004, 1, 1), TODAY) == (date(2026, 1, 2), date(2026, 3, 1))


def test_a_renamed_space_is_found_by_its_key() -> None:
    spaces = pd.DataFrame({"id": [1, 2, 0], "space_key": ["ENG", "HR", None], "name": ["Engineering", "People", None]})
    assert address.nearest_spaces(["Old name (ENG)"], spaces) == ["Engineering (ENG)"]
    assert address.nearest_spaces(["hr,eng"], spaces) == ["Engineering (ENG)", "People (HR)"]
    assert address.nearest_spaces(["no space"], spaces) == ["No space"]
    assert address.nearest_spaces(["?"], spaces) == []


def test_any_calendar_year_can_be_asked_for() -> None:
    names = periods.period_names(TODAY, date(2025, 3, 1), "2012")
    assert names[names.index("This year") + 1 :][:3] == ["2025", "2024", "2023"]
    assert "2012" in names
    assert periods.days_of("2012", TODAY, None, None) == (date(2012, 1, 1), date(2012, 12, 31))


def test_our_colors_are_those_of_the_theme() -> None:
    config = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
    keys = ("backgroundColor", "secondaryBackgroundColor", "textColor", "borderColor", "primaryColor", "grayTextColor")
    for name, ours in (("light", theme.LIGHT), ("dark", theme.DARK)):
        assert [config[name][key] for key in keys] == [ours.background, ours.surface, ours.text, ours.border, ours.primary, ours.muted]

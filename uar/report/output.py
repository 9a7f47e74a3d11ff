"""The reports as text for scripts: JSON in the shapes that scripts rely on, and CSV with the same numbers."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from uar.activity import ActivityType
from uar.report.selection import Selection
from uar.report.streaks import Kpis


def calendar_json(calendar: pd.DataFrame, selection: Selection) -> str:
    """`{"zone", "from", "to", "days": [{"day", "events", "people", "types": {…}}]}`, every day of the range."""
    days = [
        {"day": row["day"].date().isoformat(), "events": row["events"], "people": row["people"], "types": _types(row)}
        for row in calendar.to_dict("records")
    ]
    report = {"zone": selection.zone, "from": selection.first.isoformat(), "to": selection.last.isoformat(), "days": days}
    return json.dumps(report)


def calendar_csv(calendar: pd.DataFrame) -> str:
    """The calendar's columns: day (ISO 8601), events, people, then the ten types."""
    return calendar.assign(day=calendar["day"].dt.strftime("%Y-%m-%d")).to_csv(index=False, lineterminator="\n")


def kpis_json(kpis: Kpis) -> str:
    """`{"active_days", "days", "longest_streak", "longest_from", "longest_to", "current_streak", "today_open"}`."""
    return json.dumps(kpis.as_json())


def kpis_csv(kpis: Kpis) -> str:
    """One line under the same names as in `kpis_json`; a date that is missing is an empty field."""
    values = kpis.as_json() | {"today_open": str(kpis.today_open).lower()}
    return pd.DataFrame([values], dtype=object).to_csv(index=False, lineterminator="\n")


def breakdown_json(breakdown: pd.DataFrame) -> str:
    """`[{"type", "events", "share", "people"}]`, all ten in their order."""
    return json.dumps(breakdown.to_dict("records"))


def breakdown_csv(breakdown: pd.DataFrame) -> str:
    """The breakdown's columns: type, events, share (0 to 1), people."""
    return breakdown.to_csv(index=False, lineterminator="\n")


def _types(row: dict[Any, Any]) -> dict[str, int]:
    return {kind.key: row[kind.key] for kind in ActivityType}

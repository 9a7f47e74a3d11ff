"""The reports as scripts get them."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime

import pandas as pd

from tests.report.recount import Act, mirror_of
from uar.activity import ActivityType
from uar.report.breakdown import breakdown
from uar.report.days import calendar
from uar.report.output import breakdown_csv, breakdown_json, calendar_csv, calendar_json, kpis_csv, kpis_json
from uar.report.selection import Selection
from uar.report.streaks import kpis

NOON = int(datetime(2026, 3, 29, 12, tzinfo=UTC).timestamp() * 1000)
MIRROR = mirror_of([Act(1, NOON, ActivityType.VIEW, 1), Act(2, NOON, ActivityType.VIEW, 1), Act(2, NOON, ActivityType.LIKE, 1)])
SELECTION = Selection(date(2026, 3, 28), date(2026, 3, 29), "Europe/Berlin")
NO_TYPES = {kind.key: 0 for kind in ActivityType}


def test_the_calendar_as_json_has_every_day_and_every_type() -> None:
    assert json.loads(calendar_json(calendar(MIRROR, SELECTION), SELECTION)) == {
        "zone": "Europe/Berlin",
        "from": "2026-03-28",
        "to": "2026-03-29",
        "days": [
            {"day": "2026-03-28", "events": 0, "people": 0, "types": NO_TYPES},
            {"day": "2026-03-29", "events": 3, "people": 2, "types": NO_TYPES | {"view": 2, "like": 1}},
        ],
    }


def test_the_calendar_as_csv_has_dates_and_numbers() -> None:
    lines = calendar_csv(calendar(MIRROR, SELECTION)).splitlines()
    assert lines[0] == "day,events,people,view,create,update,delete,comment,like,attachment,label,space,other"
    assert lines[1:] == ["2026-03-28,0,0,0,0,0,0,0,0,0,0,0,0", "2026-03-29,3,2,2,0,0,0,0,1,0,0,0,0"]


def test_the_kpis_as_json_and_csv_say_the_same() -> None:
    found = kpis(calendar(MIRROR, SELECTION), today=date(2026, 3, 30))
    expected = {
        "active_days": 1,
        "days": 2,
        "longest_streak": 1,
        "longest_from": "2026-03-29",
        "longest_to": "2026-03-29",
        "current_streak": 1,
        "today_open": True,
    }
    assert json.loads(kpis_json(found)) == expected
    header, line = kpis_csv(found).splitlines()
    assert header == ",".join(expected)
    assert line == "1,2,1,2026-03-29,2026-03-29,1,true"


def test_the_breakdown_as_json_and_csv_has_ten_types_in_order() -> None:
    frame = breakdown(MIRROR, SELECTION)
    rows = json.loads(breakdown_json(frame))
    assert [row["type"] for row in rows] == [kind.key for kind in ActivityType]
    assert rows[0] == {"type": "view", "events": 2, "share": 2 / 3, "people": 2}
    assert rows[1] == {"type": "create", "events": 0, "share": 0.0, "people": 0}
    assert pd.read_csv(io.StringIO(breakdown_csv(frame))).to_dict("records") == rows

"""Which snapshot a viewer sees: all of them come to newer data, but not in the same second, and nobody goes back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from uar.ui import data

NOW_S = 1_795_500_000
LATE = data.FRESH_FOR_S + data.APART_S


def taken(seconds_ago: float) -> SimpleNamespace:
    return SimpleNamespace(data_at=int((NOW_S - seconds_ago) * 1000))


@pytest.mark.parametrize(
    ("newest_age", "former_age", "turn", "seen_age", "is_newest"),
    [
        (1, 45, 0.5, 45, False),  # another viewer's click brought it a second ago: not yet this one's turn
        (1, 45, 0.0, 45, True),
        (data.APART_S * 0.5 - 1, 50, 0.5, 50, False),
        (data.APART_S * 0.5, 50, 0.5, 50, True),
        (data.APART_S, 50, 1.0, 50, True),
        (1, 45, 0.9, None, True),  # who has just come, or loads the page again
        (1, 45, 0.9, 1, True),  # who pressed Refresh
        (1, 45, 0.9, 20, True),  # who saw something between the two
        (1, LATE - 1, 0.9, LATE - 1, False),
        (1, LATE + 1, 0.9, LATE + 1, True),  # nobody looked for long
        (1, None, 0.9, 45, True),  # something was erased: what shows it is no more
    ],
)
def test_each_viewer_comes_to_newer_data_in_turn(
    monkeypatch: pytest.MonkeyPatch, newest_age: float, former_age: float | None, turn: float, seen_age: float | None, is_newest: bool
) -> None:
    mirror = SimpleNamespace(snapshot=taken(newest_age), former=None if former_age is None else taken(former_age))
    monkeypatch.setattr(data, "_mirror", lambda site_id: mirror)
    monkeypatch.setattr(data.time, "time", lambda: float(NOW_S))
    found = data.snapshot_for(1, turn, None if seen_age is None else taken(seen_age).data_at)
    assert found is (mirror.snapshot if is_newest else mirror.former)

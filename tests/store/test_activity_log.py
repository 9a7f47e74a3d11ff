"""The view for BI tools: one readable row per activity, the same on both databases."""

from __future__ import annotations

import pytest

from tests.store.making import T0, act, record, rows
from uar.activity import ActivityType, Source
from uar.store.database import Engine

COLUMNS = ["id", "site", "source", "event", "type", "person", "space", "content_id", "occurred_at", "received_at", "time_from"]


def test_the_view_has_the_promised_columns_in_their_order(store: Engine) -> None:
    with store.connect() as connection:
        assert list(connection.exec_driver_sql("SELECT * FROM activity_log").keys()) == COLUMNS


def test_one_row_per_activity_in_words(store: Engine) -> None:
    record(
        store,
        act(1, at=7, event_name="page_viewed", source=Source.CONNECT, space_key="ENG", content_id="98305"),
        act(2, account=None, type=ActivityType.OTHER, source=Source.ACCESS_LOG, is_event_time=False, received_at=T0 + 999, site="wiki"),
    )
    assert rows(store, "SELECT * FROM activity_log ORDER BY id") == [
        (
            1,
            "acme",
            "connect",
            "page_viewed",
            "view",
            "ann",
            "ENG",
            "98305",
            "2026-05-28T20:15:00.007Z",
            "2026-05-28T20:15:00.012Z",
            "event",
        ),
        (
            *(2, "wiki", "access_log", "avi:confluence:viewed:page", "other", None, None, None),
            *("2026-05-28T20:15:00.000Z", "2026-05-28T20:15:00.999Z", "arrival"),
        ),
    ]


def test_every_type_and_source_has_its_word(store: Engine) -> None:
    record(store, *(act(type, type=type) for type in ActivityType), *(act(100 + source, source=source) for source in Source))
    log = rows(store, "SELECT type, source FROM activity_log ORDER BY id")
    assert [row[0] for row in log[:10]] == [
        "view",
        "create",
        "update",
        "delete",
        "comment",
        "like",
        "attachment",
        "label",
        "space",
        "other",
    ]
    assert [row[1] for row in log[10:]] == [source.key for source in Source]


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (1_072_915_200_000, "2004-01-01T00:00:00.000Z"),
        (1_774_746_000_000, "2026-03-29T01:00:00.000Z"),  # clocks go forward in Europe
        (1_774_745_999_999, "2026-03-29T00:59:59.999Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (1_798_761_600_001, "2027-01-01T00:00:00.001Z"),
        (1_779_999_300_010, "2026-05-28T20:15:00.010Z"),
        (4_102_444_800_100, "2100-01-01T00:00:00.100Z"),
    ],
)
def test_instants_are_exact_to_the_millisecond(store: Engine, at: int, words: str) -> None:
    record(store, act(1, at=at - T0, received_at=at))
    assert rows(store, "SELECT occurred_at, received_at FROM activity_log") == [(words, words)]

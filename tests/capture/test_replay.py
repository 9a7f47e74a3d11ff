"""Replay when the store refuses some of what can be read now: the others leave the quarantine all the same. On both databases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.capture.reading import RECEIVED_AT
from uar.activity import Activity, Source
from uar.capture.replay import replay
from uar.config import load_settings
from uar.store.database import Connection, Engine, StoreError, StoreUnavailable, read_transaction, write_transaction
from uar.store.writes import Quarantined, record_quarantined

REFUSED = {"13", "200", "201"}


def page(number: int) -> Quarantined:
    """A readable delivery that lies in quarantine."""
    body = orjson.dumps({"timestamp": RECEIVED_AT - number, "event": "page_created", "userKey": "k", "page": {"id": number}})
    return Quarantined(Source.DATACENTER, "wiki", "page_created", None, RECEIVED_AT, "Not known then.", body)


def refuse(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Makes the store refuse some rows."""
    genuine = replay.__globals__["record_activities"]

    def refusing(connection: Connection, activities: Sequence[Activity]) -> Any:
        if any(activity.content_id in REFUSED for activity in activities):
            raise error
        return genuine(connection, activities)

    monkeypatch.setitem(replay.__globals__, "record_activities", refusing)


@pytest.mark.parametrize("error", [StoreError("refused"), OverflowError("too large")], ids=["store", "value"])
def test_what_the_store_refuses_keeps_nothing_else_in_quarantine(
    store: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    settings = load_settings({"UAR_DATA_DIR": str(tmp_path)}, tmp_path)
    with write_transaction(store) as connection:
        record_quarantined(connection, [page(number) for number in range(600)])
    with monkeypatch.context() as while_it_refuses:
        refuse(while_it_refuses, error)
        first = replay(store, settings)
    assert (first.read, first.stored, first.remaining) == (597, 597, 3)
    second = replay(store, settings)
    assert (second.read, second.stored, second.remaining) == (3, 3, 0)
    with read_transaction(store) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM activity_log").scalar() == 600


def test_a_store_that_is_away_ends_the_replay(store: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with write_transaction(store) as connection:
        record_quarantined(connection, [page(13), page(14)])
    refuse(monkeypatch, StoreUnavailable("The store is away."))
    with pytest.raises(StoreUnavailable):
        replay(store, load_settings({"UAR_DATA_DIR": str(tmp_path)}, tmp_path))

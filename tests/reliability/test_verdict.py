"""The check itself: a checker that cannot fail proves nothing, so each kind of harm is done here on purpose."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from tests.reliability.sender import SITE, Ledger, account, occurred_at
from tests.reliability.verdict import assert_nothing_lost, judge
from uar.activity import Activity, ActivityType, Source, identity
from uar.store.database import Engine, write_transaction
from uar.store.writes import record_activities

NUMBERS = range(50)


def activity(number: int, newest: int, copy: int = 0) -> Activity:
    return Activity(
        site=SITE,
        source=Source.DATACENTER,
        event_name="page_updated",
        type=ActivityType.UPDATE,
        account=account(number),
        occurred_at=occurred_at(number, newest),
        received_at=newest,
        is_event_time=True,
        key=identity(number, copy),
        content_id=str(number),
    )


@pytest.fixture
def ledger(store: Engine) -> Ledger:
    """A ledger whose deliveries are all acknowledged and stored."""
    made = Ledger(newest=1_780_000_000_000, sent=set(NUMBERS), acked=set(NUMBERS))
    with write_transaction(store) as connection:
        record_activities(connection, [activity(number, made.newest) for number in NUMBERS])
    return made


def harm(store: Engine, statement: str) -> None:
    with write_transaction(store) as connection:
        connection.execute(text(statement))


def test_a_store_with_every_delivery_once_passes(store: Engine, store_url: str, ledger: Ledger) -> None:
    assert judge(store, ledger).is_clean
    assert_nothing_lost(store_url, ledger)


def test_a_missing_row_is_lost(store: Engine, store_url: str, ledger: Ledger) -> None:
    harm(store, "DELETE FROM activities WHERE content_id = '7'")
    assert judge(store, ledger).lost == [7]
    with pytest.raises(AssertionError, match=re.escape("lost: 1 [7]")):
        assert_nothing_lost(store_url, ledger)


def test_a_second_row_is_stored_twice(store: Engine, store_url: str, ledger: Ledger) -> None:
    with write_transaction(store) as connection:
        record_activities(connection, [activity(9, ledger.newest, copy=1)])
    assert judge(store, ledger).twice == [9]
    with pytest.raises(AssertionError, match=re.escape("twice: 1 [9]")):
        assert_nothing_lost(store_url, ledger)


def test_a_row_that_nobody_sent_is_found(store: Engine, ledger: Ledger) -> None:
    with write_transaction(store) as connection:
        record_activities(connection, [activity(900, ledger.newest)])
    assert judge(store, ledger).unknown == [900]


def test_a_row_with_another_instant_or_person_is_found(store: Engine, ledger: Ledger) -> None:
    harm(store, "UPDATE activities SET occurred_at = occurred_at + 1 WHERE content_id = '3'")
    harm(store, "UPDATE activities SET person_id = 0 WHERE content_id = '4'")
    assert judge(store, ledger).changed == [3, 4]


def test_a_delivery_that_was_not_acknowledged_may_be_stored_or_not(store: Engine, store_url: str, ledger: Ledger) -> None:
    ledger.acked -= {1, 2}
    harm(store, "DELETE FROM activities WHERE content_id = '1'")
    assert_nothing_lost(store_url, ledger)


def test_a_run_in_which_nothing_was_acknowledged_fails(store_url: str) -> None:
    with pytest.raises(AssertionError, match="Nothing was acknowledged"):
        assert_nothing_lost(store_url, Ledger(sent=set(NUMBERS)))

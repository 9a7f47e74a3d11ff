"""A Forge token proves one delivery: what comes with it later and says something else is kept aside, and nothing lets it in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import uar.capture.used_tokens
from tests.capture.reading import SAMPLES, delivery, sample_body
from uar.activity import Source
from uar.capture.delivery import ANOTHER_BODY, REUSED_TOKEN
from uar.capture.replay import replay
from uar.capture.sources.forge import said
from uar.capture.store_writer import read_deliveries, write_batch
from uar.capture.used_tokens import UsedTokens
from uar.config import load_settings
from uar.store.database import Engine, read_transaction, write_transaction

NOW = 1_795_500_000.0
ENDS = NOW + 25
PAGE = "forge__avi_confluence_updated_page.json"


def test_a_token_is_for_what_came_first_with_it_as_long_as_it_lives() -> None:
    used = UsedTokens()
    assert [used.is_for_another(b"a", ENDS, said, NOW) for said in (b"1", b"1", b"2", b"1", b"2")] == [False, False, True, False, True]
    assert not used.is_for_another(b"b", ENDS, b"2", NOW)
    used.is_for_another(b"c", ENDS + 120, b"3", ENDS + 29)  # a new table makes room only for what has ended
    assert used.is_for_another(b"a", ENDS, b"2", ENDS + 29)


def test_only_so_many_tokens_are_remembered_and_none_after_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uar.capture.used_tokens, "MOST", 1_000)
    used = UsedTokens()
    for number in range(10_000):
        used.is_for_another(str(number).encode(), ENDS + number / 100, b"1", NOW)
        assert sum(map(len, used._tables.values())) <= 1_000
    assert used.is_for_another(b"9999", ENDS + 99.99, b"2", NOW)
    used.is_for_another(b"late", ENDS + 3_600, b"1", NOW + 3_600)
    assert sum(map(len, used._tables.values())) == 1


def test_a_second_try_says_the_same_however_it_is_spelled() -> None:
    page = sample_body(PAGE)
    again = page | {"retryContext": {"retryData": None, "retryCount": 1, "retryReason": "TIMEOUT_ERROR"}}
    first = said((SAMPLES / PAGE).read_bytes())
    assert {said(json.dumps(form).encode()) for form in (page, again, {"payload": again}, dict(reversed(page.items())))} == {first}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a":' * 500 + b"1" + b"}" * 500, b'{"atlassianId":"x"}']
)
def test_every_other_body_says_something_else(body: bytes) -> None:
    assert len({said(body), said(body + b" x"), said((SAMPLES / PAGE).read_bytes())}) == 3


def test_what_came_with_a_used_token_is_never_counted_and_stays_in_quarantine(store: Engine, tmp_path: Path) -> None:
    found = delivery(Source.FORGE, sample_body(PAGE), delivery_id=REUSED_TOKEN)
    batch = read_deliveries([found, found], store_titles=False)
    with write_transaction(store) as connection:
        write_batch(connection, batch, {}, found.received_at)
    replayed = replay(store, load_settings({"UAR_DATA_DIR": str(tmp_path)}, tmp_path))
    assert (replayed.read, replayed.stored, replayed.remaining) == (0, 0, 1)
    with read_transaction(store) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM activities").scalar() == 0
        assert connection.exec_driver_sql("SELECT reason, delivery_id FROM quarantine").fetchall() == [(ANOTHER_BODY, REUSED_TOKEN)]

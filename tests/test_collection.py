"""What the Collection page knows, from rows in the store and a spool on disk, and what it advises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.reliability.running import RunningWorker
from tests.reliability.sender import datacenter_request
from uar.activity import DAY_MS, Source
from uar.capture.delivery import ANOTHER_BODY, REUSED_TOKEN, Delivery
from uar.capture.spool import Spool
from uar.collection import Collection, advice, by_source, collect, refusals
from uar.config import Settings, load_settings
from uar.doctor import WARN, Finding, diagnose
from uar.store.database import Engine, open_store, write_transaction
from uar.store.sync_state import note_attempt
from uar.store.writes import Quarantined, count_deliveries, ensure_site, extend_coverage, record_quarantined, start_coverage

NOW = 1_780_000_000_000
HOUR = 3_600_000
CONFIGURED = {"UAR_DATACENTER_SECRETS": "wiki=secret"}


def settings(tmp_path: Path, **environ: str) -> Settings:
    return load_settings({"UAR_DATA_DIR": str(tmp_path / "data"), **environ}, tmp_path)


def seen(store: Engine, tmp_path: Path, **environ: str) -> tuple[Collection, list[str]]:
    """The collection as it is now, and the sentences of advice."""
    given = settings(tmp_path, **(environ or CONFIGURED))
    state = collect(store, given, NOW)
    return state, [one.sentence for one in advice(state, given)]


def worker_up(store: Engine, *runs: tuple[int, int]) -> None:
    with write_transaction(store) as connection:
        for since, until in runs:
            extend_coverage(connection, start_coverage(connection, "worker", since), until)


def counted(store: Engine, at: int, **outcomes: int) -> None:
    with write_transaction(store) as connection:
        count_deliveries(connection, {(Source.DATACENTER, "wiki", name): count for name, count in outcomes.items()}, at)


def test_a_new_installation_is_told_to_start_a_worker_and_to_configure_a_source(store: Engine, tmp_path: Path) -> None:
    state, sentences = seen(store, tmp_path, UAR_TIMEZONE="UTC")
    assert len(by_source(state)) == 0
    assert len(refusals(state)) == 0
    assert [sentence.split(".")[0] for sentence in sentences] == [
        "No worker has ever been up",
        "No source is configured, so nothing can arrive",
    ]


def test_all_is_well_where_a_worker_is_up_and_deliveries_come(store: Engine, tmp_path: Path) -> None:
    worker_up(store, (NOW - DAY_MS, NOW - 30_000))
    counted(store, NOW - HOUR, accepted=69, duplicate=1)
    state, sentences = seen(store, tmp_path)
    assert sentences == []
    assert by_source(state).to_dict("records") == [
        {
            "source": "Data Center",
            "site": "wiki",
            "last_at": NOW - HOUR,
            "delivered": 70,
            "duplicates": 1,
            "ignored": 0,
            "quarantined": 0,
            "refused": 0,
        }
    ]


def test_a_directory_that_could_not_be_read_is_told_under_the_names_that_sites_have_now(store: Engine, tmp_path: Path) -> None:
    worker_up(store, (NOW - DAY_MS, NOW - 30_000))
    counted(store, NOW - HOUR, accepted=1)
    with write_transaction(store) as connection:
        ensure_site(connection, "wiki")
        for site, error in (("wiki", "It is away."), ("its-old-name", "It was away."), ("acme", "Make a new token."), ("other", None)):
            note_attempt(connection, site, NOW, error)
    configured = CONFIGURED | {"UAR_CONFLUENCE_URLS": "acme=https://acme.atlassian.net/wiki other=https://other.example"}
    told = ["The directory of acme could not be read. Make a new token.", "The directory of wiki could not be read. It is away."]
    assert seen(store, tmp_path, **configured)[1] == told
    url = store.url.render_as_string(hide_password=False)
    findings = diagnose(settings(tmp_path, UAR_DATABASE_URL=url, **configured), NOW / 1000)
    said = [finding for finding in findings if finding.sentence.startswith("The directory")]
    assert said == [Finding(WARN, sentence) for sentence in told]


def test_counts_are_of_the_last_days_but_the_last_delivery_is_of_all(store: Engine, tmp_path: Path) -> None:
    worker_up(store, (NOW - 30 * DAY_MS, NOW))
    counted(store, NOW - 20 * DAY_MS, accepted=500)
    state, sentences = seen(store, tmp_path)
    row = by_source(state).iloc[0]
    assert (row["last_at"], row["delivered"]) == (NOW - 20 * DAY_MS, 0)
    assert sentences == [
        "Data Center (wiki): nothing has come for more than three days. Look whether the webhook or the app is still active in Confluence."
    ]


def test_refused_senders_are_named_with_the_reason_and_do_not_count_as_deliveries(store: Engine, tmp_path: Path) -> None:
    worker_up(store, (NOW - DAY_MS, NOW))
    counted(store, NOW - HOUR, **{"accepted": 7, "refused: wrong signature": 3, "refused": 1})
    state, sentences = seen(store, tmp_path)
    assert by_source(state)[["delivered", "refused"]].values.tolist() == [[7, 4]]
    assert refusals(state)[["source", "site", "reason", "count"]].values.tolist() == [
        ["Data Center", "wiki", "wrong signature", 3],
        ["Data Center", "wiki", "the proof was wrong", 1],
    ]
    assert len(sentences) == 1
    assert "a secret was changed on one side only" in sentences[0]


def test_the_quarantine_is_summed_up_by_reason(store: Engine, tmp_path: Path) -> None:
    worker_up(store, (NOW - DAY_MS, NOW))
    counted(store, NOW, quarantined=3)
    rows = [
        Quarantined(Source.DATACENTER, "wiki", name, f"id-{number}", NOW - number, "The name is not in the catalogue.", b"{}")
        for number, name in enumerate(["page_exploded", "page_exploded", None])
    ]
    with write_transaction(store) as connection:
        record_quarantined(connection, rows)
    state, sentences = seen(store, tmp_path)
    assert state.reasons[["event_name", "count", "last_at"]].values.tolist() == [["page_exploded", 2, NOW], ["", 1, NOW - 2]]
    assert len(sentences) == 1
    assert "python -m uar replay" in sentences[0]


def test_a_token_with_two_bodies_is_an_alarm_for_a_week(store: Engine, tmp_path: Path) -> None:
    worker_up(store, (NOW - 30 * DAY_MS, NOW))
    counted(store, NOW, quarantined=1)
    for at, is_urgent in ((NOW - 8 * DAY_MS, False), (NOW - DAY_MS, True)):
        with write_transaction(store) as connection:
            record_quarantined(connection, [Quarantined(Source.FORGE, "acme", None, REUSED_TOKEN, at, ANOTHER_BODY, str(at).encode())])
        found = advice(seen(store, tmp_path)[0], settings(tmp_path, **CONFIGURED))
        assert [(one.is_urgent, "A Forge token came again with another body" in one.sentence) for one in found] == [
            (True, True)
        ] * is_urgent


def test_a_worker_that_is_away_is_urgent_and_leaves_a_gap(store: Engine, tmp_path: Path) -> None:
    worker_up(store, (NOW - 10 * HOUR, NOW - 9 * HOUR), (NOW - 8 * HOUR, NOW - HOUR))
    counted(store, NOW - HOUR, accepted=1)
    state, _ = seen(store, tmp_path)
    assert state.gaps == ((NOW - 9 * HOUR, NOW - 8 * HOUR), (NOW - HOUR, NOW))
    found = advice(state, settings(tmp_path, **CONFIGURED))
    assert [(one.is_urgent, one.sentence.split(".")[0]) for one in found] == [
        (True, "No worker has told the store that it is up for some minutes")
    ]


@pytest.mark.parametrize(("limit", "is_urgent"), [("2048", False), ("1", True)])
def test_what_waits_in_the_spool_is_counted_and_an_old_or_full_one_is_named(
    store: Engine, tmp_path: Path, limit: str, is_urgent: bool
) -> None:
    given = settings(tmp_path, UAR_SPOOL_LIMIT_MB=limit, **CONFIGURED)
    given.data_dir.mkdir()
    spool = Spool(given.spool_path, 2**30, lambda waiters, is_durable: None)
    for number in range(10):
        spool.append(Delivery(Source.DATACENTER, "wiki", None, None, NOW + number, b"x" * 100_000), None)
    spool.stop(5.0)
    state = collect(store, given, NOW + HOUR)
    assert state.spool is not None
    assert (state.spool.count, state.spool.oldest_at) == (10, NOW)
    assert 1_000_000 < state.spool.bytes < 1_100_000
    spoken = [(one.is_urgent, one.sentence.split(".")[0]) for one in advice(state, given) if "spool" in one.sentence.split(".")[0]]
    nearly_full, minutes = (
        (True, "The spool is nearly full"),
        (False, "Deliveries wait in the spool for minutes: the store is slow or cannot be reached"),
    )
    assert spoken == [nearly_full if is_urgent else minutes]
    assert [one.is_urgent for one in advice(on_a_disk_with(0.04, state), given) if "disk of UAR_DATA_DIR" in one.sentence] == [True]
    assert not [one for one in advice(on_a_disk_with(0.06, state), given) if "disk of UAR_DATA_DIR" in one.sentence]


def on_a_disk_with(free: float, state: Collection) -> Collection:
    assert state.spool is not None
    return replace(state, spool=replace(state.spool, free_share=free))


def test_what_a_running_worker_refuses_is_told_with_its_reason(tmp_path: Path) -> None:
    with RunningWorker(tmp_path / "data") as worker:
        right = datacenter_request(1, NOW)
        wrong = (
            right.replace(b"sha256=", b"sha256=0"),
            right.replace(b"X-Hub-Signature", b"X-Other"),
            right.replace(b"/wiki ", b"/other "),
        )
        assert [worker.post(request) for request in (*wrong, right)] == [401, 401, 401, 202]
        worker.terminate()
        engine = open_store(worker.database_url)
        state = collect(engine, settings(tmp_path, **CONFIGURED), NOW)
        engine.dispose()
    assert sorted(refusals(state)[["site", "reason", "count"]].values.tolist()) == [
        ["", "the address names a site that is not configured", 1],
        ["wiki", "no header x-hub-signature", 1],
        ["wiki", "wrong signature", 1],
    ]

"""Every sample body, posted with valid proof to a running worker, becomes the rows that the table of samples says, on both databases."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from tests.capture.reading import Sample, all_samples
from tests.capture.running import RunningWorker, all_sources, running_worker
from tests.capture.senders import datacenter_headers, forge_headers, key_host
from uar.activity import Source
from uar.store.database import Engine, read_transaction

Row = tuple[str, str, str, str | None, str | None]


def post(worker: RunningWorker, sample: Sample, number: int) -> int:
    """The status of one sample, sent as its source would."""
    if sample.source is Source.FORGE:
        return worker.post("/webhooks/forge", sample.body, forge_headers())
    if sample.source is Source.CONNECT:
        return worker.post_connect(sample.event_name, sample.body)
    headers = datacenter_headers(sample.body, request_id=f"request-{number}", event=sample.event_name)
    return worker.post("/webhooks/datacenter/wiki", sample.body, headers)


def iso(moment_ms: int) -> str:
    """An instant as the view `activity_log` spells it."""
    seconds, milliseconds = divmod(moment_ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{milliseconds:03d}Z"


def expected_rows() -> Counter[Row]:
    """Source, event, type, person and time of every activity; the time is None where the arrival stands in."""
    rows: Counter[Row] = Counter()
    for sample in all_samples():
        moment = None if sample.occurred_at is None else iso(sample.occurred_at)
        rows[sample.source.key, sample.event_name, sample.type, sample.account, moment] += sample.activities
    return +rows


def stored_rows(store: Engine) -> Counter[Row]:
    """The same of the store's rows."""
    with read_transaction(store) as connection:
        found = connection.exec_driver_sql("SELECT source, event, type, person, occurred_at, time_from FROM activity_log").fetchall()
    return Counter((row[0], row[1], row[2], row[3], row[4] if row[5] == "event" else None) for row in found)


def test_every_sample_becomes_its_rows_and_a_second_time_none(store: Engine, store_url: str, tmp_path: Path) -> None:
    with key_host() as keys, running_worker(tmp_path, UAR_DATABASE_URL=store_url, **all_sources(keys.url)) as worker:
        for _ in range(2):
            for number, sample in enumerate(all_samples()):
                assert post(worker, sample, number) == (200 if "ping" in sample.file else 202), sample.file
            worker.wait_until_drained()
            assert stored_rows(store) == expected_rows()
        with read_transaction(store) as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM quarantine").scalar() == 0
            names = {row[0] for row in connection.exec_driver_sql("SELECT name FROM sites")}
    assert {"wiki", "acme"} <= names

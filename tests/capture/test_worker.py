"""Workers that start: a second one on the same folder, two for one store, one without its store, one without the network."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest

from tests.capture.running import RunningWorker, all_sources, running_worker
from tests.capture.senders import forge_headers, key_host
from uar.store.database import Engine, read_transaction


def test_a_second_worker_on_the_same_data_directory_refuses_to_start(tmp_path: Path) -> None:
    with running_worker(tmp_path, **all_sources()) as first:
        with pytest.raises(AssertionError, match="Another worker uses"):
            RunningWorker(tmp_path, all_sources())
        assert first.request("GET", "/readyz").status == 200


def test_a_worker_starts_and_acknowledges_while_its_store_is_down(tmp_path: Path) -> None:
    away = "postgresql://nobody:secret-word@127.0.0.1:9/none"
    body = b'{"event": "page_created", "page": {"id": 1}}'
    with running_worker(tmp_path, UAR_DATABASE_URL=away, **all_sources()) as worker:
        assert worker.post_datacenter(body) == 202
        deadline = time.monotonic() + 60
        while not (ready := worker.request("GET", "/readyz")).text.startswith(b"degraded"):  # type: ignore[attr-defined]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert ready.status == 200
        assert worker.metric("uar_spool_deliveries") == 1
        assert worker.metric("uar_store_errors_total") >= 1
        assert "secret-word" not in worker.log()
    with running_worker(tmp_path, **all_sources()) as worker:
        worker.wait_until_drained()
        assert worker.metric('uar_drained_deliveries_total{outcome="accepted",source="datacenter"}') == 1


def test_two_workers_feed_one_store_and_a_delivery_to_both_counts_once(store: Engine, store_url: str, tmp_path: Path) -> None:
    environ = all_sources() | {"UAR_DATABASE_URL": store_url}
    with running_worker(tmp_path / "a", **environ) as one, running_worker(tmp_path / "b", **environ) as two:
        for number in range(60):
            body = orjson.dumps({"timestamp": 1_772_532_000_000, "event": "page_created", "userKey": "k", "page": {"id": number}})
            assert one.post_datacenter(body, request_id=str(number)) == 202
            if number % 2:
                assert two.post_datacenter(body, request_id=str(number)) == 202
        one.wait_until_drained()
        two.wait_until_drained()
    with read_transaction(store) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM activity_log").scalar() == 60


def test_a_worker_started_without_network_knows_the_keys_of_its_last_run(tmp_path: Path) -> None:
    body = b'{"eventType": "avi:confluence:viewed:page"}'
    with key_host() as keys:
        environ = all_sources(keys.url)
        with running_worker(tmp_path, **environ) as worker:
            assert worker.post("/webhooks/forge", body, forge_headers()) == 202
    with running_worker(tmp_path, **environ) as worker:
        assert worker.post("/webhooks/forge", body, forge_headers()) == 202
    (tmp_path / "jwks.json").unlink()
    with running_worker(tmp_path, **environ) as worker:
        answer = worker.request("POST", "/webhooks/forge", body, forge_headers())
        assert (answer.status, answer.getheader("retry-after")) == (503, "30")

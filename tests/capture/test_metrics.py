"""What has no value has no sample, so that no alarm takes a made-up one for true; a restart forgets no last delivery."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from tests.capture.running import RunningWorker, running_worker
from tests.capture.senders import APP_ID, CONNECT_TOKEN, DATACENTER_SECRET, KEY_ID, key_set
from uar.activity import Source
from uar.capture.app import make_app
from uar.capture.metrics import Metrics
from uar.config import load_settings
from uar.store.arrivals import last_arrivals
from uar.store.database import Engine, read_transaction, write_transaction
from uar.store.writes import count_deliveries

PAGE = b'{"event": "page_created", "userKey": "k", "page": {"id": 1}}'
LAST = "uar_last_delivery_timestamp_seconds"
AGE = "uar_keyset_age_seconds"


def samples(text: bytes, name: str) -> dict[str, float]:
    """The samples of a family that is there: labels → value."""
    page = text.decode()
    assert f"# TYPE {name} gauge" in page
    return {labels: float(value) for labels, value in re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", page, re.MULTILINE)}


def served(worker: RunningWorker, name: str) -> dict[str, float]:
    """The same of a running worker."""
    return samples(worker.request("GET", "/metrics").text, name)  # type: ignore[attr-defined]


def test_a_gauge_without_a_value_has_no_sample() -> None:
    metrics = Metrics()
    assert samples(metrics.text(), LAST) == {}
    assert samples(metrics.text(), AGE) == {}
    metrics.show(keyset_age_seconds=7.5)
    assert samples(metrics.text(), AGE) == {"": 7.5}
    metrics.show(keyset_age_seconds=None)
    assert samples(metrics.text(), AGE) == {}


def test_an_earlier_delivery_hides_no_later_one_and_counts_for_configured_sources_only() -> None:
    metrics = Metrics([Source.FORGE, Source.DATACENTER])
    metrics.arrived(Source.FORGE, 50.0)
    metrics.arrived_earlier({Source.FORGE: 40_000, Source.CONNECT: 20_000, Source.DATACENTER: 30_000})
    assert samples(metrics.text(), LAST) == {'source="forge"': 50.0, 'source="datacenter"': 30.0}


def test_the_store_knows_the_last_genuine_delivery_of_each_source(store: Engine) -> None:
    with write_transaction(store) as connection:
        assert last_arrivals(connection) == {}
        for source, site, outcome, at in (
            (Source.FORGE, "acme", "accepted", 1_795_500_000_000),
            (Source.FORGE, "other", "duplicate", 1_795_400_000_000),
            (Source.FORGE, "", "refused: wrong signature", 1_795_600_000_000),
            (Source.CONNECT, "", "refused: wrong token", 1_795_600_000_000),
            (Source.DATACENTER, "wiki", "ignored", 1_795_300_000_000),
            (Source.DATACENTER, "wiki", "ignored", 1_795_200_000_000),
        ):
            count_deliveries(connection, {(source, site, outcome): 1}, at)
    with read_transaction(store) as connection:
        assert last_arrivals(connection) == {Source.FORGE: 1_795_500_000_000, Source.DATACENTER: 1_795_300_000_000}


def test_a_restart_forgets_no_last_delivery_and_makes_none_up(tmp_path: Path) -> None:
    environ = {"UAR_DATACENTER_SECRETS": f"wiki={DATACENTER_SECRET}", "UAR_CONNECT_TOKENS": f"acme={CONNECT_TOKEN}"}
    before = time.time()
    with running_worker(tmp_path, **environ) as worker:
        assert served(worker, LAST) == {}
        assert worker.post_datacenter(PAGE) == 202
        assert worker.post_connect("page_viewed", b"{}", token="wrong") == 401
        worker.wait_until_drained()
    after = time.time()
    with running_worker(tmp_path, **environ) as worker:
        deadline = time.monotonic() + 10
        while not (last := served(worker, LAST)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert last.keys() == {'source="datacenter"'}
        assert before - 0.001 <= last['source="datacenter"'] <= after
        assert served(worker, AGE) == {}


def test_the_age_of_the_key_set_is_told_where_one_is_needed_and_was_fetched(tmp_path: Path) -> None:
    def age(**environ: str) -> dict[str, float]:
        app = make_app(load_settings({"UAR_DATA_DIR": str(tmp_path), **environ}, tmp_path))
        app._metrics_page()
        app.spool.stop(5)
        return samples(app.metrics.text(), AGE)

    with_forge = {"UAR_FORGE_APP_ID": APP_ID, "UAR_FORGE_JWKS_URL": "http://127.0.0.1:9/"}
    assert age(**with_forge) == {}
    kept = {"url": with_forge["UAR_FORGE_JWKS_URL"], "fetched_at": time.time() - 3_600, "set": json.loads(key_set(KEY_ID))}
    (tmp_path / "jwks.json").write_text(json.dumps(kept))
    assert 3_600 <= age(**with_forge)[""] < 3_660
    assert age(UAR_DATACENTER_SECRETS=f"wiki={DATACENTER_SECRET}", UAR_FORGE_JWKS_URL=with_forge["UAR_FORGE_JWKS_URL"]) == {}

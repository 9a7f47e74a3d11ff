"""The directory of a site that only its Forge app names, read with the token that its deliveries bring."""

from __future__ import annotations

import dataclasses
import logging
import threading

import pytest
from sqlalchemy import select

from tests.capture.senders import APP_ID
from tests.confluence.conftest import ON_ONE_DATABASE, Bench, activity
from tests.confluence.fake_site import Answer, FakeCloud, Request
from uar.activity import DAY_MS
from uar.app_tokens import USABLE_MS, AppTokens
from uar.collection import advice, collect
from uar.config import Secret, Settings
from uar.confluence.schedule import RETRY_MS, DirectoryThread
from uar.store.database import read_transaction, write_transaction
from uar.store.schema import sites
from uar.store.sync_state import attempts, read_state
from uar.store.writes import ensure_site

CLOUD_ID = "11111111-2222-3333-4444-555555555555"
GATEWAY = "/ex/confluence/"


class Gateway:
    """The thread under test, its tokens, and the fake site behind the gateway's address."""

    def __init__(self, bench: Bench, cloud: FakeCloud) -> None:
        self.bench = bench
        self.cloud = cloud
        self.tokens = AppTokens()
        self.settings = dataclasses.replace(bench.settings, confluence_urls={}, confluence_credentials={}, forge_app_id=APP_ID)
        self.thread = self.threaded(self.settings)
        cloud.requests.clear()

    def restart(self) -> None:
        """Another process: what was held in memory is gone."""
        self.tokens = AppTokens()
        self.thread = self.threaded(self.settings)

    def threaded(self, settings: Settings) -> DirectoryThread:
        return DirectoryThread(settings, self.bench.store, self.bench.now, app_tokens=self.tokens)

    def end_token_at(self, call: str) -> None:
        """From this call on every call is refused."""
        answer, ended = self.cloud.answer, []

        def until_then(request: Request) -> Answer:
            ended.extend([request] if request.path.endswith(call) else [])
            return Answer({}, 401) if ended else answer(request)

        self.cloud.answer = until_then  # type: ignore[method-assign]

    def deliver(self, token: str = "system-token") -> None:
        self.tokens.keep(CLOUD_ID, Secret(token), self.bench.now())

    def sites(self) -> list[tuple[str, str | None, str | None]]:
        return [tuple(row) for row in self.bench.rows(select(sites.c.name, sites.c.cloud_id, sites.c.base_url).order_by(sites.c.id))]


@pytest.fixture
def gateway(bench: Bench, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    prefix = GATEWAY + CLOUD_ID
    answer = cloud.answer

    def behind(request: Request) -> Answer:
        return answer(dataclasses.replace(request, path=request.path.removeprefix(prefix)))

    monkeypatch.setattr(cloud, "answer", behind)
    monkeypatch.setattr("uar.confluence.client.FORGE_API", cloud.url.removesuffix("/wiki") + GATEWAY)
    return Gateway(bench, cloud)


def test_the_directory_is_read_with_the_token_of_a_delivery(bench: Bench, cloud: FakeCloud, gateway: Gateway) -> None:
    bench.record(activity(1, "a-1", site=CLOUD_ID))
    gateway.thread.round()
    assert cloud.requests == []
    gateway.deliver()
    gateway.thread.round()
    assert bench.people()["a-1"][0] == "Ann"
    assert bench.members()["staff"] == {"a-1", "a-4"}
    assert {request.headers["Authorization"] for request in cloud.requests} == {"Bearer system-token"}
    assert "/_edge/tenant_info" not in cloud.paths()
    assert gateway.sites() == [(CLOUD_ID, CLOUD_ID, None)]


def test_it_is_synced_once_a_day_and_unknown_accounts_are_resolved_in_between(bench: Bench, cloud: FakeCloud, gateway: Gateway) -> None:
    gateway.deliver()
    gateway.thread.round()
    cloud.requests.clear()
    cloud.add_user("n-1", "New")
    bench.record(activity(1, "n-1", site=CLOUD_ID))
    gateway.thread.round()
    assert bench.people()["n-1"][0] == "New"
    assert cloud.paths() == ["/wiki/api/v2/users-bulk"]
    bench.now_ms += DAY_MS
    gateway.deliver("the-next-token")
    gateway.thread.round()
    assert "/wiki/rest/api/group" in cloud.paths()
    assert cloud.requests[-1].headers["Authorization"] == "Bearer the-next-token"


@ON_ONE_DATABASE
def test_a_token_of_more_than_two_hours_ago_is_not_used(bench: Bench, cloud: FakeCloud, gateway: Gateway) -> None:
    gateway.deliver()
    bench.now_ms += USABLE_MS
    gateway.thread.round()
    assert cloud.requests == []


def test_a_site_with_credentials_is_read_with_those_alone(bench: Bench, cloud: FakeCloud, gateway: Gateway) -> None:
    bench.record(activity(1, "a-1", site=CLOUD_ID))
    gateway.deliver()
    thread = gateway.threaded(dataclasses.replace(bench.settings, forge_app_id=APP_ID))
    thread.round()
    bench.record(activity(2, "n-1", site=CLOUD_ID))
    cloud.script["/wiki/api/v2/users-bulk"].append(Answer({}, 401))
    thread.round()
    assert cloud.paths()[-1] == "/wiki/api/v2/users-bulk"
    proofs = {request.headers.get("Authorization", "")[:6] for request in cloud.requests}
    assert proofs == {"Basic "}
    assert [row[:2] for row in gateway.sites()] == [("acme", CLOUD_ID)]


def test_a_site_that_once_had_a_name_keeps_name_and_address(bench: Bench, cloud: FakeCloud, gateway: Gateway) -> None:
    bench.sync()
    known = gateway.sites()
    bench.now_ms += DAY_MS
    cloud.add_user("n-1", "New", "staff")
    gateway.deliver()
    gateway.thread.round()
    assert bench.people()["n-1"][0] == "New"
    with read_transaction(bench.store) as connection:
        assert [attempt.site for attempt in attempts(connection)] == ["acme"]  # what the pages look for
    assert gateway.sites() == known == [("acme", CLOUD_ID, cloud.url)]


@ON_ONE_DATABASE
def test_after_a_restart_the_next_delivery_is_waited_for(bench: Bench, cloud: FakeCloud, gateway: Gateway) -> None:
    gateway.deliver()
    gateway.thread.round()
    cloud.requests.clear()
    cloud.add_user("n-1", "New")
    bench.record(activity(1, "n-1", site=CLOUD_ID))
    bench.now_ms += DAY_MS
    gateway.restart()
    gateway.thread.round()
    assert cloud.requests == []
    assert bench.people()["n-1"][0] is None
    gateway.deliver("the-next-token")
    gateway.thread.round()
    assert bench.people()["n-1"][0] == "New"
    assert {request.headers["Authorization"] for request in cloud.requests} == {"Bearer the-next-token"}


@ON_ONE_DATABASE
@pytest.mark.parametrize("call", ["/wiki/rest/api/search/user", "/wiki/api/v2/users-bulk"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_scope_costs_only_its_call(
    bench: Bench, cloud: FakeCloud, gateway: Gateway, call: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.script[call] += [Answer({}, status)] * 9
    gateway.deliver()
    gateway.thread.round()
    assert bench.people()["a-1"][0] == "Ann"
    with read_transaction(bench.store) as connection:
        assert read_state(connection, ensure_site(connection, CLOUD_ID)).completed_at > 0
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


@ON_ONE_DATABASE
@pytest.mark.parametrize("call", ["/wiki/rest/api/search/user", "/wiki/api/v2/users-bulk"])
def test_a_token_that_ends_during_a_sync_is_not_taken_for_a_missing_scope(bench: Bench, gateway: Gateway, call: str) -> None:
    gateway.deliver()
    gateway.end_token_at(call)
    gateway.thread.round()
    with read_transaction(bench.store) as connection:
        assert ["(401)" in str(attempt.error) for attempt in attempts(connection)] == [True]
        assert read_state(connection, ensure_site(connection, CLOUD_ID)).completed_at == 0


@ON_ONE_DATABASE
def test_credentials_that_the_search_refuses_are_still_an_error(bench: Bench, cloud: FakeCloud) -> None:
    cloud.script["/wiki/rest/api/search/user"].append(Answer({}, 401))
    assert "refused the credentials (401)" in bench.failed_sync()


@ON_ONE_DATABASE
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("call", ["/wiki/rest/api/group", "/wiki/api/v2/spaces"])
def test_a_refused_token_is_one_sentence_with_what_to_do_and_tried_again_after_an_hour(
    bench: Bench, cloud: FakeCloud, gateway: Gateway, call: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.script[call].append(Answer({}, status))
    gateway.deliver()
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            gateway.thread.round()
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    remedy = f"refused the token of the Forge app ({status}): install the app with the scopes of forge/manifest.yml"
    assert remedy in warnings[0]
    # The Collection page and `doctor` say the same, and User Status says the error of the last try.
    state = collect(bench.store, gateway.settings, bench.now())
    (told,) = [one.sentence for one in advice(state, gateway.settings) if "directory" in one.sentence]
    assert told.startswith(f"The directory of {CLOUD_ID} could not be read. ")
    assert remedy in told
    assert "system-token" not in caplog.text + told
    bench.now_ms += RETRY_MS
    gateway.thread.round()
    assert bench.people()["a-1"][0] == "Ann"


@ON_ONE_DATABASE
def test_the_thread_starts_for_a_forge_app_alone(gateway: Gateway) -> None:
    gateway.thread.start()
    assert "directory" in [alive.name for alive in threading.enumerate()]
    gateway.thread.stop()


def test_two_rows_of_one_site_are_left_to_the_sync_with_credentials(bench: Bench, gateway: Gateway) -> None:
    with write_transaction(bench.store) as connection:
        ensure_site(connection, "acme")
    gateway.deliver()
    gateway.thread.round()
    assert [row[:2] for row in gateway.sites()] == [("acme", None), (CLOUD_ID, CLOUD_ID)]

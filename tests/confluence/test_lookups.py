"""Unknown accounts and contents, looked up one by one, and the worker's own schedule."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest
from sqlalchemy import select

from tests.confluence.conftest import HOUR, ON_ONE_DATABASE, T0, Bench, activity
from tests.confluence.fake_site import Answer, FakeCloud, FakeDataCenter, Request
from uar.activity import DAY_MS, Activity, Source
from uar.config import Secret
from uar.confluence.client import Bearer, Client
from uar.confluence.errors import CredentialsRefused
from uar.confluence.lookups import place_contents, resolve_accounts, resolve_unknown
from uar.confluence.schedule import RETRY_MS, DirectoryThread, Due
from uar.store.database import migrate, open_store
from uar.store.schema import activities, contents, meta, spaces


def resolve(bench: Bench) -> int:
    return resolve_unknown(bench.settings, bench.store, bench.now, **bench.options)


def place(bench: Bench) -> int:
    return place_contents(bench.settings, bench.store, bench.now, **bench.options)


def page(number: int, content: str | None, account: str = "key-1") -> Activity:
    return activity(number, account, site="wiki", content=content, source=Source.DATACENTER)


def content(key: str, **more: object) -> dict[str, object]:
    return {"type": "page", "space": {"id": 5, "key": key, "name": f"Space {key}", "type": "global"}, **more}


def spaces_of_activities(bench: Bench) -> dict[str, str | None]:
    """Content id → key of the space."""
    joined = activities.join(spaces, spaces.c.id == activities.c.space_id)
    return dict(tuple(row) for row in bench.rows(select(activities.c.content_id, spaces.c.space_key).select_from(joined)))


def generation(bench: Bench) -> int:
    return int(bench.rows(select(meta.c.value).where(meta.c.name == "generation"))[0][0])


def test_an_unknown_cloud_account_gets_its_name(bench: Bench, cloud: FakeCloud) -> None:
    bench.record(activity(1, "a-1"), activity(2, "a-6"), activity(3, "gone-1"))
    assert resolve(bench) == 3
    assert bench.people() == {
        "a-1": ("Ann", "person", "active"),
        "a-6": ("Robot", "app", "active"),
        "gone-1": ("Deleted account", "person", "deleted"),
    }


def test_an_unknown_user_key_gets_its_name(bench: Bench, datacenter: FakeDataCenter) -> None:
    bench.record(page(1, None, "key-1"), page(2, None, "key-3"), page(3, None, "key-77"))
    assert resolve(bench) == 3
    assert bench.people() == {
        "key-1": ("Ann Smith", "person", "active"),
        "key-3": ("Cem Kaya", "person", "deactivated"),
        "key-77": ("Deleted account", "person", "deleted"),
    }


@pytest.mark.parametrize("product", ["cloud", "datacenter"])
@ON_ONE_DATABASE
def test_no_account_is_asked_for_twice(bench: Bench, product: str, request: pytest.FixtureRequest) -> None:
    site = request.getfixturevalue(product)
    name, account = ("acme", "a-1") if product == "cloud" else ("wiki", "key-1")
    bench.record(activity(1, account, site=name), activity(2, "nobody", site=name), activity(3, None, site=name))
    resolve(bench)
    site.requests.clear()
    assert resolve(bench) == 0
    assert site.requests == []


@ON_ONE_DATABASE
def test_a_site_that_does_not_answer_leaves_accounts_open(bench: Bench, datacenter: FakeDataCenter) -> None:
    bench.record(page(1, None))
    datacenter.script["/confluence/rest/api/user"].append(Answer({}, 401))
    with pytest.raises(CredentialsRefused):
        resolve(bench)
    assert bench.people()["key-1"] == (None, "person", "active")
    assert resolve(bench) == 1


@ON_ONE_DATABASE
def test_an_account_that_may_not_be_seen_stays_unnamed_and_not_deleted(bench: Bench, datacenter: FakeDataCenter) -> None:
    bench.record(page(1, None))
    datacenter.script["/confluence/rest/api/user"].append(Answer({}, 403))
    assert resolve(bench) == 0
    assert bench.people()["key-1"] == (None, "person", "active")


@ON_ONE_DATABASE
def test_the_token_of_a_forge_delivery_names_accounts_of_its_site(bench: Bench, cloud: FakeCloud) -> None:
    bench.record(activity(1, "a-1", site="cloud-id-1"))
    client = Client("cloud-id-1", cloud.url, True, Bearer(Secret("forge")), **bench.options)
    assert resolve_accounts(client, bench.store, bench.now) == 1
    assert bench.people()["a-1"][0] == "Ann"
    assert cloud.requests[0].headers["Authorization"] == "Bearer forge"


def test_activities_get_the_space_of_their_content(bench: Bench, datacenter: FakeDataCenter) -> None:
    datacenter.contents |= {
        "1": content("ENG"),
        "2": {"type": "comment", "container": {"id": "1", "type": "page", **content("HR")}},
        "3": {"type": "page", "container": {"id": 5, "key": "OPS", "name": "Operations", "type": "global"}},
    }
    bench.record(*(page(number, str(number)) for number in (1, 2, 3)))
    assert place(bench) == 3
    assert spaces_of_activities(bench) == {"1": "ENG", "2": "HR", "3": "OPS"}
    assert {request.query["status"] for request in datacenter.requests} == {"any"}


def test_a_look_up_that_is_too_late_leaves_the_space_unknown_and_is_not_repeated(bench: Bench, datacenter: FakeDataCenter) -> None:
    bench.record(page(1, "9"))
    assert place(bench) == 0
    bench.record(page(2, "9"))
    assert place(bench) == 0
    assert len(datacenter.requests) == 1
    assert spaces_of_activities(bench) == {"9": None}
    assert [row.space_id for row in bench.rows(select(contents))] == [0]
    datacenter.contents["9"] = content("ENG")
    bench.now_ms += 8 * DAY_MS
    bench.record(page(3, "9"))
    assert place(bench) == 1


def test_a_known_content_is_not_asked_for_again(bench: Bench, datacenter: FakeDataCenter) -> None:
    datacenter.contents["1"] = content("ENG")
    bench.record(page(1, "1"), page(2, "1"))
    assert place(bench) == 2
    bench.record(page(3, "1"))
    assert place(bench) == 1
    assert len(datacenter.requests) == 1


@ON_ONE_DATABASE
def test_a_content_that_may_not_be_seen_is_asked_for_again_later(bench: Bench, datacenter: FakeDataCenter) -> None:
    datacenter.script["/confluence/rest/api/content/1"].append(Answer({}, 403))
    datacenter.contents["1"] = content("ENG")
    bench.record(page(1, "1"))
    assert place(bench) == 0
    bench.record(page(2, "1"))
    assert place(bench) == 1


def test_an_interrupted_round_is_repeated(bench: Bench, datacenter: FakeDataCenter) -> None:
    datacenter.contents |= {"1": content("ENG"), "2": content("HR")}
    datacenter.script["/confluence/rest/api/content/2"].append(Answer({}, 401))
    bench.record(page(1, "1"), page(2, "2"))
    with pytest.raises(CredentialsRefused):
        place(bench)
    assert place(bench) == 2
    assert [request.path[-1] for request in datacenter.requests] == ["1", "2", "2"]


def test_mirrors_are_told_at_most_once_an_hour_and_at_the_end_of_a_sync(bench: Bench, datacenter: FakeDataCenter) -> None:
    datacenter.contents |= {str(number): content("ENG") for number in range(1, 5)}
    start = generation(bench)
    bench.record(page(1, "1"))
    place(bench)
    assert generation(bench) == start + 1
    bench.record(page(2, "2"))
    place(bench)
    assert generation(bench) == start + 1
    bench.now_ms += HOUR
    place(bench)
    assert generation(bench) == start + 2
    bench.record(page(3, "3"))
    place(bench)
    bench.sync()
    assert generation(bench) == start + 3
    bench.now_ms += HOUR
    place(bench)
    assert generation(bench) == start + 3


@ON_ONE_DATABASE
def test_cloud_sources_tell_the_space_themselves(bench: Bench, cloud: FakeCloud) -> None:
    bench.record(activity(1, "a-1", content="1"))
    assert place(bench) == 0
    assert cloud.requests == []


@pytest.mark.parametrize(
    ("since_complete", "since_attempt", "is_due"),
    [(DAY_MS, RETRY_MS, True), (DAY_MS - 1, RETRY_MS, False), (DAY_MS, RETRY_MS - 1, False), (T0, T0, True)],
)
def test_a_sync_is_due_a_day_after_the_last_and_an_hour_after_a_failure(since_complete: int, since_attempt: int, is_due: bool) -> None:
    assert Due(T0 - since_complete, T0 - since_attempt).is_due(T0) is is_due


def test_the_worker_syncs_once_a_day_and_resolves_in_between(bench: Bench, cloud: FakeCloud) -> None:
    thread = DirectoryThread(bench.settings, bench.store, bench.now)
    thread.round()
    assert bench.people()["a-2"][0] == "Bea"
    cloud.requests.clear()
    thread.round()
    assert cloud.requests == []
    cloud.add_user("n-1", "New")
    bench.record(activity(1, "n-1"))
    thread.round()
    assert bench.people()["n-1"][0] == "New"
    assert cloud.paths() == ["/wiki/api/v2/users-bulk"]
    bench.now_ms += DAY_MS
    thread.round()
    assert "/wiki/rest/api/group" in cloud.paths()


@ON_ONE_DATABASE
def test_a_failed_sync_is_one_line_in_the_log_and_tried_again_after_an_hour(
    bench: Bench, cloud: FakeCloud, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.script["/wiki/rest/api/group"].append(Answer({}, 401))
    thread = DirectoryThread(bench.settings, bench.store, bench.now)
    thread.round()
    thread.round()
    assert cloud.paths().count("/wiki/rest/api/group") == 1
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].startswith("Directory of site acme: Confluence site acme (127.0.0.1) refused the credentials (401)")
    assert "api-token" not in caplog.text
    bench.now_ms += HOUR
    thread.round()
    assert len(bench.people()) == 6


@ON_ONE_DATABASE
def test_a_failure_that_lasts_is_not_logged_every_minute(bench: Bench, cloud: FakeCloud, caplog: pytest.LogCaptureFixture) -> None:
    thread = DirectoryThread(bench.settings, bench.store, bench.now)
    thread.round()
    bench.record(activity(1, "n-1"))
    cloud.script["/wiki/api/v2/users-bulk"] += [Answer({}, 401)] * 3
    for _ in range(3):
        thread.round()
    assert cloud.script["/wiki/api/v2/users-bulk"] == []
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_two_workers_do_not_sync_the_same_site_at_once(bench: Bench, cloud: FakeCloud) -> None:
    first, second = (DirectoryThread(bench.settings, bench.store, bench.now) for _ in range(2))
    other: list[int] = []

    def meanwhile(request: Request) -> None:
        if request.path == "/wiki/rest/api/group" and not other:
            other.append(len(cloud.requests))
            second.round()

    cloud.before = meanwhile
    first.round()
    assert cloud.paths().count("/wiki/api/v2/spaces") == 3  # the three pages of one sync


@ON_ONE_DATABASE
def test_the_thread_works_by_itself_and_stops_at_once_while_it_waits(bench: Bench, cloud: FakeCloud) -> None:
    cloud.script["/wiki/rest/api/group"] += [Answer({}, 429, {"Retry-After": "300"})]
    thread = DirectoryThread(bench.settings, bench.store, bench.now, round_s=0.01)
    thread.start()
    deadline = time.monotonic() + 60
    while "/wiki/rest/api/group" not in cloud.paths() and time.monotonic() < deadline:
        time.sleep(0.01)
    start = time.monotonic()
    thread.stop()
    assert time.monotonic() - start < 2
    assert "directory" not in [alive.name for alive in threading.enumerate()]
    again = DirectoryThread(bench.settings, bench.store, bench.now)
    again.round()
    assert bench.people()["a-1"][0] == "Ann"


@ON_ONE_DATABASE
def test_the_thread_outlives_what_nobody_thought_of_and_tells_no_values(
    bench: Bench, cloud: FakeCloud, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = threading.Semaphore(0)

    def fail(self: DirectoryThread) -> None:
        rounds.release()
        raise KeyError("Ann Smith")

    monkeypatch.setattr(DirectoryThread, "round", fail)
    thread = DirectoryThread(bench.settings, bench.store, bench.now, round_s=0.01)
    thread.start()
    assert rounds.acquire(timeout=5)
    assert rounds.acquire(timeout=5)
    thread.stop()
    assert "Directory look-ups failed (KeyError in fail:" in caplog.text
    assert "Ann" not in caplog.text


@ON_ONE_DATABASE
def test_without_credentials_no_thread_is_started(bench: Bench) -> None:
    thread = DirectoryThread(bench.settings, bench.store, bench.now)
    thread.start()
    assert "directory" not in [alive.name for alive in threading.enumerate()]
    thread.stop()


@ON_ONE_DATABASE
def test_a_store_that_is_not_there_yet_is_waited_for(bench: Bench, cloud: FakeCloud, caplog: pytest.LogCaptureFixture) -> None:
    blocked = bench.folder / "file"
    blocked.write_text("no folder")
    settings = dataclasses.replace(bench.settings, database_url=Secret(f"sqlite:///{blocked}/uar.db"))
    thread = DirectoryThread(settings, None, bench.now)
    thread.round()
    assert "cannot be made" in caplog.text
    assert cloud.requests == []
    blocked.unlink()
    migrate(open_store(settings.database_url.reveal()))
    thread.round()
    assert "/wiki/rest/api/group" in cloud.paths()

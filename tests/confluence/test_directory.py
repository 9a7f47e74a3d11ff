"""The directory sync against local servers that answer as Cloud and Data Center do."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import select

from tests.confluence.conftest import HOUR, ON_ONE_DATABASE, QUICK, T0, Bench, activity
from tests.confluence.fake_site import Answer, FakeCloud, FakeDataCenter, Request
from uar.confluence.directory import sync
from uar.confluence.errors import NotConfigured, Stopping
from uar.store.database import read_transaction
from uar.store.directory import Person, save_people, site_id_of
from uar.store.schema import activities, memberships, meta, people, sites, spaces
from uar.store.sync_state import attempts, read_state


def add_person(bench: Bench, person: Person, site: str = "acme") -> None:
    from uar.store.database import write_transaction

    with write_transaction(bench.store) as connection:
        site_id = site_id_of(connection, site)
        assert site_id is not None
        save_people(connection, site_id, [person], T0)


def test_cloud_people_groups_memberships_and_spaces_are_read(bench: Bench, cloud: FakeCloud) -> None:
    result = bench.sync()
    assert bench.people() == {
        "a-1": ("Ann", "person", "active"),
        "a-2": ("Bea", "person", "active"),
        "a-3": ("Cem", "person", "deactivated"),
        "a-4": ("Dan", "guest", "active"),
        "a-5": ("Eve", "person", "active"),
        "a-6": ("Robot", "app", "active"),
    }
    assert bench.members() == {"confluence-users": {"a-1", "a-2", "a-3", "a-4"}, "staff": {"a-1", "a-4"}, "apps": {"a-6"}}
    names = [row.name for row in bench.rows(select(spaces.c.name).where(spaces.c.id != 0).order_by(spaces.c.id))]
    assert names == [f"Space {number}" for number in range(5)]
    assert (result.people, result.groups, result.memberships, result.spaces, result.deactivated) == (6, 3, 7, 5, 0)
    emails = dict(tuple(row) for row in bench.rows(select(people.c.account_id, people.c.email).where(people.c.email.is_not(None))))
    assert emails == {"a-1": "ann@acme.example", "a-5": "eve@acme.example"}


def test_data_center_people_groups_memberships_and_spaces_are_read(bench: Bench, datacenter: FakeDataCenter) -> None:
    result = bench.sync()
    assert bench.people() == {
        "key-1": ("Ann Smith", "person", "active"),
        "key-2": ("Bea Young", "person", "active"),
        "key-3": ("Cem Kaya", "person", "deactivated"),
        "key-4": ("Dan Hall", "person", "active"),
    }
    assert bench.members() == {"confluence-users": {"key-1", "key-2", "key-3", "key-4"}, "R&D / Lab": {"key-2"}}
    assert (result.people, result.groups, result.memberships, result.spaces) == (4, 2, 5, 3)
    assert all(request.headers["Authorization"] == "Bearer personal-token" for request in datacenter.requests)


@ON_ONE_DATABASE
def test_a_data_center_without_a_list_of_users_is_read_by_its_groups(bench: Bench, datacenter: FakeDataCenter) -> None:
    datacenter.has_user_list = False
    datacenter.add_user("key-9", "Not in any group")
    assert bench.sync().people == 4
    assert sorted(bench.people()) == ["key-1", "key-2", "key-3", "key-4"]


@pytest.mark.parametrize("product", ["cloud", "datacenter"])
def test_a_second_sync_changes_no_row(bench: Bench, product: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(product)
    bench.sync()
    before = bench.everything()
    bench.now_ms += 24 * HOUR
    bench.sync()
    assert bench.everything() == before


def test_a_renamed_person_keeps_the_row(bench: Bench, cloud: FakeCloud) -> None:
    bench.sync()
    before = bench.rows(select(people.c.id).where(people.c.account_id == "a-1"))
    cloud.users["a-1"]["displayName"] = "Ann Jones"
    bench.sync()
    assert bench.people()["a-1"][0] == "Ann Jones"
    assert bench.rows(select(people.c.id).where(people.c.account_id == "a-1")) == before


def test_who_left_is_deactivated_and_who_returns_is_active_again(bench: Bench, cloud: FakeCloud) -> None:
    bench.sync()
    cloud.remove_user("a-2")
    assert bench.sync().deactivated == 1
    assert bench.people()["a-2"] == ("Bea", "person", "deactivated")
    assert bench.members()["confluence-users"] == {"a-1", "a-3", "a-4"}
    cloud.groups["staff"].append("a-2")
    assert bench.sync().deactivated == 0
    assert bench.people()["a-2"] == ("Bea", "person", "active")


def test_a_user_removed_from_data_center_is_countable_under_a_neutral_name(bench: Bench, datacenter: FakeDataCenter) -> None:
    bench.sync()
    bench.record(activity(1, "key-4", site="wiki"))
    datacenter.groups["confluence-users"].remove("key-4")
    del datacenter.users["key-4"]
    assert bench.sync().deactivated == 1
    assert bench.people()["key-4"] == ("Deleted account", "person", "deleted")
    assert len(bench.rows(select(activities.c.id))) == 1


def test_a_closed_account_that_is_still_listed_has_no_name(bench: Bench, cloud: FakeCloud) -> None:
    cloud.statuses["a-1"] = "closed"
    bench.sync()
    assert bench.people()["a-1"] == ("Deleted account", "person", "deleted")
    assert bench.rows(select(people.c.email).where(people.c.account_id == "a-1")) == [(None,)]


def test_a_closed_cloud_account_is_countable_under_a_neutral_name(bench: Bench, cloud: FakeCloud) -> None:
    bench.sync()
    cloud.remove_user("a-1")
    cloud.statuses["a-1"] = "closed"
    bench.sync()
    assert bench.people()["a-1"] == ("Deleted account", "person", "deleted")
    assert bench.rows(select(people.c.email).where(people.c.account_id == "a-1")) == [(None,)]


def test_the_state_of_a_cloud_account_comes_from_the_bulk_look_up(bench: Bench, cloud: FakeCloud) -> None:
    cloud.statuses |= {"a-1": "inactive", "a-2": "unknown"}
    bench.sync()
    assert [bench.people()[account][2] for account in ("a-1", "a-2")] == ["deactivated", "active"]
    cloud.statuses["a-1"] = "active"
    bench.sync()
    assert bench.people()["a-1"][2] == "active"


@ON_ONE_DATABASE
def test_a_site_without_the_bulk_look_up_is_still_read(bench: Bench, cloud: FakeCloud) -> None:
    cloud.has_bulk = False
    assert bench.sync().people == 6
    assert cloud.paths().count("/wiki/api/v2/users-bulk") == 1


def test_accounts_of_the_organization_without_a_license_are_left_out(bench: Bench, cloud: FakeCloud) -> None:
    cloud.add_user("j-1", "Jim (Unlicensed)", "jira-users")
    bench.sync()
    assert "j-1" not in bench.people()
    bench.record(activity(1, "j-1"))
    bench.sync()
    assert bench.people()["j-1"] == ("Jim", "person", "deactivated")


def test_an_invited_person_stays_invited_until_the_first_activity(bench: Bench, cloud: FakeCloud) -> None:
    bench.sync()
    add_person(bench, Person("a-1", state="invited"))
    bench.sync()
    assert bench.people()["a-1"][2] == "invited"
    bench.record(activity(1, "a-1"))
    bench.sync()
    assert bench.people()["a-1"][2] == "active"


def test_accounts_seen_in_events_are_refreshed_and_never_called_gone(bench: Bench, cloud: FakeCloud) -> None:
    cloud.add_user("c-1", "Customer", accountType="customer")
    bench.record(activity(1, "c-1"), activity(2, "c-2"))
    bench.sync()
    bench.sync()
    assert bench.people()["c-1"] == ("Customer", "guest", "active")
    assert bench.people()["c-2"] == ("Deleted account", "person", "deleted")


def test_a_group_that_is_gone_goes_with_its_memberships(bench: Bench, cloud: FakeCloud) -> None:
    bench.sync()
    cloud.groups["Everybody"] = cloud.groups.pop("staff")
    bench.sync()
    assert bench.members() == {"confluence-users": {"a-1", "a-2", "a-3", "a-4"}, "Everybody": {"a-1", "a-4"}, "apps": {"a-6"}}


@ON_ONE_DATABASE
def test_a_group_removed_while_it_is_read_does_not_stop_the_sync(bench: Bench, cloud: FakeCloud) -> None:
    cloud.script["/wiki/rest/api/group/id-staff/membersByGroupId"].append(Answer({}, 404))
    assert bench.sync().people == 6
    assert bench.members()["staff"] == set()


@ON_ONE_DATABASE
def test_groups_whose_members_nobody_knows_are_a_wrong_address(bench: Bench, cloud: FakeCloud) -> None:
    for name in cloud.groups:
        cloud.script[f"/wiki/rest/api/group/id-{name}/membersByGroupId"].append(Answer({}, 404))
    assert "knows the members of none" in bench.failed_sync()


@ON_ONE_DATABASE
def test_a_person_who_moves_between_two_pages_is_read_once(bench: Bench, cloud: FakeCloud) -> None:
    def insert_first(request: Request) -> None:
        if request.path.endswith("id-confluence-users/membersByGroupId") and request.query.get("start") == "2" and len(cloud.users) == 6:
            cloud.add_user("a-0", "New")
            cloud.groups["confluence-users"].insert(0, "a-0")

    cloud.before = insert_first
    bench.sync()
    assert bench.members()["confluence-users"] == {"a-1", "a-2", "a-3", "a-4"}
    assert sorted(bench.people()) == ["a-1", "a-2", "a-3", "a-4", "a-5", "a-6"]


def test_a_person_who_slips_between_two_pages_is_not_called_gone(bench: Bench, cloud: FakeCloud) -> None:
    cloud.searchable = []
    bench.sync()

    def leave(request: Request) -> None:
        """Ann leaves after the first page was sent, so the third of the list becomes the second and is on no page."""
        if request.path.endswith("id-confluence-users/membersByGroupId") and request.query.get("start") == "2":
            cloud.groups["confluence-users"] = [account for account in cloud.groups["confluence-users"] if account != "a-1"]

    cloud.users["a-3"]["displayName"] = "Cem"
    cloud.groups["staff"] = []
    bench.sync()
    cloud.before = leave
    assert bench.sync().deactivated == 0
    assert bench.people()["a-3"][2] == "active"
    assert bench.members()["confluence-users"] == {"a-2", "a-3", "a-4"}
    assert bench.sync().deactivated == 1
    assert [bench.people()[account][2] for account in ("a-1", "a-3")] == ["deactivated", "active"]


def test_records_that_make_no_sense_are_passed_over(bench: Bench, cloud: FakeCloud) -> None:
    members = [None, 7, {}, {"accountId": None}, {"accountId": "unknown"}, {"accountId": "z-1", "displayName": "Zoe\0\ud800"}]
    cloud.script["/wiki/rest/api/group/id-staff/membersByGroupId"].append(Answer({"results": members, "_links": {}}))
    cloud.spaces += [{"id": "9"}, {"key": None}]
    bench.sync()
    assert bench.people()["z-1"] == ("Zoe�?", "person", "active")
    assert bench.members()["staff"] == {"z-1"}


GROUPS, MEMBERS, SPACES = "/wiki/rest/api/group", "/wiki/rest/api/group/id-staff/membersByGroupId", "/wiki/api/v2/spaces"
FAILURES = [
    (GROUPS, Answer({}, 401), "refused the credentials"),
    (MEMBERS, Answer({}, 403), "no right"),
    (SPACES, Answer(b"<html>", headers={"Content-Type": "text/html"}), "a web page"),
    (MEMBERS, Answer({}, 302, {"Location": "https://evil.example/"}), "redirect"),
    (SPACES, Answer({"results": [], "_links": {"next": "/x?cursor=1"}}), "goes round in circles"),
    (MEMBERS, Answer({}, 500), "error 500"),
]


@pytest.mark.parametrize(("path", "answer", "sentence"), FAILURES)
@ON_ONE_DATABASE
def test_a_sync_that_fails_says_why_and_calls_nobody_gone(bench: Bench, cloud: FakeCloud, path: str, answer: Answer, sentence: str) -> None:
    bench.sync()
    before = bench.everything()
    cloud.remove_user("a-2")
    cloud.script[path] += [answer] * 9
    assert sentence in bench.failed_sync()
    assert bench.people()["a-2"][2] == "active"
    assert bench.everything()[0] == before[0]
    with read_transaction(bench.store) as connection:
        (attempt,) = attempts(connection)
    assert attempt.error is not None
    assert sentence in attempt.error


@ON_ONE_DATABASE
def test_a_first_sync_that_fails_leaves_no_site_behind(bench: Bench, cloud: FakeCloud) -> None:
    cloud.script["/_edge/tenant_info"] += [Answer({}, 503)] * 9
    assert "cannot be reached" in bench.failed_sync()
    assert bench.rows(select(sites)) == []


def test_an_interrupted_sync_goes_on_where_it_was(bench: Bench, cloud: FakeCloud) -> None:
    cloud.script["/wiki/rest/api/search/user"] += [Answer({}, 500)] * QUICK.tries
    assert "error 500" in bench.failed_sync()
    first = cloud.paths()
    assert bench.people()["a-2"][2] == "active"  # who was read already stays
    cloud.requests.clear()
    bench.now_ms += HOUR
    result = bench.sync()
    assert result.is_resumed
    assert any(path.endswith("membersByGroupId") for path in first)
    assert not any(path.endswith("membersByGroupId") for path in cloud.paths())
    assert (result.people, result.memberships) == (6, 7)


@ON_ONE_DATABASE
def test_an_interrupted_list_of_people_goes_on_at_its_page(bench: Bench, datacenter: FakeDataCenter) -> None:
    def break_line(request: Request) -> None:
        if request.path.endswith("/user/list") and request.query["start"] == "2" and not bench.waits:
            datacenter.script[request.path] += [Answer({}, 503)] * QUICK.tries

    datacenter.before = break_line
    bench.failed_sync()
    datacenter.requests.clear()
    bench.sync()
    assert [request.query["start"] for request in datacenter.requests if request.path.endswith("/user/list")] == ["2"]


@ON_ONE_DATABASE
def test_an_interrupted_sync_of_yesterday_starts_afresh(bench: Bench, cloud: FakeCloud) -> None:
    cloud.script["/wiki/rest/api/search/user"] += [Answer({}, 500)] * QUICK.tries
    bench.failed_sync()
    bench.now_ms += 13 * HOUR
    assert not bench.sync().is_resumed


def test_a_complete_sync_is_marked_with_its_time(bench: Bench, cloud: FakeCloud) -> None:
    bench.sync()
    with read_transaction(bench.store) as connection:
        site_id = site_id_of(connection, "acme")
        assert site_id is not None
        state = read_state(connection, site_id)
        assert attempts(connection)[0].error is None
    assert T0 < state.completed_at <= bench.now_ms
    assert (state.started_at, state.done, state.next_query) == (0, [], None)


@ON_ONE_DATABASE
def test_limits_and_slow_answers_only_cost_time(bench: Bench, cloud: FakeCloud) -> None:
    cloud.script["/wiki/rest/api/group"] += [Answer({}, 429, {"Retry-After": "11"}), Answer({}, 500)]
    cloud.script["/wiki/api/v2/spaces"].append(Answer(act=lambda handler: time.sleep(QUICK.read_s + 0.2)))
    assert bench.sync().people == 6
    assert 11.0 in bench.waits
    assert len(bench.waits) == 3


def test_one_site_that_fails_does_not_keep_the_other_from_its_sync(bench: Bench, cloud: FakeCloud, datacenter: FakeDataCenter) -> None:
    cloud.script["/wiki/rest/api/group"].append(Answer({}, 401))
    results = sync(bench.settings, bench.store, None, None, bench.now, **bench.options)
    assert [(result.site, result.error is None) for result in results] == [("acme", False), ("wiki", True)]
    assert sorted(bench.people()) == ["key-1", "key-2", "key-3", "key-4"]


@ON_ONE_DATABASE
def test_one_of_two_sites_can_be_picked(bench: Bench, cloud: FakeCloud, datacenter: FakeDataCenter) -> None:
    assert bench.sync("wiki").site == "wiki"
    assert cloud.requests == []


@ON_ONE_DATABASE
def test_sites_that_are_not_configured_are_refused(bench: Bench, cloud: FakeCloud) -> None:
    with pytest.raises(NotConfigured, match=r"beta is not in UAR_CONFLUENCE_URLS; configured: acme\."):
        bench.sync("beta")
    bench.sites.clear()
    with pytest.raises(NotConfigured, match="No Confluence site is configured"):
        bench.sync()


@ON_ONE_DATABASE
def test_a_site_without_credentials_says_so(bench: Bench, cloud: FakeCloud) -> None:
    settings = bench.settings
    object.__setattr__(settings, "confluence_credentials", {})
    (result,) = sync(settings, bench.store, None, None, bench.now)
    assert result.error is not None
    assert "has no credentials" in result.error


@ON_ONE_DATABASE
def test_progress_counts_up_to_the_end(bench: Bench, cloud: FakeCloud) -> None:
    seen: list[tuple[int, int]] = []
    bench.sync(progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (7, 7)


@ON_ONE_DATABASE
def test_a_sync_that_is_stopped_goes_on_at_the_next_start(bench: Bench, cloud: FakeCloud) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Stopping("now")

    with pytest.raises(Stopping):
        bench.sync(progress=stop)
    with read_transaction(bench.store) as connection:
        assert attempts(connection)[0].at == 0
    assert bench.sync().is_resumed


def test_events_by_cloud_id_and_a_site_by_name_become_one(bench: Bench, cloud: FakeCloud) -> None:
    cloud_id, cloud.cloud_id = cloud.cloud_id, None
    assert cloud_id is not None
    bench.sync()
    bench.record(
        activity(1, "a-1"),
        activity(2, "a-2", site=cloud_id, space="S1"),
        activity(3, "x-1", site=cloud_id),
        activity(4, "a-1", site=cloud_id),
    )
    generation = select(meta.c.value).where(meta.c.name == "generation")
    before = int(bench.rows(generation)[0][0])
    cloud.cloud_id = cloud_id
    assert bench.sync().is_merged
    assert [tuple(row) for row in bench.rows(select(sites.c.name, sites.c.cloud_id))] == [("acme", cloud_id)]
    counted = select(people.c.account_id).join(activities, activities.c.person_id == people.c.id)
    assert sorted(row.account_id for row in bench.rows(counted)) == ["a-1", "a-1", "a-2", "x-1"]
    assert int(bench.rows(generation)[0][0]) > before
    assert len(bench.people()) == 7
    assert len(bench.rows(select(memberships))) == 7
    assert not bench.sync().is_merged


def test_a_forge_site_without_events_by_name_is_renamed(bench: Bench, cloud: FakeCloud) -> None:
    assert cloud.cloud_id is not None
    bench.record(activity(1, "a-1", site=cloud.cloud_id))
    result = bench.sync()
    assert not result.is_merged
    assert [tuple(row) for row in bench.rows(select(sites.c.name, sites.c.cloud_id))] == [("acme", cloud.cloud_id)]
    assert bench.people()["a-1"][0] == "Ann"


@ON_ONE_DATABASE
def test_no_log_line_holds_a_name_an_address_or_a_token(bench: Bench, cloud: FakeCloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    cloud.script["/wiki/rest/api/search/user"] += [Answer({}, 429)] * QUICK.tries
    sentence = bench.failed_sync()
    bench.sync()
    for secret in ("Ann", "Robot", "@acme.example", "api-token", "YWRtaW5"):
        assert secret not in caplog.text
        assert secret not in sentence
    assert "Directory sync of site acme is complete: 6 people" in caplog.text

"""What a directory sync writes: people, groups, memberships, spaces, contents, states, and two sites that are one."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from uar.activity import Activity, ActivityType, Source, identity
from uar.store import directory
from uar.store.database import Engine, read_transaction, write_transaction
from uar.store.directory import DELETED_NAME, Group, Person, Space
from uar.store.placing import known_contents, place_activities, save_content, unplaced_activities
from uar.store.schema import activities, groups, memberships, people, sites, spaces
from uar.store.site_merge import folded
from uar.store.sync_state import Attempt, SyncState, attempts, note_attempt, read_state, save_state
from uar.store.writes import record_activities

CLOUD = "11111111-2222-3333-4444-555555555555"
DAY = 86_400_000
T0 = 1_780_000_000_000


def activity(
    number: int, *, site: str = "acme", account: str | None = "a", space: str | None = "ENG", content: str | None = "7", at: int = T0
) -> Activity:
    return Activity(
        site=site,
        source=Source.FORGE,
        event_name="viewed:page",
        type=ActivityType.VIEW,
        account=account,
        occurred_at=at,
        received_at=at,
        is_event_time=True,
        key=identity(number),
        space_key=space,
        content_id=content,
    )


def rows(store: Engine, query: Any) -> list[tuple[Any, ...]]:
    with read_transaction(store) as connection:
        return [tuple(row) for row in connection.execute(query)]


def site(store: Engine, name: str = "acme", cloud_id: str | None = None) -> int:
    with write_transaction(store) as connection:
        return directory.claim_site(connection, name, cloud_id, "https://acme.example/wiki")[0]


def save(store: Engine, site_id: int, *found: Person, listed_at: int | None = None) -> directory.SavedPeople:
    with write_transaction(store) as connection:
        return directory.save_people(connection, site_id, found, T0, listed_at=listed_at)


def test_saving_the_same_people_again_changes_nothing(store: Engine) -> None:
    site_id = site(store)
    found = [Person("a", "Ann", "ann@acme.example", "person", "active"), Person("b", "Bot", kind="app")]
    first = save(store, site_id, *found)
    before = rows(store, select(people).order_by(people.c.id))
    second = save(store, site_id, *found)
    assert (first.added, first.changed, second.added, second.changed) == (2, 0, 0, 0)
    assert first.ids == second.ids
    assert rows(store, select(people).order_by(people.c.id)) == before


def test_a_renamed_person_keeps_the_row_and_its_activities(store: Engine) -> None:
    site_id = site(store)
    with write_transaction(store) as connection:
        record_activities(connection, [activity(1)])
    first = save(store, site_id, Person("a", "Ann Smith"))
    second = save(store, site_id, Person("a", "Ann Jones"))
    assert first.ids == second.ids
    assert second.changed == 1
    assert rows(store, select(people.c.display_name, people.c.first_active_at).where(people.c.account_id == "a")) == [("Ann Jones", T0)]


def test_what_a_record_does_not_tell_stays(store: Engine) -> None:
    site_id = site(store)
    save(store, site_id, Person("a", "Ann", "ann@acme.example", "guest", "invited", created_at=5, atlassian_last_seen_at=6))
    save(store, site_id, Person("a"))
    columns = (people.c.display_name, people.c.email, people.c.kind, people.c.state, people.c.created_at, people.c.atlassian_last_seen_at)
    assert rows(store, select(*columns).where(people.c.account_id == "a")) == [("Ann", "ann@acme.example", "guest", "invited", 5, 6)]


def test_a_deleted_account_loses_its_address_and_stays_countable(store: Engine) -> None:
    site_id = site(store)
    with write_transaction(store) as connection:
        record_activities(connection, [activity(1)])
    save(store, site_id, Person("a", "Ann", "ann@acme.example"))
    save(store, site_id, Person("a", DELETED_NAME, state="deleted"))
    found = rows(
        store, select(people.c.display_name, people.c.email, people.c.state, people.c.last_active_at).where(people.c.account_id == "a")
    )
    assert found == [("Deleted account", None, "deleted", T0)]
    assert len(rows(store, select(activities.c.id))) == 1


def test_an_account_without_access_is_kept_only_if_it_was_seen_before(store: Engine) -> None:
    site_id = site(store)
    save(store, site_id, Person("a", "Ann"))
    outsiders = [Person(account, "Someone", state="deactivated", is_licensed=False) for account in ("a", "b")]
    assert list(save(store, site_id, *outsiders).ids) == ["a"]
    assert rows(store, select(people.c.account_id, people.c.state).where(people.c.site_id == site_id)) == [("a", "deactivated")]


def test_more_people_than_fit_into_one_statement_are_saved(store: Engine) -> None:
    site_id = site(store)
    found = [Person(f"account-{number}", f"Person {number}") for number in range(2_001)]
    assert save(store, site_id, *found, listed_at=T0).added == len(found)
    renamed = [Person(person.account, "New name") for person in found]
    assert save(store, site_id, *renamed).changed == len(found)


def test_people_of_another_site_are_other_people(store: Engine) -> None:
    one, other = site(store), site(store, "beta")
    assert save(store, one, Person("a", "Ann")).ids["a"] != save(store, other, Person("a", "Anna")).ids["a"]


def test_only_who_was_listed_before_is_deactivated(store: Engine) -> None:
    site_id = site(store)
    save(store, site_id, Person("left", "L"), Person("stays", "S"), Person("gone", DELETED_NAME, state="deleted"), listed_at=T0)
    save(store, site_id, Person("stays", "S"), listed_at=T0 + DAY)
    save(store, site_id, Person("customer", "C"))
    with write_transaction(store) as connection:
        assert directory.unlisted_people(connection, site_id, T0 + DAY) == {"left"}
        assert directory.deactivate_unlisted(connection, site_id, T0 + DAY) == 1
        assert directory.listed_count(connection, site_id, T0 + DAY) == 1
        assert directory.accounts_of_events(connection, site_id) == ["customer"]
    states = dict(rows(store, select(people.c.account_id, people.c.state).where(people.c.site_id == site_id)))
    assert states == {"left": "deactivated", "stays": "active", "gone": "deleted", "customer": "active"}


def test_accounts_of_events_without_a_name_are_found_latest_first(store: Engine) -> None:
    with write_transaction(store) as connection:
        record_activities(connection, [activity(1, account="a"), activity(2, account="b"), activity(3, account=None)])
        site_id = directory.site_id_of(connection, "acme")
        assert site_id is not None
        assert directory.unnamed_accounts(connection, site_id, 10) == ["b", "a"]
        assert directory.unnamed_accounts(connection, site_id, 1) == ["b"]
        directory.save_people(connection, site_id, [Person("a", "Ann"), Person("b", DELETED_NAME, state="deleted")], T0)
        assert directory.unnamed_accounts(connection, site_id, 10) == []


def test_a_group_has_exactly_the_members_of_the_last_reading(store: Engine) -> None:
    site_id = site(store)
    ids = save(store, site_id, Person("a"), Person("b"), Person("c")).ids
    with write_transaction(store) as connection:
        group = directory.save_groups(connection, site_id, [Group("g1", "Staff")])["g1"]
        directory.save_members(connection, group, [ids["a"], ids["b"]])
        directory.save_members(connection, group, [ids["b"], ids["c"]])
        directory.add_members(connection, [(group, ids["c"]), (group, ids["a"])])
        assert directory.membership_count(connection, site_id) == 3
        directory.save_members(connection, group, [ids["c"]])
    assert rows(store, select(memberships.c.person_id)) == [(ids["c"],)]


def test_a_renamed_group_keeps_its_row_and_a_group_not_listed_goes(store: Engine) -> None:
    site_id, other = site(store), site(store, "beta")
    with write_transaction(store) as connection:
        kept = directory.save_groups(connection, site_id, [Group("g1", "Staff"), Group("g2", "Old")])
        directory.save_groups(connection, other, [Group("g2", "Theirs")])
        directory.add_members(connection, [(kept["g2"], 0)])
        again = directory.save_groups(connection, site_id, [Group("g1", "Everybody")])
        assert again == {"g1": kept["g1"]}
        assert directory.remove_other_groups(connection, site_id, again.values()) == 1
    assert rows(store, select(groups.c.name).order_by(groups.c.name)) == [("Everybody",), ("Theirs",)]
    assert rows(store, select(memberships)) == []


def test_groups_known_by_name_are_found_or_made(store: Engine) -> None:
    site_id = site(store)
    with write_transaction(store) as connection:
        known = directory.save_groups(connection, site_id, [Group("uuid-1", "Staff")])
        found = directory.group_ids_by_name(connection, site_id, ["Staff", "New", "New"])
    assert found["Staff"] == known["uuid-1"]
    assert sorted(found) == ["New", "Staff"]


def test_a_space_keeps_its_row_and_takes_name_and_id(store: Engine) -> None:
    with write_transaction(store) as connection:
        record_activities(connection, [activity(1)])
        site_id = directory.site_id_of(connection, "acme")
        assert site_id is not None
        first = directory.save_spaces(connection, site_id, [Space("ENG", "9", "Engineering"), Space("HR")])
        second = directory.save_spaces(connection, site_id, [Space("ENG", "9", "Engines"), Space("HR", None, None)])
    assert first == second
    expected = [("ENG", "9", "Engines"), ("HR", None, None)]
    assert (
        rows(
            store,
            select(spaces.c.space_key, spaces.c.external_id, spaces.c.name).where(spaces.c.site_id == site_id).order_by(spaces.c.space_key),
        )
        == expected
    )
    assert rows(store, select(activities.c.space_id)) == [(first["ENG"],)]


def test_an_activity_gets_the_space_of_its_content_once_it_is_known(store: Engine) -> None:
    with write_transaction(store) as connection:
        record_activities(connection, [activity(n, space=None, content=str(n)) for n in (1, 2, 3)])
        record_activities(connection, [activity(4), activity(5, space=None, content=None), activity(6, site="beta", space=None)])
        site_id = directory.site_id_of(connection, "acme")
        assert site_id is not None
        space_id = directory.save_spaces(connection, site_id, [Space("HR")])["HR"]
        found, seen = unplaced_activities(connection, site_id, 0, 2)
        assert [row.content_id for row in found] == ["1", "2"]
        rest, end = unplaced_activities(connection, site_id, seen, 2)
        assert [row.content_id for row in rest] == ["3"]
        assert unplaced_activities(connection, site_id, end, 2) == ([], end)
        assert place_activities(connection, [*found, *rest], {"1": space_id, "2": 0}) == 1
    placed = select(activities.c.content_id).where(activities.c.space_id == space_id)
    assert rows(store, placed) == [("1",)]


def test_a_content_looked_up_too_late_is_remembered_for_a_while(store: Engine) -> None:
    site_id = site(store)
    with write_transaction(store) as connection:
        save_content(connection, site_id, "1", 5, T0)
        save_content(connection, site_id, "2", 0, T0)
        assert known_contents(connection, site_id, ["1", "2", "3"], T0) == {"1": 5, "2": 0}
        assert known_contents(connection, site_id, ["1", "2", "3"], T0 + 1) == {"1": 5}
        save_content(connection, site_id, "2", 6, T0 + 1)
        assert known_contents(connection, site_id, ["2"], T0 + 1) == {"2": 6}


def test_the_state_of_a_sync_survives(store: Engine) -> None:
    site_id = site(store)
    state = SyncState(started_at=T0, done=["group:1"], next_query={"start": 5, "cursor": "x"})
    with write_transaction(store) as connection:
        assert read_state(connection, site_id) == SyncState()
        save_state(connection, site_id, state)
        save_state(connection, site_id, state)
        note_attempt(connection, "acme", T0, "Nobody answers.")
        note_attempt(connection, "acme", T0 + 1, None)
        note_attempt(connection, "a_b", T0, None)
    with read_transaction(store) as connection:
        assert read_state(connection, site_id) == state
        assert attempts(connection) == [Attempt("a_b", T0, None), Attempt("acme", T0 + 1, None)]


def test_a_site_known_to_forge_alone_gets_its_name(store: Engine) -> None:
    with write_transaction(store) as connection:
        record_activities(connection, [activity(1, site=CLOUD)])
        before = directory.site_id_of(connection, CLOUD)
        claimed = directory.claim_site(connection, "acme", CLOUD, "https://acme.example/wiki")
        record_activities(connection, [activity(2, site=CLOUD)])
    assert claimed == (before, False)
    assert rows(store, select(sites.c.name, sites.c.cloud_id, sites.c.base_url)) == [("acme", CLOUD, "https://acme.example/wiki")]
    assert rows(store, select(activities.c.site_id).distinct()) == [(before,)]


def test_a_site_named_by_its_cloud_id_is_one_site(store: Engine) -> None:
    first = site(store, CLOUD, CLOUD)
    assert site(store, CLOUD, CLOUD) == first
    assert len(rows(store, select(sites))) == 1


@pytest.mark.parametrize("larger", ["acme", CLOUD])
def test_a_site_known_by_name_and_by_cloud_id_becomes_one(store: Engine, larger: str) -> None:
    smaller = "acme" if larger == CLOUD else CLOUD
    with write_transaction(store) as connection:
        record_activities(
            connection,
            [
                activity(1, site=larger, account="a", at=T0),
                activity(2, site=larger, account="a", space="HR", at=T0 + 2 * DAY),
                activity(3, site=larger, account=None),
                activity(7, site=larger),
                activity(8, site=larger),
                activity(1, site=smaller, account="a", at=T0),  # the same act, told to both
                activity(4, site=smaller, account="a", at=T0 - DAY),
                activity(5, site=smaller, account="b", space="NEW", at=T0 + DAY),
                activity(6, site=smaller, account=None),
            ],
        )
        ids = {name: directory.site_id_of(connection, name) for name in ("acme", CLOUD)}
        for name, site_id in ids.items():
            assert site_id is not None
            saved = directory.save_people(connection, site_id, [Person("a", f"Ann at {name}")], T0)
            group = directory.save_groups(connection, site_id, [Group("g", "Staff")])["g"]
            directory.add_members(connection, [(group, saved.ids["a"])])
            save_content(connection, site_id, "7", 0, T0)
        site_id, is_merged = directory.claim_site(connection, "acme", CLOUD, None)
    assert is_merged
    assert site_id == ids[larger]
    assert rows(store, select(sites.c.name, sites.c.cloud_id)) == [("acme", CLOUD)]
    joined = (
        select(people.c.account_id, activities.c.site_id, spaces.c.space_key, activities.c.key)
        .join(people, people.c.id == activities.c.person_id)
        .join(spaces, spaces.c.id == activities.c.space_id)
    )
    found = sorted((row[0] or "", row[1], row[2], bytes(row[3])) for row in rows(store, joined))
    accounts = {1: "a", 2: "a", 3: "", 4: "a", 5: "b", 6: "", 7: "a", 8: "a"}
    keys = {n: {2: "HR", 5: "NEW"}.get(n, "ENG") for n in accounts}
    assert found == sorted((accounts[n], site_id, keys[n], identity(n)) for n in accounts)
    person = select(people.c.display_name, people.c.first_active_at, people.c.last_active_at).where(people.c.account_id == "a")
    assert rows(store, person) == [(f"Ann at {larger}", T0 - DAY, T0 + 2 * DAY)]
    assert sorted(rows(store, select(spaces.c.space_key).where(spaces.c.site_id == site_id))) == [("ENG",), ("HR",), ("NEW",)]
    assert len(rows(store, select(groups))) == 1
    assert len(rows(store, select(memberships))) == 1
    with write_transaction(store) as connection:
        record_activities(connection, [activity(9, site=CLOUD), activity(10, site="acme")])
        assert directory.claim_site(connection, "acme", CLOUD, None) == (site_id, False)
    assert rows(store, select(activities.c.site_id).distinct()) == [(site_id,)]


def test_one_person_of_two_rows_keeps_what_either_tells() -> None:
    empty = {column.name: None for column in people.columns}
    mine = {**empty, "kind": "person", "state": "active", "first_seen_at": 9, "last_active_at": 5, "last_type": 1, "first_active_at": 5}
    theirs = {**empty, "kind": "app", "state": "invited", "first_seen_at": 8, "display_name": "Bot", "email": "b@x"}
    assert folded(mine, theirs) == {
        "display_name": "Bot",
        "email": "b@x",
        "created_at": None,
        "atlassian_last_seen_at": None,
        "synced_at": None,
        "kind": "app",
        "state": "invited",
        "first_seen_at": 8,
        "first_active_at": 5,
        "last_active_at": 5,
        "last_type": 1,
    }

"""From a verified body to activities: type, person, time, space, identity, and what goes to quarantine."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.capture.reading import (
    RECEIVED_AT,
    SAMPLES,
    Sample,
    all_samples,
    delivery,
    read,
    read_connect,
    read_datacenter,
    read_forge,
    sample_body,
)
from uar.activity import Activity, ActivityType, ActorKind, Source, Twin
from uar.capture.delivery import Unreadable

PAGE_UPDATED = "forge__avi_confluence_updated_page.json"


def test_every_sample_file_has_an_expected_row() -> None:
    assert {sample.file for sample in all_samples()} == {path.name for path in SAMPLES.glob("*.json")}
    assert len(all_samples()) == 81


@pytest.mark.parametrize("sample", all_samples(), ids=lambda sample: sample.file)
def test_each_sample_is_read_as_expected(sample: Sample) -> None:
    name = sample.event_name if sample.source is Source.CONNECT else None
    activities = read(delivery(sample.source, sample.body, name)) if "ping" not in sample.file else []
    assert len(activities) == sample.activities
    for activity in activities:
        assert (activity.event_name, activity.type.key, activity.account) == (sample.event_name, sample.type, sample.account)
        expected = (sample.occurred_at, True) if sample.occurred_at else (RECEIVED_AT, False)
        assert (activity.occurred_at, activity.is_event_time) == expected
    assert len({activity.key for activity in activities}) == sample.activities


@pytest.mark.parametrize(
    ("file", "event_name", "content_id", "space_key", "space_name"),
    [
        ("forge__avi_confluence_created_page.json", None, "838205441", "SP", "Project: Sample Project"),
        ("forge__avi_confluence_created_comment.json", None, "838205455", "SP", "Project: Sample Project"),
        ("forge__avi_confluence_created_attachment.json", None, "838205455", "SP", "Project: Sample Project"),
        ("forge__avi_confluence_added_label.json", None, "838205441", "SP", "Project: Sample Project"),
        ("forge__avi_confluence_created_relation.json", None, "838205441", "SP", "Project: Sample Project"),
        ("forge__avi_confluence_created_space_V2.json", None, None, "SP", "Project: Sample Project"),
        ("forge__avi_confluence_created_task.json", None, "98305", "ENG", "Engineering"),
        ("forge__avi_confluence_performed_search.json", None, None, None, None),
        ("connect__page_created.json", "page_created", "13139970", "IT", None),
        ("connect__page_trashed.json", "page_trashed", "1188560897", "~100000001", None),
        ("connect__comment_created.json", "comment_created", "10000002", "ENG", None),
        ("connect__attachment_viewed.json", "attachment_viewed", "98330", "ENG", None),
        ("connect__label_added.json", "label_added", "98305", "ENG", None),
        ("connect__space_created.json", "space_created", None, "ENG", "Engineering"),
        ("connect__relation_created__like.json", "relation_created", "98305", None, None),
        ("datacenter__page_updated.json", None, "1015809", None, None),
        ("datacenter__page_updated__full.json", None, "1015809", "ENG", None),
        ("datacenter__attachment_updated__full.json", None, "1015830", "ENG", None),
        ("datacenter__label_added.json", None, "1015809", None, None),
        ("datacenter__space_created.json", None, None, None, None),
        ("datacenter__theme_enabled.json", None, None, "ENG", None),
    ],
)
def test_object_and_space_are_found(file: str, event_name: str | None, content_id: str, space_key: str, space_name: str) -> None:
    source = Source[file.partition("__")[0].upper()]
    activity = read(delivery(source, sample_body(file), event_name))[0]
    assert (activity.content_id, activity.space_key, activity.space_name) == (content_id, space_key, space_name)


def test_two_attachments_are_two_activities() -> None:
    connect = read_connect("attachment_created", sample_body("connect__attachment_created.json"))
    datacenter = read_datacenter(sample_body("datacenter__attachment_created.json"))
    assert [activity.content_id for activity in connect] == ["98330", "98331"]
    assert [activity.content_id for activity in datacenter] == ["1015830", "1015831"]


def test_titles_are_kept_only_if_asked_for() -> None:
    found = delivery(Source.FORGE, sample_body(PAGE_UPDATED))
    assert read(found)[0].title is None
    assert read(found, store_titles=True)[0].title == "Release plan"


# Who


def test_creator_editor_and_subject_never_stand_in_for_the_actor() -> None:
    page = sample_body(PAGE_UPDATED)
    del page["atlassianId"]
    user = sample_body("datacenter__user_created.json") | {"userKey": ""}
    relation = sample_body("connect__relation_created__like.json")
    del relation["userAccountId"]
    assert read_forge(page)[0].account is None
    assert read_datacenter(user)[0].account is None
    assert read_connect("relation_created", relation)[0].account is None


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_an_empty_actor_is_the_unknown_person(empty: str | None) -> None:
    assert read_forge(sample_body(PAGE_UPDATED) | {"atlassianId": empty})[0].account is None


@pytest.mark.parametrize("account", ["__proto__", "' OR 1=1--", "=cmd|' /C calc'!A0", "<img src=x onerror=1>", "../x", "\u202egnihton"])
def test_a_hostile_account_id_is_only_text(account: str) -> None:
    assert read_forge(sample_body(PAGE_UPDATED) | {"atlassianId": account})[0].account == account


@pytest.mark.parametrize("account", ["a\0b", "x" * 256, "x" * 10_000, 17, True, [], {}, ["a"], {"accountId": "a"}])
def test_an_account_id_that_cannot_be_kept_exactly_goes_to_quarantine(account: Any) -> None:
    with pytest.raises(Unreadable) as caught:
        read_forge(sample_body(PAGE_UPDATED) | {"atlassianId": account})
    assert caught.value.event_name == "avi:confluence:updated:page"
    assert "atlassianId" in caught.value.reason


def test_an_app_is_recognised_by_the_payloads_own_word() -> None:
    page = sample_body(PAGE_UPDATED)
    assert read_forge(page)[0].actor_kind is ActorKind.PERSON
    assert read_forge(page | {"selfGenerated": True})[0].actor_kind is ActorKind.APP
    page["content"]["version"]["by"]["accountType"] = "app"
    assert read_forge(page)[0].actor_kind is ActorKind.APP
    page["atlassianId"] = "somebody-else"
    assert read_forge(page)[0].actor_kind is ActorKind.PERSON
    search = sample_body("forge__avi_confluence_performed_search.json") | {"accountType": "app"}
    assert read_forge(search)[0].actor_kind is ActorKind.APP
    connect = sample_body("connect__page_viewed.json")
    assert read_connect("page_viewed", connect)[0].actor_kind is ActorKind.PERSON
    assert read_connect("page_viewed", connect | {"accountType": "app"})[0].actor_kind is ActorKind.APP


# When


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-02T10:15:30.250Z", 1_772_446_530_250),
        ("2026-03-02T10:15:30Z", 1_772_446_530_000),
        ("2026-03-02T12:15:30.250+02:00", 1_772_446_530_250),
        ("2026-03-02T15:45:30.250999+05:30", 1_772_446_530_250),
        ("2025-10-20T00:00:00Z", 1_760_918_400_000),
    ],
)
def test_iso_times_of_any_offset_are_exact(text: str, expected: int) -> None:
    activity = read_forge(sample_body(PAGE_UPDATED) | {"eventCreatedDate": text})[0]
    assert (activity.occurred_at, activity.is_event_time) == (expected, True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "2026-03-02T10:15:30",
        "2026-03-02",
        "2003-12-31T23:59:59Z",
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+14:00",
        "2026-06-30T23:59:60Z",
        1772446530250,
        [],
        {},
        "1772446530250",
    ],
)
def test_a_missing_or_absurd_iso_time_gives_way_to_the_arrival_time(value: Any) -> None:
    activity = read_forge(sample_body(PAGE_UPDATED) | {"eventCreatedDate": value})[0]
    assert (activity.occurred_at, activity.is_event_time) == (RECEIVED_AT, False)


@pytest.mark.parametrize(
    "value", [None, "soon", "9" * 30, -5, 0, 1_772_446_530, 253_402_300_799_000, True, [], {}, RECEIVED_AT + 86_400_001]
)
def test_a_missing_or_absurd_epoch_time_gives_way_to_the_arrival_time(value: Any) -> None:
    body = sample_body("datacenter__page_updated.json") | {"timestamp": value}
    assert [(a.occurred_at, a.is_event_time) for a in read_datacenter(body)] == [(RECEIVED_AT, False)]


def test_an_event_a_little_ahead_or_long_ago_keeps_its_own_time() -> None:
    for moment in (RECEIVED_AT + 600_000, RECEIVED_AT - 400 * 86_400_000):
        body = sample_body("datacenter__page_updated.json") | {"timestamp": moment}
        assert [(a.occurred_at, a.is_event_time) for a in read_datacenter(body)] == [(moment, True)]


# Special rules of single families


def test_a_relation_is_read_by_its_name() -> None:
    relation = sample_body("forge__avi_confluence_created_relation.json")
    watching = read_forge(relation)[0]
    like = read_forge(relation | {"relationName": "like"})[0]
    unlike = read_forge(relation | {"relationName": "like", "eventType": "avi:confluence:deleted:relation"})[0]
    assert (watching.type, watching.twin) == (ActivityType.OTHER, None)
    assert (like.type, like.twin) == (ActivityType.LIKE, Twin("like:838205441", is_generic=True))
    assert (unlike.type, unlike.twin) == (ActivityType.OTHER, None)


def test_a_liked_event_is_the_specific_twin_of_the_relation() -> None:
    assert read_forge(sample_body("forge__avi_confluence_liked_page.json"))[0].twin == Twin("like:98305", is_generic=False)
    assert read_forge(sample_body("forge__avi_confluence_liked_comment.json"))[0].twin == Twin("like:98320", is_generic=False)


def test_a_cloud_webhook_tells_a_like_by_the_relation_only() -> None:
    like = sample_body("connect__relation_created__like.json")
    assert read_connect("relation_created", like)[0].type is ActivityType.LIKE
    assert read_connect("relation_deleted", like)[0].type is ActivityType.OTHER
    like["relationData"]["relationName"] = "favourite"
    assert read_connect("relation_created", like)[0].type is ActivityType.OTHER
    assert read_connect("relation_created", {"relationName": "like", "target": {"id": 5}, "timestamp": 1})[0].type is ActivityType.LIKE


@pytest.mark.parametrize("verb", ["created", "updated", "restored", "trashed"])
def test_a_datacenter_content_event_is_the_vaguer_twin(verb: str) -> None:
    for family, is_generic in (("content", True), ("page", False), ("blog", False)):
        body = {"timestamp": RECEIVED_AT, "event": f"{family}_{verb}", "userKey": "k", family: {"id": 7}}
        assert read_datacenter(body)[0].twin == Twin(f"{verb}:7", is_generic)
    for body in ({"event": "page_removed", "page": {"id": 7}}, {"event": "content_permissions_updated", "content": {"id": 7}}):
        assert read_datacenter(body)[0].twin is None


def _content(type_: str = "ac:com.example:diagram") -> dict[str, Any]:
    return sample_body("connect__content_created.json") | {"type": type_}


@pytest.mark.parametrize("event_name", ["content_created", "content_updated", "content_restored"])
def test_content_events_know_who_and_when_from_the_version_they_made(event_name: str) -> None:
    activity = read_connect(event_name, _content())[0]
    assert activity.account == "557058:00000000-0000-4000-8000-00000000dd01"
    assert (activity.occurred_at, activity.is_event_time) == (1_631_605_182_016, True)
    assert (activity.content_id, activity.space_key, activity.space_name) == ("1188593679", "~100000001", "Sample User")


@pytest.mark.parametrize("event_name", ["content_removed", "content_trashed", "content_permissions_updated"])
def test_whoever_removes_content_is_not_its_last_editor(event_name: str) -> None:
    activity = read_connect(event_name, _content())[0]
    assert (activity.account, activity.occurred_at, activity.is_event_time) == (None, RECEIVED_AT, False)


@pytest.mark.parametrize("event_name", ["content_created", "content_updated", "content_removed"])
def test_what_an_app_stores_as_a_property_is_nobodys_activity(event_name: str) -> None:
    body = sample_body("connect__content_created.json")
    assert read_connect(event_name, body) == []


# Identity


def _keys(*found: list[Activity]) -> int:
    return len({activity.key for activities in found for activity in activities})


def test_the_same_forge_event_in_any_form_is_one_act() -> None:
    flat = sample_body(PAGE_UPDATED)
    retried = flat | {"retryContext": {"retryData": None, "retryCount": 2, "retryReason": "TIMEOUT_ERROR"}, "selfGenerated": None}
    reordered = dict(reversed(flat.items()))
    whole_seconds = flat | {"eventCreatedDate": "2026-03-02T11:15:30.250+01:00"}
    forms = [flat, {"payload": flat}, {"payload": retried}, retried, reordered, whole_seconds]
    assert _keys(*(read_forge(form) for form in forms)) == 1


def test_a_forge_event_without_a_time_is_told_by_its_content() -> None:
    page = sample_body(PAGE_UPDATED)
    del page["eventCreatedDate"]
    retried = page | {"retryContext": {"retryCount": 1}}
    other = page | {"updateTrigger": "revert"}
    assert _keys(read_forge(page), read_forge(retried), read_forge({"payload": retried})) == 1
    assert _keys(read_forge(page), read_forge(other)) == 2


@pytest.mark.parametrize(
    "change",
    [{"atlassianId": "other"}, {"eventCreatedDate": "2026-03-02T10:15:30.251Z"}, {"eventType": "avi:confluence:viewed:page"}],
)
def test_another_person_time_or_event_is_another_act(change: dict[str, str]) -> None:
    page = sample_body(PAGE_UPDATED)
    assert _keys(read_forge(page), read_forge(page | change)) == 2


def test_another_site_object_or_version_is_another_act() -> None:
    first, object_, version = sample_body(PAGE_UPDATED), sample_body(PAGE_UPDATED), sample_body(PAGE_UPDATED)
    object_["content"]["id"] = "5"
    version["content"]["version"]["number"] = 99
    found = [read_forge(first), read_forge(object_), read_forge(version), read_forge(first, site="other")]
    assert _keys(*found) == 4


def test_two_events_with_equal_bodies_are_two_acts_of_a_cloud_webhook() -> None:
    body = sample_body("connect__page_viewed.json")
    assert _keys(read_connect("page_viewed", body), read_connect("page_updated", body)) == 2
    assert _keys(read_connect("page_viewed", body), read_connect("page_viewed", dict(reversed(body.items())))) == 1


def test_a_datacenter_delivery_is_told_by_its_request_id_and_body() -> None:
    body = sample_body("datacenter__page_updated.json")
    assert _keys(read_datacenter(body), read_datacenter(dict(reversed(body.items())))) == 1
    assert _keys(read_datacenter(body, delivery_id="a"), read_datacenter(body, delivery_id="a")) == 1
    assert _keys(read_datacenter(body, delivery_id="a"), read_datacenter(body, delivery_id="b")) == 2


# What cannot be read


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b"nul",
        b"{} x",
        b'{"a":1,}',
        b"{'a':1}",
        b"[]",
        b'"x"',
        b"5",
        b"null",
        b"true",
        b"\xff\xfe{}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":9223372036854775808}',
        b'{"a":-9223372036854775809}',
        b'{"a":[18446744073709551616]}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":"\xc0\xaf"}',
        "{}".encode("utf-16"),
        b'{"a":1,"a":2}',
        b'{"a":1,"a" :2}',
        b'{"a":{"b":1,"\\u0062":2}}',
        b'{"x":"\\u003a","a":1,"a":1}',
        b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
        b"[" * 100000 + b"]" * 100000,
        b'{"a":' * 100000,
        b'{"a":1' + b',"a":1' * 100000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_two_readers_could_read_differently_is_kept_aside(body: bytes) -> None:
    for source, name in ((Source.FORGE, None), (Source.CONNECT, "page_viewed"), (Source.DATACENTER, "page_created")):
        with pytest.raises(Unreadable) as caught:
            read(delivery(source, body, name))
        assert caught.value.reason.endswith(".")


def test_a_byte_order_mark_before_good_json_is_read() -> None:
    body = b"\xef\xbb\xbf" + (SAMPLES / PAGE_UPDATED).read_bytes()
    assert len(read_forge(body)) == 1


def test_large_numbers_and_escapes_that_are_right_are_read() -> None:
    body = (
        b'{"timestamp":1772532000000,"event":"page_updated","userKey":"k","page":{"id":9223372036854775807,"title":"a\\u003ab: \\":\\" c"}}'
    )
    activity = read(delivery(Source.DATACENTER, body), store_titles=True)[0]
    assert (activity.content_id, activity.title) == ("9223372036854775807", 'a:b: ":" c')


@pytest.mark.parametrize("name", ["avi:confluence:exploded:page", "page_viewed", "", None, 5, [], {"a": 1}])
def test_an_unknown_event_goes_to_quarantine_with_its_name(name: Any) -> None:
    with pytest.raises(Unreadable) as caught:
        read_forge(sample_body(PAGE_UPDATED) | {"eventType": name})
    assert caught.value.event_name == (name if isinstance(name, str) and name else None)


@pytest.mark.parametrize("content", [None, [], "x", 5, {}, {"id": None}, {"id": []}, {"id": {}}, {"id": True}, {"id": "7", "space": "ENG"}])
def test_a_wrong_type_where_something_is_due_goes_to_quarantine(content: Any) -> None:
    with pytest.raises(Unreadable):
        read_forge(sample_body(PAGE_UPDATED) | {"content": content})
    with pytest.raises(Unreadable):
        read_datacenter(
            {"event": "page_created", "userKey": "k", "page": content if content != {"id": "7", "space": "ENG"} else {"id": []}}
        )


def test_long_and_odd_text_is_cut_and_cleaned() -> None:
    page = sample_body(PAGE_UPDATED)
    page["content"]["title"] = "a\0b" + "x" * 5000
    page["content"]["space"]["key"] = "EN\0G"
    activity = read(delivery(Source.FORGE, page), store_titles=True)[0]
    assert activity.title == "a\ufffdb" + "x" * 1021
    assert activity.space_key == "EN\ufffdG"


def test_an_event_that_is_no_activity_is_neither_counted_nor_kept_aside() -> None:
    assert read_forge(sample_body("forge__avi_forge_installed_app.json")) == []
    assert read_forge({"eventType": "avi:cloud:ecosystem::event/app/key"}) == []
    assert read_datacenter(sample_body("datacenter__blueprint_page_created.json")) == []
    assert read_connect("plugin_enabled", {}) == []


FIELDS = st.sampled_from(
    [
        "eventType",
        "event",
        "atlassianId",
        "userAccountId",
        "userKey",
        "timestamp",
        "eventCreatedDate",
        "content",
        "page",
        "attachments",
        "attachedTo",
        "space",
        "relationName",
        "relationData",
        "target",
        "payload",
        "accountType",
        "version",
        "type",
        "labeled",
        "id",
        "key",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FIELDS, inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(sorted({sample.event_name for sample in all_samples()}))


@settings(deadline=None, max_examples=150)
@given(NAMES, st.dictionaries(FIELDS, JSON, max_size=5), st.sampled_from(list(Source)[:3]))
def test_any_body_is_either_read_or_kept_aside(name: str, fields: dict[str, Any], source: Source) -> None:
    body = {"eventType": name, "event": name} | fields
    with suppress(Unreadable):
        for activity in read(delivery(source, body, name)):
            assert len(activity.key) == 16
            assert activity.account is None or 0 < len(activity.account) <= 255


@given(st.binary(max_size=200))
def test_any_bytes_are_either_read_or_kept_aside(body: bytes) -> None:
    for source in (Source.FORGE, Source.CONNECT, Source.DATACENTER):
        with pytest.raises(Unreadable):
            read(delivery(source, body, "page_viewed"))


def test_a_time_in_digits_as_text_is_the_events_own() -> None:
    body = sample_body("datacenter__page_updated.json") | {"timestamp": "1772532000000"}
    activity = read_datacenter(body)[0]
    assert (activity.occurred_at, activity.is_event_time) == (1_772_532_000_000, True)


def test_an_empty_second_spelling_of_an_id_hides_no_id() -> None:
    assert read_connect("page_viewed", {"page": {"idAsString": "", "id": 7}, "timestamp": RECEIVED_AT})[0].content_id == "7"


def test_a_comment_that_names_no_space_is_where_its_page_is() -> None:
    comment = {"id": 8, "parent": {"id": 7, "spaceKey": "ENG"}}
    assert read_connect("comment_created", {"comment": comment, "timestamp": RECEIVED_AT})[0].space_key == "ENG"
    comment = {"id": 8, "container": {"id": 7, "space": {"key": "HR"}}}
    assert read_datacenter({"event": "comment_created", "timestamp": RECEIVED_AT, "comment": comment})[0].space_key == "HR"


def test_a_space_beside_a_page_does_not_hide_the_page() -> None:
    body = {"page": {"id": 7}, "space": {"key": "ENG"}, "timestamp": RECEIVED_AT}
    activity = read_connect("page_updated", body)[0]
    assert (activity.content_id, activity.space_key) == ("7", "ENG")


@pytest.mark.parametrize(
    "body",
    [
        {"relationName": "like", "target": {"id": 7}},
        {"relationName": "like", "relationData": {}, "target": {"id": 7}},
        {"relationName": "like", "relationData": {"createdDate": "x"}, "target": {"content": {"id": "7"}}},
        {"relationData": {"relationName": "like", "target": {"id": "7"}}},
    ],
)
def test_a_cloud_webhooks_like_is_found_wherever_its_name_and_target_stand(body: dict[str, Any]) -> None:
    activity = read_connect("relation_created", body | {"timestamp": RECEIVED_AT})[0]
    assert (activity.type, activity.content_id) == (ActivityType.LIKE, "7")


def test_a_forge_like_is_found_wherever_its_name_and_target_stand() -> None:
    body = {"eventType": "avi:confluence:created:relation", "relationData": {"relationName": "like"}, "target": {"id": 7, "type": "page"}}
    activity = read_forge(body)[0]
    assert (activity.type, activity.content_id, activity.twin) == (ActivityType.LIKE, "7", Twin("like:7", is_generic=True))


def test_two_relations_of_one_moment_to_different_targets_are_two_acts() -> None:
    body = {"eventType": "avi:confluence:created:relation", "relationName": "watching", "eventCreatedDate": "2026-03-02T10:00:00.000Z"}
    assert len({read_forge(body | {"target": {"id": number}})[0].key for number in (7, 8)}) == 2


def test_custom_content_in_a_space_is_in_that_space() -> None:
    content = {"id": 7, "type": "ac:x:y", "container": {"id": 1, "key": "ENG", "name": "Engineering"}}
    activity = read_forge({"eventType": "avi:confluence:created:custom_content", "content": content})[0]
    assert (activity.space_key, activity.space_name) == ("ENG", "Engineering")

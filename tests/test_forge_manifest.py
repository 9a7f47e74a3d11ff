"""The Forge app's manifest subscribes to exactly what the catalogue counts, and points at the worker's path."""

from __future__ import annotations

import re
from pathlib import Path

from uar.activity import Source
from uar.capture.catalog import catalog
from uar.confluence import cloud

# What developer.atlassian.com/cloud/confluence/rest says at each call.
SCOPES = {
    "/rest/api/group": '"read:confluence-groups"',
    "/rest/api/group/{quote(group.external_id, safe='')}/membersByGroupId": '"read:confluence-groups"',
    "/rest/api/search/user": '"read:content-details:confluence"',
    "/rest/api/user": '"read:confluence-user"',
    "/api/v2/users-bulk": '"read:user:confluence"',
    "/api/v2/spaces": '"read:space:confluence"',
}
MANIFEST = (Path(__file__).parent.parent / "forge" / "manifest.yml").read_text()


def listed(pattern: str) -> list[str]:
    return re.findall(pattern, MANIFEST, re.MULTILINE)


def test_the_manifest_lists_every_event_that_counts_and_no_other() -> None:
    counted = [name for (source, name), entry in catalog().items() if source is Source.FORGE and entry.is_activity]
    assert listed(r'^ +- "(avi:[^"]+)"$') == counted
    assert len(counted) == 79


def test_the_manifest_leads_from_the_trigger_to_the_path_of_the_worker() -> None:
    assert listed(r"^      endpoint: (\S+)$") == ["activity-endpoint"]
    assert listed(r"^        path: (\S+)$") == ["/webhooks/forge"]
    assert listed(r"^      remote: (\S+)$") == ["worker"]


def test_keys_are_short_enough_for_forge() -> None:
    # At most 23 characters for the keys of endpoints and remotes (developer.atlassian.com/platform/forge/manifest-reference).
    keys = listed(r"^ +- key: (\S+)$")
    assert keys == ["activity-events", "activity-endpoint", "worker"]
    assert all(len(key) <= 23 for key in keys)


def test_the_manifest_asks_for_the_scopes_of_its_events_and_of_the_directory() -> None:
    assert listed(r'^    - "((?:read|write):[^"]+)"') == [
        "read:app-system-token",
        "read:confluence-content.summary",
        "read:confluence-content.all",
        "write:confluence-content",
        "read:confluence-space.summary",
        "write:confluence-space",
        "read:confluence-user",
        "read:confluence-groups",
        "read:user:confluence",
        "read:space:confluence",
        "read:content-details:confluence",
    ]


def test_every_call_for_the_directory_of_a_cloud_site_has_its_scope() -> None:
    calls = set(re.findall(r'"(/(?:rest/api|api/v2)/[^"]+)"', Path(cloud.__file__).read_text()))
    assert {call: scope for call, scope in SCOPES.items() if scope in MANIFEST} == SCOPES
    assert calls == set(SCOPES)

"""Sites to sync: two small companies, one on Cloud, one on Data Center, and a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.confluence.fake_site import FakeCloud, FakeDataCenter, FakeSite, served
from uar.activity import Activity, ActivityType, Source, identity
from uar.config import Settings, load_settings
from uar.confluence.client import Patience
from uar.confluence.directory import SyncResult, sync
from uar.store.database import Engine, read_transaction, write_transaction
from uar.store.schema import groups, memberships, people, spaces
from uar.store.writes import record_activities

T0 = 1_780_000_000_000
HOUR = 3_600_000
# For tests of what is said over the line and in the log: what reaches the store is tested on both databases by the others.
ON_ONE_DATABASE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
QUICK = Patience(connect_s=1, read_s=0.5, answer_s=1, tries=3, pages=60)


@dataclass
class Bench:
    """A store, a clock that goes on by a millisecond at each look, and the settings of the sites under test."""

    store: Engine
    folder: Path
    now_ms: int = T0
    waits: list[float] = field(default_factory=list)
    sites: dict[str, tuple[str, str]] = field(default_factory=dict)

    def now(self) -> int:
        self.now_ms += 1
        return self.now_ms

    def add(self, name: str, site: FakeSite) -> None:
        self.sites[name] = (site.url, "admin@acme.example:api-token" if isinstance(site, FakeCloud) else "personal-token")

    @property
    def settings(self) -> Settings:
        environ = {
            "UAR_CONFLUENCE_URLS": " ".join(f"{name}={url}" for name, (url, _) in self.sites.items()),
            "UAR_CONFLUENCE_CREDENTIALS": " ".join(f"{name}={secret}" for name, (_, secret) in self.sites.items()),
        }
        return load_settings(environ, self.folder)

    @property
    def options(self) -> dict[str, Any]:
        return {"patience": QUICK, "sleep": self.waits.append}

    def sync(self, site: str | None = None, progress: Callable[[int, int], None] | None = None) -> SyncResult:
        """One sync, which must complete."""
        (result,) = sync(self.settings, self.store, site, progress, self.now, **self.options)
        assert result.error is None
        return result

    def failed_sync(self) -> str:
        """The sentence of a sync that must not complete."""
        (result,) = sync(self.settings, self.store, None, None, self.now, **self.options)
        assert result.error is not None
        return result.error

    def record(self, *found: Activity) -> None:
        with write_transaction(self.store) as connection:
            record_activities(connection, list(found))

    def rows(self, query: Any) -> list[Any]:
        with read_transaction(self.store) as connection:
            return list(connection.execute(query))

    def people(self) -> dict[str, tuple[str | None, str, str]]:
        """Account → name, kind, state."""
        columns = (people.c.account_id, people.c.display_name, people.c.kind, people.c.state)
        return {row[0]: tuple(row[1:]) for row in self.rows(select(*columns).where(people.c.id != 0))}

    def members(self) -> dict[str, set[str]]:
        """Group name → accounts."""
        found: dict[str, set[str]] = {name: set() for (name,) in self.rows(select(groups.c.name))}
        joined = memberships.join(groups, groups.c.id == memberships.c.group_id).join(people, people.c.id == memberships.c.person_id)
        for name, account in self.rows(select(groups.c.name, people.c.account_id).select_from(joined)):
            found[name].add(account)
        return found

    def everything(self) -> list[Any]:
        """All rows that a sync writes, but for the time of the sync itself."""
        kept = [column for column in people.columns if column.name != "synced_at"]
        queries = (select(*kept).order_by(people.c.id), select(groups).order_by(groups.c.id), select(spaces).order_by(spaces.c.id))
        return [self.rows(query) for query in queries] + [sorted(tuple(row) for row in self.rows(select(memberships)))]


@pytest.fixture
def bench(store: Engine, tmp_path: Path) -> Bench:
    return Bench(store, tmp_path)


@pytest.fixture
def cloud(bench: Bench) -> Iterator[FakeCloud]:
    """Five people in two groups, one found by the search only, and an app."""
    site = FakeCloud()
    site.add_user("a-1", "Ann", "confluence-users", "staff", email="ann@acme.example")
    site.add_user("a-2", "Bea", "confluence-users")
    site.add_user("a-3", "Cem (Deactivated)", "confluence-users")
    site.add_user("a-4", "Dan", "staff", "confluence-users", isGuest=True)
    site.add_user("a-5", "Eve", email="eve@acme.example")
    site.add_user("a-6", "Robot", "apps", accountType="app")
    site.searchable = ["a-1", "a-5", "a-2"]
    site.spaces = [{"id": str(number), "key": f"S{number}", "name": f"Space {number}", "type": "global"} for number in range(5)]
    with served(site):
        bench.add("acme", site)
        yield site


@pytest.fixture
def datacenter(bench: Bench) -> Iterator[FakeDataCenter]:
    """Four people in two groups."""
    site = FakeDataCenter()
    for number, name in enumerate(["Ann Smith", "Bea Young", "Cem Kaya", "Dan Hall"], start=1):
        site.add_user(f"key-{number}", name, "confluence-users", status="deactivated" if name == "Cem Kaya" else "current")
    site.groups["R&D / Lab"] = ["key-2"]
    site.spaces = [{"id": number, "key": f"S{number}", "name": f"Space {number}", "type": "global"} for number in range(3)]
    with served(site):
        bench.add("wiki", site)
        yield site


def activity(
    number: int,
    account: str | None,
    *,
    site: str = "acme",
    space: str | None = None,
    content: str | None = None,
    at: int = T0,
    source: Source = Source.FORGE,
) -> Activity:
    """One view by one account."""
    return Activity(
        site=site,
        source=source,
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

"""The one check after every fault: each acknowledged delivery is in the store exactly once, and the report equals a naive recount.

What was sent without an acknowledgement may be stored or not, but never twice; and a run in which nothing was acknowledged proves nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import text

from tests.reliability.sender import DAYS, SITE, Ledger, account, occurred_at
from uar.live import LiveMirror
from uar.report.days import calendar
from uar.report.selection import Selection
from uar.store.database import Engine, open_store, read_transaction
from uar.store.reads import find_site

ROWS = text(
    "SELECT a.content_id, a.occurred_at, p.account_id FROM activities a JOIN people p ON p.id = a.person_id"
    " JOIN sites s ON s.id = a.site_id WHERE s.name = :site"
)
ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns")


@dataclass(frozen=True)
class Verdict:
    """What became of the deliveries: numbers that are lost, stored twice, stored without having been sent, or stored with other values."""

    acked: int
    stored: int
    lost: list[int]
    twice: list[int]
    unknown: list[int]
    changed: list[int]

    @property
    def is_clean(self) -> bool:
        """Whether all four lists are empty."""
        return not any((self.lost, self.twice, self.unknown, self.changed))

    def __str__(self) -> str:
        found = {"lost": self.lost, "twice": self.twice, "never sent": self.unknown, "changed": self.changed}
        return f"{self.acked} acknowledged, {self.stored} stored; " + ", ".join(
            f"{name}: {len(which)} {which[:5]}" for name, which in found.items()
        )


def judge(engine: Engine, ledger: Ledger) -> Verdict:
    """Compares ledger and rows, number by number."""
    with read_transaction(engine) as connection:
        rows = [(int(row[0]), row[1], row[2]) for row in connection.execute(ROWS, {"site": SITE})]
    times = Counter(number for number, _, _ in rows)
    return Verdict(
        acked=len(ledger.acked),
        stored=len(rows),
        lost=sorted(ledger.acked - times.keys()),
        twice=sorted(number for number, count in times.items() if count > 1),
        unknown=sorted(times.keys() - ledger.sent),
        changed=sorted(number for number, at, who in rows if (at, who) != (occurred_at(number, ledger.newest), account(number))),
    )


def assert_nothing_lost(database_url: str, ledger: Ledger) -> None:
    """Fails unless every acknowledged delivery is in the store exactly once and the calendar equals a recount of the ledger's numbers."""
    assert ledger.acked, f"Nothing was acknowledged, so nothing is proven: {dict(ledger.statuses)}, {ledger.broken} broken connections"
    engine = open_store(database_url)
    try:
        verdict = judge(engine, ledger)
        assert verdict.is_clean, str(verdict)
        with read_transaction(engine) as connection:
            stored = {int(row[0]) for row in connection.execute(ROWS, {"site": SITE})}
            site_id = find_site(connection, SITE)
        assert site_id is not None
        for zone in ZONES:
            assert reported(engine, site_id, zone, ledger.newest) == recount(stored, zone, ledger.newest), f"the report differs in {zone}"
    finally:
        engine.dispose()


def reported(engine: Engine, site_id: int, zone: str, newest: int) -> dict[str, int]:
    """Events per local day, as the calendar shows them; quiet days left out."""
    snapshot = LiveMirror(engine, site_id, 0, None).refresh()
    last = datetime.fromtimestamp(newest / 1000, UTC).date() + timedelta(days=1)
    days = calendar(snapshot.mirror, Selection(last - timedelta(days=DAYS + 2), last, zone))
    return {str(day.date()): int(events) for day, events in zip(days["day"], days["events"], strict=True) if events}


def recount(numbers: set[int], zone: str, newest: int) -> dict[str, int]:
    """Events per local day, one delivery after the other."""
    place = ZoneInfo(zone)
    return dict(
        sorted(Counter(str(datetime.fromtimestamp(occurred_at(number, newest) / 1000, place).date()) for number in numbers).items())
    )


def stored_count(engine: Engine) -> int:
    """How many activities the store holds."""
    with read_transaction(engine) as connection:
        return int(connection.execute(text("SELECT count(*) FROM activities")).scalar_one())


def wait_stored(database_url: str, count: int, limit_s: float = 60.0) -> None:
    """Waits until the store holds so many activities."""
    engine = open_store(database_url)
    deadline = time.monotonic() + limit_s
    while stored_count(engine) < count:
        assert time.monotonic() < deadline, f"only {stored_count(engine)} of {count} are stored"
        time.sleep(0.05)
    engine.dispose()

"""The sample bodies and what each means, for every test that reads deliveries."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from uar.activity import Activity, Source
from uar.capture.delivery import Delivery
from uar.capture.sources import connect, datacenter, forge

SAMPLES = Path(__file__).parent.parent / "samples"
RECEIVED_AT = 1_795_500_000_000  # 2026-11-24T06:00:00Z
NORMALIZE = {Source.FORGE: forge.normalize, Source.CONNECT: connect.normalize, Source.DATACENTER: datacenter.normalize}


@dataclass(frozen=True)
class Sample:
    """One row of `expected.csv` with its body."""

    file: str
    source: Source
    event_name: str
    type: str
    activities: int
    account: str | None
    occurred_at: int | None
    body: bytes


def all_samples() -> list[Sample]:
    """Every sample, in the order of the table."""
    with (SAMPLES / "expected.csv").open(encoding="utf-8") as table:
        return [_sample(row) for row in csv.DictReader(table)]


def _sample(row: dict[str, str]) -> Sample:
    moment = row["occurred_at"]
    return Sample(
        file=row["file"],
        source=Source[row["source"].upper()],
        event_name=row["event_name"],
        type=row["type"],
        activities=int(row["activities"]),
        account=row["account"] or None,
        occurred_at=int(datetime.fromisoformat(moment).timestamp() * 1000 + 0.5) if moment else None,
        body=(SAMPLES / row["file"]).read_bytes(),
    )


def sample_body(file: str) -> dict[str, Any]:
    """The decoded body of one sample, to be changed by a test."""
    payload: dict[str, Any] = orjson.loads((SAMPLES / file).read_bytes())
    return payload


def delivery(source: Source, body: bytes | dict[str, Any], event_name: str | None = None, **changes: Any) -> Delivery:
    """A verified delivery of one site."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    values = {"site": "acme", "delivery_id": None, "received_at": RECEIVED_AT} | changes
    return Delivery(source=source, event_name=event_name, body=raw, **values)


def read(found: Delivery, *, store_titles: bool = False) -> list[Activity]:
    """The activities of a delivery."""
    return NORMALIZE[found.source](found, store_titles=store_titles)


def read_forge(payload: dict[str, Any] | bytes, **changes: Any) -> list[Activity]:
    """The activities of a Forge body."""
    return read(delivery(Source.FORGE, payload, **changes))


def read_connect(event_name: str, payload: dict[str, Any] | bytes, **changes: Any) -> list[Activity]:
    """The activities of a Cloud webhook's body."""
    return read(delivery(Source.CONNECT, payload, event_name, **changes))


def read_datacenter(payload: dict[str, Any] | bytes, **changes: Any) -> list[Activity]:
    """The activities of a Data Center body."""
    return read(delivery(Source.DATACENTER, payload, **changes))

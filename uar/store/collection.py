"""What the Collection page asks: how deliveries ended per source and site, and what lies in quarantine and why."""

from __future__ import annotations

import pandas as pd
from sqlalchemy import func, select

from uar.store.database import Connection
from uar.store.schema import deliveries, quarantine


def delivery_counts(connection: Connection, since_day: str) -> pd.DataFrame:
    """How deliveries ended since a UTC day (ISO 8601), and in any case when the last of each kind came.

    Columns: source int64, site str, outcome str, count int64 (since that day), last_at int64 (epoch milliseconds, of all days); ordered by
    source, site and outcome.
    """
    kind = (deliveries.c.source, deliveries.c.site, deliveries.c.outcome)
    recent = func.sum(deliveries.c.count).filter(deliveries.c.day >= since_day)
    rows = connection.execute(select(*kind, func.coalesce(recent, 0), func.max(deliveries.c.last_at)).group_by(*kind).order_by(*kind)).all()
    return _frame([tuple(row) for row in rows], {"source": "int64", "site": "str", "outcome": "str", "count": "int64", "last_at": "int64"})


def quarantine_reasons(connection: Connection) -> pd.DataFrame:
    """What lies in quarantine, most first.

    Columns: source int64, site str, event_name str (empty: it names none), reason str, count int64, last_at int64 (epoch milliseconds).
    """
    name = func.coalesce(quarantine.c.event_name, "")
    kind = (quarantine.c.source, quarantine.c.site, name, quarantine.c.reason)
    count = func.count()
    rows = connection.execute(select(*kind, count, func.max(quarantine.c.received_at)).group_by(*kind).order_by(count.desc(), *kind)).all()
    types = {"source": "int64", "site": "str", "event_name": "str", "reason": "str", "count": "int64", "last_at": "int64"}
    return _frame([tuple(row) for row in rows], types)


def _frame(rows: list[tuple[object, ...]], types: dict[str, str]) -> pd.DataFrame:
    # An empty result would have object columns throughout.
    return pd.DataFrame(rows, columns=list(types)).astype(types)

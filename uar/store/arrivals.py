"""When deliveries last came, for the worker's child, which loads no pandas (`uar.store.collection` has the same for a page)."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from uar.activity import Source
from uar.store.schema import deliveries


def last_arrivals(connection: Connection) -> dict[Source, int]:
    """When the last genuine delivery of each source was counted, of those that ever had one; epoch milliseconds."""
    is_genuine = ~deliveries.c.outcome.startswith("refused")
    found = select(deliveries.c.source, func.max(deliveries.c.last_at)).where(is_genuine).group_by(deliveries.c.source)
    return {Source(source): int(last_at) for source, last_at in connection.execute(found)}

"""The tables of the store, the same on SQLite and PostgreSQL. Made and changed only by `migrations/`.

Instants are epoch milliseconds, UTC. Codes: `activities.type` is `ActivityType`, `activities.source` is `Source`. Id 0 of `people`
and of `spaces` is "unknown"; both rows always exist. There are no foreign keys on `activities`: rows arrive in bulk, and a distributed
PostgreSQL (Citus) could not keep them; its keys all hold `person_id` for the same reason.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

UNKNOWN_ID = 0

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    # Only INTEGER PRIMARY KEY is SQLite's own row id; PostgreSQL gets eight bytes (sqlite.org/lang_createtable.html#rowid).
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


# One Confluence site. A Cloud site is known by name (settings) and by cloud id (Forge); both find the same row.
sites = Table(
    "sites",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("cloud_id", Text, unique=True),
    Column("base_url", Text),
)

# One account of a site: person, app or guest. `first_active_at` and `last_active_at` outlive the pruning of activities.
people = Table(
    "people",
    metadata,
    _id(),
    Column("site_id", BigInteger, nullable=False),
    Column("account_id", Text),  # NULL: the unknown person
    Column("display_name", Text),
    Column("email", Text),
    Column("kind", Text, nullable=False, server_default="person"),  # ActorKind
    Column("state", Text, nullable=False, server_default="active"),  # active, deactivated, invited, deleted
    Column("created_at", BigInteger),  # the account's own creation, if the directory tells it
    Column("first_seen_at", BigInteger, nullable=False),  # when this row was made
    Column("first_active_at", BigInteger),
    Column("last_active_at", BigInteger),
    Column("last_type", SmallInteger),  # ActivityType of the last activity
    Column("atlassian_last_seen_at", BigInteger),  # from Atlassian's own users export
    Column("synced_at", BigInteger),  # when the directory last told about this account
    UniqueConstraint("site_id", "account_id"),
)

groups = Table(
    "groups",
    metadata,
    _id(),
    Column("site_id", BigInteger, nullable=False),
    Column("external_id", Text, nullable=False),  # group id (Cloud) or name (Data Center)
    Column("name", Text, nullable=False),
    UniqueConstraint("site_id", "external_id"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("group_id", BigInteger, primary_key=True, autoincrement=False),
    Column("person_id", BigInteger, primary_key=True, autoincrement=False),
    Index(None, "person_id"),
)

spaces = Table(
    "spaces",
    metadata,
    _id(),
    Column("site_id", BigInteger, nullable=False),
    Column("space_key", Text),  # NULL: the unknown space
    Column("external_id", Text),
    Column("name", Text),
    UniqueConstraint("site_id", "space_key"),
)

# Which space a page belongs to, looked up by REST for sources that send ids only (Data Center).
contents = Table(
    "contents",
    metadata,
    Column("site_id", BigInteger, primary_key=True, autoincrement=False),
    Column("content_id", Text, primary_key=True),
    Column("space_id", BigInteger, nullable=False),
    Column("looked_up_at", BigInteger, nullable=False),
)

event_names = Table("event_names", metadata, _id(), Column("name", Text, nullable=False, unique=True))

# One row per act. On PostgreSQL the primary key is (person_id, id), see the module's docstring; only the migration can say so, as SQLite's
# own row id must be the whole primary key. AUTOINCREMENT never gives an id twice, so "id greater than the last I have" stays true after a
# deletion (sqlite.org/autoinc.html). Two indexes are all that 400 million rows can afford on SQLite: one for the keys, one for time lines.
activities = Table(
    "activities",
    metadata,
    _id(),
    Column("site_id", Integer, nullable=False),
    Column("person_id", BigInteger, nullable=False),
    Column("space_id", BigInteger, nullable=False),
    Column("event_name_id", Integer, nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("source", SmallInteger, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("is_event_time", SmallInteger, nullable=False),  # 0: the arrival time stands in
    Column("content_id", Text),
    Column("title", Text),
    Column("act", BigInteger),  # what twins share: a hash of the act, its lowest bit 1 on the vaguer notice; NULL: cannot have a twin
    Column("key", LargeBinary(16), nullable=False),
    UniqueConstraint("person_id", "key"),
    Index(None, "person_id", "occurred_at"),
    Index(None, "site_id", "id").ddl_if(dialect="postgresql"),  # SQLite reads a range of ids by itself
    sqlite_autoincrement=True,
)

# What a sender proved to be its own but nobody could read or count: kept whole, shown on the Collection page, replayable.
quarantine = Table(
    "quarantine",
    metadata,
    _id(),
    Column("source", SmallInteger, nullable=False),
    Column("site", Text, nullable=False),
    Column("event_name", Text),
    Column("delivery_id", Text),
    Column("received_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("key", LargeBinary(16), nullable=False, unique=True),
)

# When a worker was up: one row per run of a worker, `ended_at` moved forward while it runs.
coverage = Table(
    "coverage",
    metadata,
    _id(),
    Column("worker", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
)

# How deliveries ended, per source, site, UTC day and outcome (accepted, duplicate, refused, quarantined …), for the Collection page.
deliveries = Table(
    "deliveries",
    metadata,
    Column("source", SmallInteger, primary_key=True, autoincrement=False),
    Column("site", Text, primary_key=True),
    Column("day", Text, primary_key=True),  # UTC date, ISO 8601
    Column("outcome", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
)

# Who exported or unmasked what.
audit = Table(
    "audit",
    metadata,
    _id(),
    Column("at", BigInteger, nullable=False),
    Column("viewer", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

# `generation` grows whenever rows a mirror may hold were changed or removed; a mirror that sees another one reloads. Pruning moves
# `kept_from` instead: a mirror drops what is older.
meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

"""The first tables, the two unknown rows and the view for BI tools.

Spelled out rather than taken from `uar.store.schema`, which goes on changing; a test compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make everything, in one transaction."""
    _sites_and_people()
    _groups()
    _names()
    _activities()
    _quarantine()
    _collection()
    _first_rows()
    op.execute(VIEWS[op.get_context().dialect.name])


def _sites_and_people() -> None:
    op.create_table(
        "sites",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("cloud_id", sa.Text),
        sa.Column("base_url", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_sites"),
        sa.UniqueConstraint("name", name="uq_sites_name"),
        sa.UniqueConstraint("cloud_id", name="uq_sites_cloud_id"),
    )
    op.create_table(
        "people",
        sa.Column("id", ID, nullable=False),
        sa.Column("site_id", sa.BigInteger, nullable=False),
        sa.Column("account_id", sa.Text),
        sa.Column("display_name", sa.Text),
        sa.Column("email", sa.Text),
        sa.Column("kind", sa.Text, nullable=False, server_default="person"),
        sa.Column("state", sa.Text, nullable=False, server_default="active"),
        sa.Column("created_at", sa.BigInteger),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
        sa.Column("first_active_at", sa.BigInteger),
        sa.Column("last_active_at", sa.BigInteger),
        sa.Column("last_type", sa.SmallInteger),
        sa.Column("atlassian_last_seen_at", sa.BigInteger),
        sa.Column("synced_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_people"),
        sa.UniqueConstraint("site_id", "account_id", name="uq_people_site_id_account_id"),
    )


def _groups() -> None:
    op.create_table(
        "groups",
        sa.Column("id", ID, nullable=False),
        sa.Column("site_id", sa.BigInteger, nullable=False),
        sa.Column("external_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_groups"),
        sa.UniqueConstraint("site_id", "external_id", name="uq_groups_site_id_external_id"),
    )
    op.create_table(
        "memberships",
        sa.Column("group_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("person_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("group_id", "person_id", name="pk_memberships"),
    )
    op.create_index("ix_memberships_person_id", "memberships", ["person_id"])


def _names() -> None:
    op.create_table(
        "spaces",
        sa.Column("id", ID, nullable=False),
        sa.Column("site_id", sa.BigInteger, nullable=False),
        sa.Column("space_key", sa.Text),
        sa.Column("external_id", sa.Text),
        sa.Column("name", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_spaces"),
        sa.UniqueConstraint("site_id", "space_key", name="uq_spaces_site_id_space_key"),
    )
    op.create_table(
        "contents",
        sa.Column("site_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("content_id", sa.Text, nullable=False),
        sa.Column("space_id", sa.BigInteger, nullable=False),
        sa.Column("looked_up_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("site_id", "content_id", name="pk_contents"),
    )
    op.create_table(
        "event_names",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event_names"),
        sa.UniqueConstraint("name", name="uq_event_names_name"),
    )


def _activities() -> None:
    op.create_table(
        "activities",
        *_activity_keys(),
        sa.Column("site_id", sa.Integer, nullable=False),
        sa.Column("person_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("space_id", sa.BigInteger, nullable=False),
        sa.Column("event_name_id", sa.Integer, nullable=False),
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("source", sa.SmallInteger, nullable=False),
        sa.Column("occurred_at", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("is_event_time", sa.SmallInteger, nullable=False),
        sa.Column("content_id", sa.Text),
        sa.Column("title", sa.Text),
        sa.Column("act", sa.BigInteger),
        sa.Column("key", sa.LargeBinary(16), nullable=False),
        sa.UniqueConstraint("person_id", "key", name="uq_activities_person_id_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_activities_person_id_occurred_at", "activities", ["person_id", "occurred_at"])
    if _is_postgresql():
        op.create_index("ix_activities_site_id_id", "activities", ["site_id", "id"])


def _activity_keys() -> tuple[sa.Column[int], sa.PrimaryKeyConstraint]:
    if _is_postgresql():
        number = sa.Column("id", sa.BigInteger, sa.Identity(always=False), nullable=False)
        return number, sa.PrimaryKeyConstraint("person_id", "id", name="pk_activities")
    return sa.Column("id", sa.Integer, nullable=False), sa.PrimaryKeyConstraint("id", name="pk_activities")


def _is_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _quarantine() -> None:
    op.create_table(
        "quarantine",
        sa.Column("id", ID, nullable=False),
        sa.Column("source", sa.SmallInteger, nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("event_name", sa.Text),
        sa.Column("delivery_id", sa.Text),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("key", sa.LargeBinary(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
        sa.UniqueConstraint("key", name="uq_quarantine_key"),
    )


def _collection() -> None:
    op.create_table(
        "coverage",
        sa.Column("id", ID, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_coverage"),
    )
    op.create_table(
        "deliveries",
        sa.Column("source", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("source", "site", "day", "outcome", name="pk_deliveries"),
    )
    op.create_table(
        "audit",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("viewer", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )


def _first_rows() -> None:
    op.execute("INSERT INTO people (id, site_id, kind, state, first_seen_at) VALUES (0, 0, 'person', 'active', 0)")
    op.execute("INSERT INTO spaces (id, site_id) VALUES (0, 0)")
    op.execute("INSERT INTO meta (name, value) VALUES ('generation', '1')")


def _words(column: str, *words: tuple[int, str]) -> str:
    return f"CASE {column} " + " ".join(f"WHEN {code} THEN '{word}'" for code, word in words) + " END"


TYPE_WORDS = tuple(enumerate(("view", "create", "update", "delete", "comment", "like", "attachment", "label", "space", "other")))
SOURCE_WORDS = tuple(
    enumerate(("forge", "connect", "datacenter", "import", "demo", "backfill", "access_log", "pipeline"), start=1),
)


def _view(instant: str) -> str:
    """The view `activity_log`; `instant` is a SQL expression that writes the epoch milliseconds `{at}` as ISO 8601."""
    return f"""
        CREATE VIEW activity_log AS
        SELECT activities.id AS id, sites.name AS site, {_words("activities.source", *SOURCE_WORDS)} AS source,
            event_names.name AS event, {_words("activities.type", *TYPE_WORDS)} AS type,
            people.account_id AS person, spaces.space_key AS space, activities.content_id AS content_id,
            {instant.format(at="activities.occurred_at")} AS occurred_at,
            {instant.format(at="activities.received_at")} AS received_at,
            CASE WHEN activities.is_event_time = 1 THEN 'event' ELSE 'arrival' END AS time_from
        FROM activities
        JOIN sites ON sites.id = activities.site_id
        JOIN event_names ON event_names.id = activities.event_name_id
        LEFT JOIN people ON people.id = activities.person_id
        LEFT JOIN spaces ON spaces.id = activities.space_id
    """


# Whole seconds and milliseconds apart, both integers: no instant passes through a floating-point number and gets rounded.
VIEWS = {
    "sqlite": _view("strftime('%Y-%m-%dT%H:%M:%S', {at} / 1000, 'unixepoch') || printf('.%03dZ', {at} % 1000)"),
    "postgresql": _view(
        "to_char(to_timestamp({at} / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS') "
        "|| '.' || lpad(({at} % 1000)::text, 3, '0') || 'Z'"
    ),
}

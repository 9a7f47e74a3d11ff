"""Is data arriving? What a delivery meets on its way, gathered from store and spool, and what to do where it stops.

collect -> Collection -> advice (sentences with remedies)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd

from uar.activity import Source
from uar.capture.delivery import ANOTHER_BODY, UNKNOWN_SITE
from uar.capture.spool import SpoolBroken, Waiting, waiting
from uar.capture.spool_file import is_low
from uar.config import Settings
from uar.report.coverage import Gap, gaps
from uar.store.collection import delivery_counts, quarantine_reasons
from uar.store.database import Engine, read_transaction
from uar.store.reads import coverage, site_names
from uar.store.sync_state import Attempt, attempts

DAYS = 7
AWAY_MS = 2 * 60_000  # a worker tells every 30 s that it is up
OLD_MS = 5 * 60_000
QUIET_MS = 3 * 86_400_000  # a weekend is not long
FULL_SHARE = 0.8
LABELS = {Source.FORGE: "Forge app", Source.CONNECT: "Cloud webhooks", Source.DATACENTER: "Data Center"}
REFUSED = "refused"


@dataclass(frozen=True)
class Collection:
    """The state of the collection at `now` (epoch milliseconds).

    `deliveries` as from `delivery_counts` over the last `DAYS` days, `reasons` as from `quarantine_reasons`. `spool` is None where this
    machine has none (the worker runs elsewhere) or it cannot be read. `worker_seen_at` is None if no worker was ever up. `failed_syncs` are
    the sites whose directory could not be read the last time.
    """

    now: int
    deliveries: pd.DataFrame
    reasons: pd.DataFrame
    gaps: tuple[Gap, ...]
    worker_seen_at: int | None
    spool: Waiting | None
    spool_limit_mb: int
    failed_syncs: tuple[Attempt, ...] = ()


@dataclass(frozen=True)
class Advice:
    """One sentence on what is wrong and what to do; `is_urgent` where deliveries are lost or will be."""

    sentence: str
    is_urgent: bool


def collect(engine: Engine, settings: Settings, now: int) -> Collection:
    """Reads everything; `now` in epoch milliseconds. Raises the store's exceptions."""
    since = (datetime.fromtimestamp(now / 1000, UTC) - timedelta(days=DAYS - 1)).date().isoformat()
    with read_transaction(engine) as connection:
        counts, reasons, runs = delivery_counts(connection, since), quarantine_reasons(connection), coverage(connection)
        names = {*site_names(connection)["name"], *settings.confluence_urls}  # a site may have had another name at an earlier try
        failed = tuple(attempt for attempt in attempts(connection) if attempt.error and attempt.site in names)
    ended = runs.loc[runs["started_at"] <= now, "ended_at"]  # a clock that was ahead noted what is still to come
    seen_at = None if ended.empty else min(now, int(ended.max()))
    return Collection(now, counts, reasons, gaps(runs, now), seen_at, _waiting(settings), settings.spool_limit_mb, failed)


def _waiting(settings: Settings) -> Waiting | None:
    if not settings.spool_path.is_file():
        return None
    try:
        return waiting(settings.spool_path)
    except SpoolBroken:
        return None


def _label(code: int) -> str:
    return LABELS.get(Source(code), Source(code).key)


def by_source(state: Collection) -> pd.DataFrame:
    """One row per source and site that ever delivered or was refused, ordered by both.

    Columns: source str, site str, last_at int64 (of the last genuine delivery, epoch milliseconds; 0: none), delivered, duplicates,
    ignored, quarantined, refused int64 (all five over the last days; delivered are the genuine ones).
    """
    rows = []
    for (code, site), part in state.deliveries.groupby(["source", "site"], sort=True):
        is_refused = part["outcome"].str.startswith(REFUSED)
        genuine, counted = part[~is_refused], part.groupby("outcome")["count"].sum()
        rows.append(
            {
                "source": _label(int(str(code))),
                "site": site,
                "last_at": 0 if genuine.empty else int(genuine["last_at"].max()),
                "delivered": int(genuine["count"].sum()),
                "duplicates": int(counted.get("duplicate", 0)),
                "ignored": int(counted.get("ignored", 0)),
                "quarantined": int(counted.get("quarantined", 0)),
                "refused": int(part.loc[is_refused, "count"].sum()),
            }
        )
    types = {"source": "str", "site": "str", "last_at": "int64"}
    types |= dict.fromkeys(("delivered", "duplicates", "ignored", "quarantined", "refused"), "int64")
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def refusals(state: Collection) -> pd.DataFrame:
    """Why senders were refused over the last days, most first. Columns: source str, site str, reason str, count int64, last_at int64."""
    found = state.deliveries[state.deliveries["outcome"].str.startswith(REFUSED) & (state.deliveries["count"] > 0)]
    reasons = found["outcome"].str.removeprefix(REFUSED).str.removeprefix(": ").replace("", "the proof was wrong")
    shown = found.assign(source=found["source"].map(_label), reason=reasons)
    return shown.sort_values("count", ascending=False, kind="stable")[["source", "site", "reason", "count", "last_at"]].reset_index(
        drop=True
    )


def advice(state: Collection, settings: Settings) -> list[Advice]:
    """What is wrong and what to do about it, the most urgent first; empty if all is well."""
    found = [*_of_worker(state, settings), *_of_spool(state), *_of_sources(state, settings), *_of_quarantine(state), *_of_directory(state)]
    return sorted(found, key=lambda one: not one.is_urgent)


def _of_worker(state: Collection, settings: Settings) -> Iterator[Advice]:
    if not settings.has_source():
        yield Advice(
            "No source is configured, so nothing can arrive. Set UAR_FORGE_APP_ID, UAR_DATACENTER_SECRETS or UAR_CONNECT_TOKENS "
            "(docs/connect.md says how) and start the worker again.",
            False,
        )
    if state.worker_seen_at is None:
        yield Advice("No worker has ever been up. Start it with python -m uar up, or python -m uar worker beside this dashboard.", True)
    elif state.now - state.worker_seen_at > AWAY_MS:
        yield Advice(
            "No worker has told the store that it is up for some minutes. If it does not run, start it: Data Center does not send again. "
            "If it runs, it cannot reach the store; then deliveries wait in its spool.",
            True,
        )


def _of_spool(state: Collection) -> Iterator[Advice]:
    if state.spool is None:
        return
    if is_low(state.spool.free_share):
        yield Advice("The disk of UAR_DATA_DIR is nearly full. Once it is full senders get 503: make room.", True)
    if state.spool.bytes > FULL_SHARE * state.spool_limit_mb * 1024 * 1024:
        yield Advice("The spool is nearly full. Above its limit senders get 503: bring the store back or raise UAR_SPOOL_LIMIT_MB.", True)
    elif state.spool.oldest_at is not None and state.now - state.spool.oldest_at > OLD_MS:
        yield Advice("Deliveries wait in the spool for minutes: the store is slow or cannot be reached. Nothing is lost meanwhile.", False)


def _of_sources(state: Collection, settings: Settings) -> Iterator[Advice]:
    if state.deliveries.empty:
        if settings.has_source():
            yield Advice(
                "Nothing has ever arrived. Check the address and the secret in Confluence; docs/connect.md has a command to test both.",
                False,
            )
        return
    refused = refusals(state)
    for row in by_source(state).to_dict("records"):
        where = f"{row['source']} ({row['site']})" if row["site"] else str(row["source"])
        reasons = refused.loc[(refused["source"] == row["source"]) & (refused["site"] == row["site"]), "reason"]
        if len(reasons) and (reasons == UNKNOWN_SITE).all():
            yield Advice(f"{where}: senders were refused, as their address names a site that no secret is set for.", False)
        elif row["refused"]:
            yield Advice(f"{where}: senders were refused, see the reasons below. Usually a secret was changed on one side only.", False)
        if row["last_at"] and state.now - row["last_at"] > QUIET_MS:
            yield Advice(
                f"{where}: nothing has come for more than three days. Look whether the webhook or the app is still active in Confluence.",
                False,
            )


def _of_quarantine(state: Collection) -> Iterator[Advice]:
    is_forged = state.reasons["reason"] == ANOTHER_BODY
    if (state.now - state.reasons["last_at"][is_forged] < DAYS * 24 * 3_600_000).any():
        yield Advice(
            "A Forge token came again with another body: somebody may see what Atlassian sends and add to it. Look where between Atlassian "
            "and the worker the Authorization header can be read (a proxy's log, a hop without TLS). What was added stays in quarantine "
            "and is never counted, not by python -m uar replay either.",
            True,
        )
    if not is_forged.all():
        yield Advice(
            "Some deliveries could not be read or have a name that this release does not know. They are kept whole: after an upgrade, "
            "python -m uar replay reads them again.",
            False,
        )


def _of_directory(state: Collection) -> Iterator[Advice]:
    for attempt in state.failed_syncs:
        yield Advice(f"The directory of {attempt.site} could not be read. {attempt.error}", False)

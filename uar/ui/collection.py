"""The Collection page: is data arriving, from whom, what was refused or set aside and why, when was nothing recorded, and what to do."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from uar.activity import Source
from uar.collection import DAYS, LABELS, Collection, advice, by_source, collect, refusals
from uar.config import Settings
from uar.report.coverage import Gap
from uar.store.database import StoreError, StoreUnavailable
from uar.ui import data, timezones
from uar.ui.theme import page_rules, palette
from uar.ui.words import ago, counted, plain, quiet

SHOWN_GAPS = 50


def show_collection() -> None:
    """Draw the page; it keeps itself up to date."""
    st.html(page_rules(palette(st.context.theme.type)))
    st.title("Collection", anchor=False)
    st.markdown(quiet("Whether deliveries arrive, what became of them, and when nothing was recorded."))
    _live()


@st.fragment(run_every=10)
def _live() -> None:
    try:
        settings = data.settings()
        state = collect(data.store(), settings, time.time_ns() // 1_000_000)
    except (data.OutOfOrder, StoreError, StoreUnavailable) as error:
        st.error(plain(str(error)), icon=":material/cloud_off:")
        return
    zone = timezones.current_name(st.context.timezone) or settings.timezone
    _advice(state, settings)
    _numbers(state)
    _sources(state)
    _refused(state)
    _quarantine(state)
    _gaps(state, zone)


def _advice(state: Collection, settings: Settings) -> None:
    found = advice(state, settings)
    if not found:
        st.success("All is well: a worker is up, and what it takes reaches the store.", icon=":material/check_circle:")
    for one in found:
        (st.error if one.is_urgent else st.warning)(plain(one.sentence), icon=":material/error:" if one.is_urgent else ":material/warning:")


def _numbers(state: Collection) -> None:
    for name, value, note in numbers(state):
        st.markdown(f"**{plain(name)}:** {plain(value)}. {plain(note)}")


def numbers(state: Collection) -> list[tuple[str, str, str]]:
    """Worker and spool: name, value, what it means."""
    seen = "never" if state.worker_seen_at is None else ago((state.now - state.worker_seen_at) / 1000)
    shown = [("Last sign of a worker", seen, "It tells twice a minute that it is up.")]
    if state.spool is None:
        return [*shown, ("Spool", "not on this machine", "Its depth is in the worker's metrics.")]
    since = "" if state.spool.oldest_at is None else f", the oldest since {ago((state.now - state.spool.oldest_at) / 1000)}"
    return [
        *shown,
        ("Spool", f"{counted(state.spool.count, 'delivery', 'deliveries')}{since}", "They wait there until the store has them."),
    ]


def _sources(state: Collection) -> None:
    st.header("Sources", anchor=False)
    shown = source_table(state)
    if shown.empty:
        st.markdown("Nothing has arrived yet.")
        return
    st.dataframe(shown, hide_index=True, alt="Deliveries per source and site")
    st.markdown(
        quiet(
            f"Counts are of the last {DAYS} days. Duplicates came again and count once; ignored events are no activity of a person; "
            "refused ones had no valid proof and left nothing behind."
        )
    )


def source_table(state: Collection) -> pd.DataFrame:
    """One row per source and site, as shown."""
    found = by_source(state)
    last = [ago((state.now - at) / 1000) if at else "never" for at in found["last_at"]]
    columns = {"Source": found["source"], "Site": found["site"].replace("", "–"), "Last delivery": last, "Delivered": found["delivered"]}
    return pd.DataFrame(columns | {name.capitalize(): found[name] for name in ("duplicates", "ignored", "quarantined", "refused")})


def _refused(state: Collection) -> None:
    found = refusals(state)
    if found.empty:
        return
    st.header("Refused", anchor=False)
    st.dataframe(reason_table(found, state.now), hide_index=True, alt="Why senders were refused")
    st.markdown(quiet("A wrong secret on one side is the usual cause: compare both. Nothing of a refused call is kept."))


def _quarantine(state: Collection) -> None:
    if state.reasons.empty:
        return
    st.header("In quarantine", anchor=False)
    named = state.reasons.assign(source=[LABELS.get(Source(source), Source(source).key) for source in state.reasons["source"]])
    st.dataframe(reason_table(named, state.now), hide_index=True, alt="Deliveries that could not be read, and why")
    st.markdown(
        quiet("Genuine, but not readable or not known to this release. They are kept whole; python -m uar replay reads them again.")
    )


def reason_table(found: pd.DataFrame, now: int) -> pd.DataFrame:
    """Source, site, event (if there is one), reason, count and when the last one came, as shown."""
    columns = {"Source": found["source"], "Site": found["site"].replace("", "–")}
    if "event_name" in found:
        columns["Event"] = found["event_name"].replace("", "–")
    last = [ago((now - at) / 1000) for at in found["last_at"]]
    return pd.DataFrame(columns | {"Reason": found["reason"], "Count": found["count"], "Last": last})


def _gaps(state: Collection, zone: str) -> None:
    st.header("Gaps in recording", anchor=False)
    if not state.gaps:
        st.markdown("None of a quarter of an hour or more since the first start of a worker.")
        return
    st.dataframe(gap_table(state.gaps, zone), hide_index=True, alt="Times without recording")
    st.markdown(
        quiet(
            "No worker was up. Such days are hatched in the calendar if nothing else is known of them, and a streak goes on across them. "
            "What Confluence still knows of them can be brought in with python -m uar import."
        )
    )


def gap_table(found: tuple[Gap, ...], zone: str) -> pd.DataFrame:
    """The newest gaps first: from, to and length, as shown."""
    newest = sorted(found, reverse=True)[:SHOWN_GAPS]
    return pd.DataFrame(
        {
            "From": [_minute(gap.since, zone) for gap in newest],
            "To": [_minute(gap.until, zone) for gap in newest],
            "Hours": [round((gap.until - gap.since) / 3_600_000, 1) for gap in newest],
        }
    )


def _minute(at: int, zone: str) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")

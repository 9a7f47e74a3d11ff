"""The page before there is anything to show: connect a source, wait for the first event, or look around in the sample site."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import streamlit as st

from uar.config import Settings
from uar.demo import SITE as SAMPLE_SITE
from uar.demo import load_demo
from uar.store.database import StoreError, StoreUnavailable
from uar.ui import data
from uar.ui.words import counted, plain, quiet
from uar.up import address

SAMPLE_ICON = ":material/science:"
LISTEN_S = 2.0
WIDTH_PX = 960  # longer lines are hard to read
SAMPLE_TEXT = "200 invented people and 14 months of activity. It becomes a site of its own beside yours."
TEST_NOTE = "It reads the secret from your shell's environment and counts as one event of the account `test-delivery`."


def show_setup(settings: Settings, site: str | None, known: int) -> None:
    """Draw the steps. The first event of `site` makes the page appear by itself, or that of any site as long as there is none.

    `known` people may be there already, from a directory.
    """
    with st.container(width=WIDTH_PX):
        if known:
            people = counted(known, "person", "people")
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.markdown(f"No event has arrived yet. {people} of the directory can be seen already:", width="content")
                st.page_link("pages/user_status.py", label="User Status", icon=":material/group:", width="content")
        with st.container(border=True):
            _first_step(settings, site)
        with st.container(border=True):
            st.header("Or look around first", anchor=False)
            st.markdown(SAMPLE_TEXT)
            if st.button("Load the sample site", icon=":material/dataset:", key="setup.sample"):
                _load_sample()


def show_sample_note(settings: Settings) -> None:
    """Say that what is shown is invented, and how to see the own site instead."""
    own = _sites_with_data(data.FRESH_FOR_S)
    if own:
        st.info(
            f"**Sample data.** People and activity are invented. Your own data is at “Site”: {plain(', '.join(own))}.", icon=SAMPLE_ICON
        )
        return
    with st.expander("**Sample data.** People and activity are invented. See how to connect your Confluence.", icon=SAMPLE_ICON):
        _first_step(settings, None)


def _first_step(settings: Settings, site: str | None) -> None:
    if settings.has_source():
        st.header("Waiting for the first event", anchor=False)
        _connected(settings)
        _listening(site)
    else:
        st.header("Connect Confluence", anchor=False)
        _how_to_connect()


def show_first_event() -> None:
    """Say once that the first event has arrived."""
    site = st.session_state.pop("setup.first_event", None)
    if site:
        st.success(
            f"First event received from the site **{plain(site)}**. From now on this page fills by itself.", icon=":material/check_circle:"
        )


def _how_to_connect() -> None:
    st.markdown(
        "Set one of these, as environment variables or in `uar.toml`, and start again. Several may be set at once.\n\n"
        "| Confluence | setting | value |\n|---|---|---|\n"
        "| Data Center | `UAR_DATACENTER_SECRETS` | `wiki=` and a long random secret |\n"
        "| Cloud, with the Forge app | `UAR_FORGE_APP_ID` | the id in `forge/manifest.yml` |\n"
        "| Cloud, webhooks of an admin | `UAR_CONNECT_TOKENS` | `acme=` and a long random token |\n\n"
        "`wiki` and `acme` are the names of your sites. `openssl rand -hex 32` makes a secret. Then this page shows the address."
    )


def _connected(settings: Settings) -> None:
    base = address(settings.worker_host, settings.worker_port)
    st.markdown(f"Confluence must reach the worker. If others than this machine deliver, put your HTTPS address in place of `{base}`.")
    for site in dict.fromkeys(name for name, _ in settings.datacenter_secrets):
        _source(
            f"Data Center site {site}", f"{base}/webhooks/datacenter/{site}", "Register this address as a webhook, with the same secret:"
        )
        _command(_datacenter_command(base, site))
    for site in dict.fromkeys(name for name, _ in settings.connect_tokens):
        _source(f"Cloud site {site}", f"{base}/webhooks/connect/{site}/<event>?token=<token>", "Register this address once per event:")
        _command(_connect_command(base, site))
    if settings.forge_app_id:
        _source(
            "Cloud with the Forge app", f"{base}/webhooks/forge", "Set this address as the remote in `forge/manifest.yml`, then deploy:"
        )
        st.markdown(quiet("Only Atlassian can sign for it: view any page in Confluence, and the first event arrives within three minutes."))


def _source(title: str, url: str, instruction: str) -> None:
    st.subheader(plain(title), anchor=False)
    st.markdown(instruction)
    st.code(url, language=None)


def _command(command: str) -> None:
    st.markdown(f"Or send a signed test delivery now. {TEST_NOTE}")
    st.code(command, language=None, wrap_lines=True)  # colored, its words are too pale


def _datacenter_command(base: str, site: str) -> str:
    return (
        f"{_secret_of('SECRET', 'UAR_DATACENTER_SECRETS', site)}\n"
        """BODY='{"event":"page_created","timestamp":'$(date +%s)'000,"userKey":"test-delivery","page":{"id":1}}'\n"""
        """SIGNATURE=$(printf %s "$BODY" | openssl dgst -sha256 -hmac "$SECRET" | sed 's/^.*= *//')\n"""
        f"curl -i -X POST {base}/webhooks/datacenter/{site} -H 'Content-Type: application/json' \\\n"
        """  -H "X-Hub-Signature: sha256=$SIGNATURE" -d "$BODY\""""
    )


def _connect_command(base: str, site: str) -> str:
    return (
        f"{_secret_of('TOKEN', 'UAR_CONNECT_TOKENS', site)}\n"
        f"curl -i -X POST \"{base}/webhooks/connect/{site}/page_viewed?token=$TOKEN\" -H 'Content-Type: application/json' \\\n"
        """  -d '{"timestamp":'$(date +%s)'000,"userAccountId":"test-delivery","page":{"id":1,"spaceKey":"TEST"}}'"""
    )


def _secret_of(name: str, variable: str, site: str) -> str:
    pattern = site.replace(".", r"\.")
    return f""": "${{{variable}:?is what the worker was started with; set it in this shell too}}"
{name}=$(printf '%s' "${variable}" | tr ' ' '\\n' | sed -n 's/^{pattern}=//p' | head -n 1)"""


@st.fragment(run_every=LISTEN_S)
def _listening(site: str | None) -> None:
    """Runs the page again only when that changes what it shows: another site's events would have it run for ever."""
    try:
        arrived = [name for name in _sites_with_data(LISTEN_S) if site in (None, name)]
    except data.OutOfOrder as error:
        st.warning(plain(str(error)), icon=":material/cloud_off:")
        return
    if arrived:
        st.session_state["setup.first_event"] = arrived[0]
        st.rerun()
    st.markdown(":material/sensors: Listening. This page changes by itself as soon as the first event is here.")


def _sites_with_data(max_age_s: float) -> list[str]:
    """The real sites that have an activity, as their snapshots of that age tell."""
    sites = data.sites()
    rows = zip(sites["id"], sites["name"], strict=True)
    return [str(name) for number, name in rows if name != SAMPLE_SITE and data.snapshot(int(number), max_age_s).mirror.activities]


def _load_sample() -> None:
    bar = st.progress(0.0, "Loading the sample site …")
    now = time.time()

    def show(done: int, total: int) -> None:
        bar.progress(done / max(1, total), f"Loading the sample site … {done:,} of {total:,} activities")

    try:
        load_demo(data.store(), datetime.fromtimestamp(now, UTC).date(), progress=show, until=int(now * 1000))
    except (StoreUnavailable, StoreError) as error:
        raise data.OutOfOrder(str(error)) from error
    data.sites.clear()
    st.rerun()

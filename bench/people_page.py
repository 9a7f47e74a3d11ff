"""User Status in a real browser: `python -m bench.people_page [--people 150_000] [--activities 4_000_000]`.

It fills a store of its own (people, a directory with groups, activities), starts a dashboard on it and drives Chromium: how long until the
list's rows stand, what came over the websocket for them, a click on a header, a search, and a click on a row until the drawer is whole.
Every wait is for what a viewer sees.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from bench.engines import scratch
from bench.loading import fill
from bench.serving import dashboard
from bench.site import Site
from bench.timing import milliseconds, table, timed
from uar.store.database import migrate, open_store, write_transaction
from uar.store.directory import Group, Person, save_groups, save_members, save_people

GROUPS = 60
AGAIN = 7
WARM_UP_S = 20.0  # goes on behind the dashboard's first answers
FIRST_NAME = """document.querySelector("iframe").contentDocument.querySelector('.ag-row[row-index="0"] [col-id="person"]')?.innerText"""
HITS = "document.querySelector('.st-key-people_pages')?.innerText"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.people_page", description="Measure User Status in a browser.")
    parser.add_argument("--people", type=int, default=5_000)
    parser.add_argument("--activities", type=int, default=4_000_000)
    options = parser.parse_args(arguments)
    site = Site(options.people, options.activities, last=datetime.fromtimestamp(time.time(), UTC).date())
    with scratch() as folder:
        _, took = timed(lambda: store(folder, site))
        print(f"{site.people:,} people, {site.activities:,} activities; stored in {took / 1000:.0f} s.\n", flush=True)
        with dashboard(folder) as port:
            time.sleep(WARM_UP_S)
            print(table(["what", "first", "median of the next", "received"], measured(f"http://127.0.0.1:{port}")))


def store(folder: Path, site: Site) -> None:
    """The site's activities, and a directory with a name, an address and two groups for everybody."""
    engine = open_store(f"sqlite:///{folder / 'uar.db'}")
    migrate(engine)
    site_id, now = fill(engine, site), int(time.time() * 1000)
    numbers = range(1, site.people + 1)
    people = [Person(f"account-{n}", f"Zoë Müller {n}", f"person{n}@example.org", "person", "active", now) for n in numbers]
    with write_transaction(engine) as connection:
        ids = list(save_people(connection, site_id, people, now, listed_at=now).ids.values())
        groups = save_groups(connection, site_id, [Group(f"team-{n}", f"team-{n}") for n in range(GROUPS)] + [Group("all", "everybody")])
        save_members(connection, groups["all"], ids)
        for number in range(GROUPS):
            save_members(connection, groups[f"team-{number}"], ids[number::GROUPS])
    engine.dispose()


def measured(address: str) -> list[list[str]]:
    """A row of the table for each thing a viewer does."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or playwright.chromium.executable_path
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page, received = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page(), [0]
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(len(frame))))

        def row(what: str, *works: Callable[[], None]) -> list[str]:
            times, start = [], len(received)
            for work in works:
                times.append(timed(work)[1])
                page.wait_for_timeout(1_000)
                page.keyboard.press("Escape")  # the drawer, if it is open
            size = sum(received[start:]) / len(works) / 1000
            return [what, milliseconds(times[0]), milliseconds(statistics.median(times[1:] or times)), f"{size:,.0f} kB"]

        return [
            row("the list, from the address to its rows", *[lambda: _open(page, address)] * 4),
            row("a click on a header", *[lambda: _changed(page, FIRST_NAME, lambda: _header(page, "events"))] * AGAIN),
            row(
                "a search",
                *(
                    lambda text=text: _changed(page, HITS, lambda: page.locator(".st-key-search input").fill(text))
                    for text in ("1", "12", "123")
                ),
            ),
            row("a row, until the drawer is whole", *(lambda place=place: _drawer(page, place) for place in range(AGAIN))),
        ]


def _open(page: Page, address: str) -> None:
    page.goto(f"{address}/user_status")
    page.frame_locator("iframe").locator(".ag-row").first.wait_for()


def _header(page: Page, column: str) -> None:
    page.frame_locator("iframe").locator(f'.ag-header-cell[col-id="{column}"] .ag-header-cell-text').click()


def _changed(page: Page, shown: str, act: Callable[[], None]) -> None:
    """Do something and wait until something else is shown: another person first, another number of hits."""
    before = page.evaluate(shown)
    act()
    page.wait_for_function(f"before => (({shown}) ?? before) !== before", arg=before, polling=10)


def _drawer(page: Page, place: int) -> None:
    page.get_by_role("dialog").wait_for(state="detached")
    page.frame_locator("iframe").locator(f'.ag-row[row-index="{place}"] [col-id="person"]').click()
    page.locator("[role=dialog] .stDownloadButton").wait_for()


if __name__ == "__main__":
    main()

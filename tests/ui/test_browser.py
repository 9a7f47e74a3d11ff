"""What only a real browser shows: clicks on charts, Back, the viewer's timezone, the content policy, narrow screens, the first event."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import free_port, serving, tab
from tests.ui.seed import new_store

SECRET = "a-secret-of-the-test"


def open_dashboard(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator(".st-key-breakdown .main-svg").first).to_be_attached()


def click_day(page: Page, week: int, row: int) -> None:
    """Click a cell of the calendar by its place; weeks are counted from the last one, 0, backwards."""
    chart = page.locator(".st-key-calendar .nsewdrag")
    expect(chart).to_be_visible()  # it is away for a moment while it is drawn anew
    box = chart.bounding_box()
    assert box is not None
    weeks = round(box["width"] / box["height"] * 8 - 0.2)
    page.mouse.click(box["x"] + (weeks - 1 - week + 0.6) / (weeks + 0.2) * box["width"], box["y"] + (row + 1.4) / 8 * box["height"])


def click_type(page: Page, row: int) -> None:
    chart = page.locator(".st-key-breakdown .nsewdrag")
    expect(chart).to_be_visible()
    box = chart.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * (row + 0.5) / 10)


def test_a_day_is_picked_lifted_and_brought_back(browser: Browser, seeded_site: str) -> None:
    with tab(browser) as page:
        open_dashboard(page, seeded_site)
        chip = page.locator(".st-key-chips").get_by_role("button", name=re.compile("Day:"))
        click_day(page, 3, 2)
        expect(page).to_have_url(re.compile(r"\?day=\d{4}-\d\d-\d\d$"))
        expect(chip).to_be_visible()
        picked = page.url
        click_day(page, 3, 2)
        expect(page).to_have_url(re.compile(r"/$"))
        expect(chip).to_have_count(0)
        click_day(page, 4, 1)
        expect(chip).to_be_visible()
        page.go_back()
        expect(chip).to_have_count(0)
        page.go_back()
        expect(page).to_have_url(picked)
        expect(chip).to_be_visible()


def test_a_type_filters_the_page_and_the_filter_goes_to_the_other_tab(browser: Browser, seeded_site: str) -> None:
    with tab(browser) as page:
        open_dashboard(page, seeded_site)
        click_type(page, 4)
        expect(page).to_have_url(re.compile(r"\?types=Comment$"))
        expect(page.get_by_text("Click the row again to see all types.")).to_be_visible()
        page.get_by_role("link", name="User Status").click()
        expect(page).to_have_url(re.compile(r"/user_status\?types=Comment$"))
        page.go_back()
        expect(page.locator(".st-key-breakdown .main-svg").first).to_be_attached()
        expect(page).to_have_url(re.compile(r"\?types=Comment$"))
        click_type(page, 4)
        expect(page).to_have_url(re.compile(r"/$"))


def test_the_viewers_timezone_is_the_default(browser: Browser, seeded_site: str) -> None:
    for zone, label in (("Asia/Calcutta", "Asia/Kolkata (UTC+5:30)"), ("Pacific/Kiritimati", "Pacific/Kiritimati (UTC+14)")):
        with tab(browser, timezone_id=zone) as page:
            open_dashboard(page, seeded_site)
            expect(page.get_by_role("combobox", name=re.compile("Timezone"))).to_have_value(label)
            assert "zone" not in page.url


def test_a_mangled_link_is_put_right_in_the_address_itself(browser: Browser, seeded_site: str) -> None:
    with tab(browser) as page:
        open_dashboard(page, f"{seeded_site}/?types=comment,nope&period=30d&week=moon")
        expect(page).to_have_url(re.compile(r"\?types=Comment&period=30\+days$"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(browser: Browser, seeded_site: str, scheme: str) -> None:
    with tab(browser, viewport={"width": 390, "height": 844}, color_scheme=scheme) as page:
        open_dashboard(page, f"{seeded_site}/?period=30+days&noviews=true")
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
        utility = page.locator(".st-key-utility").locator("button, a")
        expect(utility.nth(2)).to_be_visible()
        boxes = [one.bounding_box() for one in utility.all()]
        assert len({round(box["y"]) for box in boxes if box}) == 1  # one line
        cut = "[...document.querySelectorAll('[data-testid=stMetricDelta] p')].filter(one => one.scrollWidth > one.clientWidth + 1).length"
        assert page.evaluate(cut) == 0


def test_the_calendar_scrolls_on_a_phone_and_starts_at_today(browser: Browser, seeded_site: str) -> None:
    with tab(browser, viewport={"width": 390, "height": 844}) as page:
        open_dashboard(page, seeded_site)
        card, chart = page.locator(".st-key-calendar_scroll").bounding_box(), page.locator(".st-key-calendar").bounding_box()
        assert card is not None
        assert chart is not None
        assert chart["width"] >= 820
        assert abs(chart["x"] + chart["width"] - card["x"] - card["width"]) < 2


def test_the_calendar_fills_a_wide_screen(browser: Browser, seeded_site: str) -> None:
    with tab(browser, viewport={"width": 1920, "height": 1080}) as page:
        open_dashboard(page, seeded_site)
        card, plot = page.locator(".st-key-calendar").bounding_box(), page.locator(".st-key-calendar .nsewdrag").bounding_box()
        assert card is not None
        assert plot is not None
        assert plot["width"] > card["width"] - 60


def test_the_guide_opens_from_the_bar(browser: Browser, seeded_site: str) -> None:
    with tab(browser) as page:
        open_dashboard(page, seeded_site)
        target = page.get_by_role("link", name="Support").get_attribute("href")
        page.goto(f"{seeded_site}{target}")
        expect(page.get_by_role("heading", name="Support")).to_be_in_viewport()


def test_every_answer_has_the_security_headers(browser: Browser, seeded_site: str) -> None:
    with tab(browser) as page:
        for path in ("/", "/_stcore/health", "/static/nothing.js"):
            headers = page.request.get(seeded_site + path).headers
            assert "script-src 'self' 'sha256-" in headers["content-security-policy"]
            assert "unsafe-eval" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
        grid = page.request.get(f"{seeded_site}/component/st_aggrid.AgGrid/index.html").headers
        assert "'unsafe-eval'" in grid["content-security-policy"]


def test_the_first_event_appears_without_pressing_anything(browser: Browser, tmp_path: Path) -> None:
    """The page's own command is run in a shell, against a real worker."""
    worker, dashboard = free_port(), free_port()
    secrets = f"wiki={SECRET}"
    environment = {
        "UAR_DATA_DIR": str(tmp_path),
        "UAR_WORKER_PORT": str(worker),
        "UAR_DASHBOARD_PORT": str(dashboard),
        "UAR_DATACENTER_SECRETS": secrets,
    }
    new_store(tmp_path).dispose()
    with (
        serving("worker", environment, f"http://127.0.0.1:{worker}/healthz"),
        serving("dashboard", environment, f"http://127.0.0.1:{dashboard}/_stcore/health"),
        tab(browser) as page,
    ):
        page.goto(f"http://127.0.0.1:{dashboard}")
        expect(page.get_by_role("heading", name="Waiting for the first event")).to_be_visible()
        command = page.locator("[data-testid=stCode] code").nth(1).inner_text()
        assert SECRET not in page.content()
        sent = subprocess.run(
            ["sh", "-c", command],
            env={"PATH": os.environ["PATH"], "UAR_DATACENTER_SECRETS": secrets},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert "202" in sent.stdout, sent.stdout + sent.stderr
        expect(page.get_by_text("First event received from the site wiki.")).to_be_visible()
        expect(page.locator("[data-testid=stMetricValue]").nth(3)).to_have_text("1")

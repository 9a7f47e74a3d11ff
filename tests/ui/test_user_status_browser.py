"""User Status in a real browser: a click in the head of the grid, a pill, the drawer and its addresses, and the exported file."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from tests.ui.conftest import ROOT, free_port, serving, tab
from tests.ui.seed import fill, new_store

ZONE = "Europe/Berlin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a dashboard over the small site, and its data folder."""
    folder, port = tmp_path_factory.mktemp("people"), free_port()
    engine = new_store(folder)
    fill(engine)
    engine.dispose()
    address = f"http://127.0.0.1:{port}"
    with serving("dashboard", {"UAR_DATA_DIR": str(folder), "UAR_DASHBOARD_PORT": str(port)}, f"{address}/_stcore/health"):
        yield address, folder


def open_list(page: Page, address: str) -> FrameLocator:
    page.goto(address)
    frame = page.frame_locator("iframe")
    expect(frame.locator(".ag-row").first).to_be_visible()
    return frame


def cell(frame: FrameLocator, row: int, column: str) -> str:
    return frame.locator(f'.ag-row[row-index="{row}"] [col-id="{column}"]').inner_text()


def name_of(page: Page) -> str:
    return page.locator(".st-key-person_name h2").inner_text()


def test_the_list_is_sorted_filtered_opened_and_left_as_it_was(browser: Browser, site: tuple[str, Path]) -> None:
    with tab(browser) as page:
        frame = open_list(page, f"{site[0]}/user_status")
        frame.locator('.ag-header-cell[col-id="events"] .ag-header-cell-text').click()
        expect(page).to_have_url(re.compile(r"sort=events-desc"))
        numbers = frame.locator('.ag-center-cols-container .ag-row [col-id="events"]')
        expect(frame.locator('.ag-row[row-index="0"] [col-id="events"]')).to_have_text(
            f"{max(int(text.replace(',', '')) for text in numbers.all_inner_texts()):,}"
        )

        page.get_by_role("button", name=re.compile("Active \\d")).first.click()
        expect(page).to_have_url(re.compile(r"status=Active"))
        expect(frame.locator('.ag-row [col-id="status"]', has_text="App")).to_have_count(0)
        before, first, second = page.url, cell(frame, 0, "person"), cell(frame, 1, "person")

        frame.locator('.ag-row[row-index="0"] [col-id="person"]').click()
        drawer = page.get_by_role("dialog")
        expect(drawer.locator(".st-key-person_name h2")).to_have_text(first)
        expect(page).to_have_url(re.compile(r"person=account-\d"))
        drawer.get_by_role("button", name="Next").click()
        expect(drawer.locator(".st-key-person_name h2")).to_have_text(second)
        page.keyboard.press("Escape")
        expect(drawer).to_have_count(0)
        expect(page).to_have_url(before)
        assert cell(frame, 0, "person") == first

        frame.locator('.ag-row[row-index="0"] [col-id="person"]').click()  # the same row again
        expect(drawer.locator(".st-key-person_name h2")).to_have_text(first)
        shared = page.url
        page.go_back()
        expect(drawer).to_have_count(0)
        page.goto(shared)
        expect(page.locator(".st-key-person_name h2")).to_have_text(first)


def test_enter_opens_a_row_and_escape_goes_back_to_it(browser: Browser, site: tuple[str, Path]) -> None:
    with tab(browser) as page:
        frame = open_list(page, f"{site[0]}/user_status?sort=events-asc&status=Active")
        before, row = page.url, frame.locator('.ag-row[row-index="2"] [col-id="person"]')
        frame.locator('.ag-header-cell[col-id="person"]').focus()
        for _ in range(3):
            page.keyboard.press("ArrowDown")
        expect(row).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog").locator(".st-key-person_name h2")).to_have_text(row.inner_text())
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page).to_have_url(before)
        expect(row).to_be_focused()


def test_clean_up_and_back(browser: Browser, site: tuple[str, Path]) -> None:
    with tab(browser) as page:
        frame = open_list(page, f"{site[0]}/user_status")
        first = cell(frame, 0, "person")
        page.get_by_text("Clean-up", exact=True).click()
        expect(page).to_have_url(re.compile(r"sort=cleanup"))
        expect(frame.locator('.ag-row[row-index="0"] [col-id="person"]')).not_to_have_text(first)
        page.go_back()
        expect(frame.locator('.ag-row[row-index="0"] [col-id="person"]')).to_have_text(first)


def test_a_filter_in_the_head_of_a_column_becomes_a_chip(browser: Browser, site: tuple[str, Path]) -> None:
    with tab(browser) as page:
        frame = open_list(page, f"{site[0]}/user_status")
        everybody = frame.locator(".ag-center-cols-container .ag-row").count()
        frame.locator('.ag-header-cell[col-id="events"]').hover()
        frame.locator('.ag-header-cell[col-id="events"] .ag-header-cell-filter-button').click()
        frame.locator(".ag-filter input").locator("visible=true").last.fill("70")
        frame.get_by_role("button", name="Apply").click()
        expect(page).to_have_url(re.compile(r"where=events\.greaterThanOrEqual\.70"))
        chip = page.locator(".st-key-chips").get_by_role("button", name=re.compile("Events at least 70"))
        expect(chip).to_be_visible()
        assert 0 < frame.locator(".ag-center-cols-container .ag-row").count() < everybody
        chip.click()
        expect(chip).to_have_count(0)
        expect(page.frame_locator("iframe").locator(".ag-center-cols-container .ag-row")).to_have_count(everybody)


def test_the_exported_file_is_what_the_command_prints(browser: Browser, site: tuple[str, Path], tmp_path: Path) -> None:
    with tab(browser) as page:
        open_list(page, f"{site[0]}/user_status")
        with page.expect_download() as loading:
            page.get_by_role("button", name=re.compile(r"Export \d+ accounts \(CSV\)")).click()
        saved = tmp_path / "export.csv"
        loading.value.save_as(saved)
        assert re.fullmatch(r"confluence-user-status_wiki_[\d-]{10}_[\d-]{10}_\d{8}t\d{6}z\.csv", loading.value.suggested_filename)
    printed = subprocess.run(
        [sys.executable, "-m", "uar", "report", "users", "--zone", ZONE, "--format", "csv"],
        env={"UAR_DATA_DIR": str(site[1]), "PATH": ""},
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    made_at = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
    content = saved.read_bytes()
    assert content.startswith(b"\xef\xbb\xbfaccount_id,")
    assert made_at.sub(b"", content[3:]) == made_at.sub(b"", printed)
    assert content.count(b"\r\n") == 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_list_is_not_wider_than_a_phone_and_whole_on_a_desk(browser: Browser, site: tuple[str, Path], scheme: str) -> None:
    with tab(browser, viewport={"width": 390, "height": 844}, color_scheme=scheme) as page:
        open_list(page, f"{site[0]}/user_status")
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
    with tab(browser, color_scheme=scheme) as page:
        frame = open_list(page, f"{site[0]}/user_status")
        assert frame.locator(".ag-center-cols-viewport").evaluate("one => one.scrollWidth <= one.clientWidth + 1")
        line = frame.locator('.ag-row[row-index="0"] [col-id="line"]')
        assert line.evaluate("one => one.scrollWidth <= one.clientWidth")
        assert line.evaluate("one => getComputedStyle(one.closest('.ag-root-wrapper')).fontFamily").startswith('"Source Sans"')

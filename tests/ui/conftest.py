"""Pages without a browser (`page`), and a real Chromium (`browser`) against a real dashboard and worker."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from playwright.sync_api import Browser, Page, expect, sync_playwright
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from tests.children import ends_with_parent
from tests.ui.seed import fill, new_store

ROOT = Path(__file__).parent.parent.parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_CHROMIUM = (
    "The browser tests need Chromium and there is none. `make test` installs it; by hand: apt-get install chromium (Debian, Ubuntu), "
    "elsewhere .venv/bin/python -m playwright install --with-deps chromium."
)
# Streamlit's own, at the address of a page other than the first (harmless).
KNOWN_404 = ("/_stcore/health", "/_stcore/host-config")
PATIENCE_MS = 30_000  # the first chart of a busy machine takes long
expect.set_options(timeout=PATIENCE_MS)
Open = Callable[..., AppTest]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, the only setting there is; nothing cached from other tests."""
    for name in [name for name in os.environ if name.startswith("UAR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UAR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)  # no uar.toml of the working copy
    st.cache_resource.clear()
    return tmp_path / "data"


@pytest.fixture
def navigation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are known by `st.navigation` alone, as in the dashboard (`uar.dashboard.make_app`); AppTest forgets that at every run."""
    start = PagesManager.__init__

    def start_with_navigation(self: PagesManager, *args: Any, **options: Any) -> None:
        start(self, *args, **options)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", start_with_navigation)


@pytest.fixture
def open_page(data_dir: Path, navigation: None) -> Open:
    """Opens a page as a browser in a timezone would; `query` is what stands in the address."""

    def run(
        query: Mapping[str, str | list[str]] | None = None, timezone: str = "Europe/Berlin", locale: str = "en-GB", page: str = ""
    ) -> AppTest:
        test = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=30)
        test.context = {"timezone": timezone, "locale": locale, "theme": "light"}
        for key, value in (query or {}).items():
            test.query_params[key] = value
        test.run()
        if page:
            test.switch_page(page).run()
        return test

    return run


@pytest.fixture
def seeded(data_dir: Path) -> Path:
    """The data folder with the small site in its store."""
    engine = new_store(data_dir)
    fill(engine)
    engine.dispose()
    return data_dir


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium: the machine's own, else Playwright's; fails with the sentence that says how to get one."""
    with sync_playwright() as playwright:
        own = next(filter(None, map(shutil.which, CHROMIUM)), None)
        path = own or playwright.chromium.executable_path
        if not Path(path).exists():
            pytest.fail(NO_CHROMIUM)
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def tab(browser: Browser, **context: object) -> Iterator[Page]:
    """A page of its own; at its end there must have been no error in its console, violations of the content policy included."""
    opened = browser.new_context(
        **({"viewport": {"width": 1440, "height": 1000}, "timezone_id": "Europe/Berlin", "locale": "en-GB"} | context)
    )
    page = opened.new_page()
    page.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(f"{message.text} {message.location['url']}") if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    opened.close()
    assert [error for error in errors if not any(known in error for known in KNOWN_404)] == []


@contextmanager
def serving(command: str, environment: Mapping[str, str], ready: str) -> Iterator[None]:
    """`python -m uar COMMAND` in a process of its own, from when `ready` answers until the end of the block."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UAR_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "uar", command], env=inherited | dict(environment), cwd=ROOT, preexec_fn=ends_with_parent()
    )
    try:
        _wait_for(ready, process)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"It ended with exit code {process.returncode} before {url} answered."
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"{url} did not answer within a minute.")


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def seeded_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard over the small site."""
    folder, port = tmp_path_factory.mktemp("seeded"), free_port()
    engine = new_store(folder)
    fill(engine)
    engine.dispose()
    address = f"http://127.0.0.1:{port}"
    with serving("dashboard", {"UAR_DATA_DIR": str(folder), "UAR_DASHBOARD_PORT": str(port)}, f"{address}/_stcore/health"):
        yield address

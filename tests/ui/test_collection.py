"""The Collection page, run as Streamlit runs it: what it says when all is well, and when it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from uar.activity import DAY_MS, Source
from uar.report.coverage import Gap
from uar.store.database import migrate, open_store, write_transaction
from uar.store.writes import Quarantined, count_deliveries, extend_coverage, record_quarantined, start_coverage
from uar.ui.collection import gap_table

PAGE = str(Path(__file__).parent.parent.parent / "pages" / "collection.py")
HOUR = 3_600_000


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page over a store in which a worker was up, away for three hours, and is up again."""
    monkeypatch.setenv("UAR_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("UAR_DATACENTER_SECRETS", "wiki=secret")
    monkeypatch.chdir(tmp_path)
    now = time.time_ns() // 1_000_000
    engine = open_store(f"sqlite:///{tmp_path / 'uar.db'}")
    migrate(engine)
    with write_transaction(engine) as connection:
        extend_coverage(connection, start_coverage(connection, "worker", now - DAY_MS), now - 5 * HOUR)
        extend_coverage(connection, start_coverage(connection, "worker", now - 2 * HOUR), now)
        count_deliveries(connection, {(Source.DATACENTER, "wiki", "accepted"): 7}, now - 60_000)
    engine.dispose()
    return AppTest.from_file(PAGE, default_timeout=20)


def texts(page: AppTest) -> str:
    return "\n".join(
        str(element.value)
        for kind in ("title", "header", "markdown", "caption", "success", "warning", "error")
        for element in page.get(kind)
    )


def test_the_page_shows_sources_and_gaps_and_that_all_is_well(page: AppTest) -> None:
    page.run()
    assert not page.exception
    assert "All is well" in page.success[0].value
    assert page.dataframe[0].value[["Source", "Site", "Last delivery", "Delivered"]].values.tolist() == [
        ["Data Center", "wiki", "1 min ago", 7]
    ]
    assert page.dataframe[1].value["Hours"].tolist() == [3.0]
    assert [header.value for header in page.header] == ["Sources", "Gaps in recording"]


def test_the_page_names_what_was_refused_and_what_lies_in_quarantine(page: AppTest, tmp_path: Path) -> None:
    now = time.time_ns() // 1_000_000
    engine = open_store(f"sqlite:///{tmp_path / 'uar.db'}")
    with write_transaction(engine) as connection:
        count_deliveries(connection, {(Source.DATACENTER, "wiki", "refused: wrong signature"): 2}, now)
        hostile = "![x](https://evil.example/pixel) *bold*"
        record_quarantined(connection, [Quarantined(Source.DATACENTER, "wiki", hostile, "1", now, "The body is not JSON.", b"{")])
    engine.dispose()
    page.run()
    assert not page.exception
    assert [header.value for header in page.header] == ["Sources", "Refused", "In quarantine", "Gaps in recording"]
    assert page.dataframe[1].value["Reason"].tolist() == ["wrong signature"]
    assert page.dataframe[2].value[["Event", "Reason", "Count"]].values.tolist() == [[hostile, "The body is not JSON.", 1]]
    assert "evil.example" not in texts(page)
    assert len(page.warning) == 2


def test_a_store_that_cannot_be_opened_is_a_sentence(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UAR_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    page.run()
    assert not page.exception
    assert len(page.error) == 1
    assert "cannot be" in page.error[0].value


def test_gaps_are_told_in_the_viewers_time_newest_first() -> None:
    start = 1_774_742_400_000  # 2026-03-29T00:00Z
    shown = gap_table((Gap(start - 48 * HOUR, start - 47 * HOUR), Gap(start, start + 90 * 60_000)), "Europe/Berlin")
    assert shown.to_dict("list") == {
        "From": ["2026-03-29 01:00", "2026-03-27 01:00"],
        "To": ["2026-03-29 03:30", "2026-03-27 02:00"],
        "Hours": [1.5, 1.0],
    }

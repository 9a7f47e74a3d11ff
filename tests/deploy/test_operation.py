"""The operation guide and the page of promises say what is so: metrics by name, tests and files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.tools import ROOT
from uar.capture.metrics import Metrics

OPERATION = (ROOT / "docs" / "operation.md").read_text()
PAGES = (ROOT / "docs" / "operation.md", ROOT / "docs" / "promises.md")


def test_every_metric_is_explained_with_its_type_and_labels_and_no_other_is() -> None:
    table = OPERATION.partition("<!-- metrics -->")[2].partition("<!-- /metrics -->")[0]
    explained = dict(re.findall(r"^\| `(uar_\w+)(?:\{[a-z,]+\})?` \| (\w+) \|", table, re.MULTILINE))
    served = dict(re.findall(r"^# TYPE (uar_\w+) (\w+)$", Metrics().text().decode(), re.MULTILINE))
    assert explained == served
    assert len(served) == 13


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_the_page_leads_to_a_file(page: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if not link.startswith("http")]
    assert len(links) >= 3
    assert [link for link in links if link and not (page.parent / link).exists()] == []

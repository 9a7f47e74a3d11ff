"""The ASGI application around the pages: its content policy, and what it says when a page fails."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from uar.dashboard import INDEX, content_security_policy


def test_the_policy_allows_exactly_the_inline_scripts_of_the_index() -> None:
    policy = content_security_policy("<script>one()</script><script src='x'></script><script>\ntwo()\n</script>")
    hashes = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in (b"one()", b"\ntwo()\n")]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'self'" in policy


def test_the_installed_index_has_no_other_inline_code() -> None:
    index = INDEX.read_text(encoding="utf-8")
    assert len(re.findall(r"<script>", index)) == 1
    assert not re.search(r"<[^>]+\son\w+=", index)


@pytest.mark.parametrize(
    ("error", "sentence"), [("data.OutOfOrder('No store.')", r"No store\."), ("ValueError('secret')", "This page could not be shown.")]
)
def test_a_failing_page_ends_in_a_sentence(error: str, sentence: str) -> None:
    page = AppTest.from_string(
        f"from uar.ui import data\nfrom uar.dashboard import _say_what_happened\nassert _say_what_happened({error})"
    ).run()
    assert page.error[0].value.startswith(sentence)
    assert "secret" not in page.error[0].value


def test_everything_is_imported_before_two_threads_could_do_it_at_once() -> None:
    heavy = "{'sqlalchemy', 'plotly.graph_objs', 'pandas'}"
    check = f"import sys, uar.dashboard as d; d._import_pages(); print({heavy} <= set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "True"

"""Log lines in both forms: what they hold, and that no text of an exception is in them."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

import pytest

from tests.capture.running import running_worker
from tests.capture.senders import DATACENTER_SECRET
from uar.capture.logs import formatter


def record(message: str, *values: object) -> logging.LogRecord:
    """A record of the last defect, if there is one."""
    made = logging.LogRecord("uar.capture.app", logging.ERROR, __file__, 1, message, values, sys.exc_info())
    made.created = 1_795_500_000.25
    return made


def failed(log_format: str) -> str:
    """The line about a defect whose exception quotes what was sent."""
    try:
        {}["marker-of-a-person"]
    except KeyError:
        return formatter(log_format).format(record("A request %s because of a defect.", "failed"))


def test_a_line_of_text_is_time_level_sentence_and_fields() -> None:
    line = failed("text")
    assert re.sub(r"failed:\d+", "failed:1", line) == (
        "2026-11-24T06:00:00.250Z error    A request failed because of a defect. [logger=uar.capture.app] [error=KeyError] [where=failed:1]"
    )


def test_a_line_of_json_has_fixed_keys() -> None:
    found = json.loads(failed("json"))
    assert re.fullmatch(r"failed:\d+", found.pop("where"))
    assert found == {
        "at": "2026-11-24T06:00:00.250Z",
        "level": "error",
        "logger": "uar.capture.app",
        "message": "A request failed because of a defect.",
        "error": "KeyError",
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_sentence_of_two_lines_is_one_line(log_format: str) -> None:
    assert "\n" not in formatter(log_format).format(record("One\nand two."))


def test_a_worker_writes_text_if_nothing_is_set_and_nothing_of_a_person(tmp_path: Path) -> None:
    with running_worker(tmp_path, UAR_LOG_FORMAT="", UAR_DATACENTER_SECRETS=f"wiki={DATACENTER_SECRET}") as worker:
        worker.post("/webhooks/datacenter/wiki", b"marker", {"X-Hub-Signature": "marker"})
        assert worker.post_datacenter(b'{"event":"marker-event","userKey":"marker-person"}') == 202
        worker.wait_until_drained()
    lines = worker.log().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warning) +[A-Z]", line) for line in lines), lines
    assert any("A delivery of datacenter was refused: signature without sha256=." in line for line in lines)
    assert "marker" not in worker.log()

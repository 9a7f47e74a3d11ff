"""A dashboard in a process of its own, for what is measured from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.reliability.postgres import free_port

READY_S = 60.0


@contextmanager
def dashboard(folder: Path) -> Iterator[int]:
    """The port of a dashboard on the store in this folder, which answers but may still load its mirror."""
    port = free_port()
    given = os.environ | {"UAR_DATA_DIR": str(folder), "UAR_DASHBOARD_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "uar", "dashboard"], env=given)
    try:
        deadline = time.monotonic() + READY_S
        while not _is_up(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError("the dashboard does not start")
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False

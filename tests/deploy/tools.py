"""The programs that validate the files of `deploy/`; a missing one fails the test with a sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def tool(name: str, package: str) -> str:
    """The path of a program of the system."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        pytest.fail(
            f"{name} is not installed, so its file cannot be checked: apt-get install {package} (scripts/find_operation_tools.sh does it)"
        )
    return found


def run(command: list[str], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The finished process, with its output as text."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(environment or {})})

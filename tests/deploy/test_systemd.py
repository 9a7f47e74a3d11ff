"""The systemd units are correct for systemd itself and as shut as its own assessment can ask for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.deploy.tools import DEPLOY, ROOT, run, tool

UNITS = sorted(path.name for path in (DEPLOY / "systemd").glob("*.service"))
EXPOSURE = 20  # 2.0 of 10; a unit without hardening has 9.2


def placed(unit: str, folder: Path) -> Path:
    """A copy of a unit whose program exists on this machine."""
    target = folder / unit
    shutil.copy(DEPLOY / "systemd" / unit, target)
    target.write_text(target.read_text().replace("/opt/uar", str(ROOT)))
    return target


def test_worker_and_dashboard_have_a_unit_each() -> None:
    assert UNITS == ["uar-dashboard.service", "uar-worker.service"]


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_the_unit(unit: str, tmp_path: Path) -> None:
    done = run([tool("systemd-analyze", "systemd"), "verify", "--man=no", "--recursive-errors=no", str(placed(unit, tmp_path))])
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit in line]) == (0, []), done.stderr


def test_systemd_refuses_a_unit_with_a_misspelt_key(tmp_path: Path) -> None:
    unit = placed("uar-worker.service", tmp_path)
    unit.write_text(unit.read_text().replace("ProtectSystem=", "ProtectSytem="))
    done = run([tool("systemd-analyze", "systemd"), "verify", "--man=no", "--recursive-errors=no", str(unit)])
    assert "ProtectSytem" in done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_hardened(unit: str, tmp_path: Path) -> None:
    command = [tool("systemd-analyze", "systemd"), "security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager"]
    done = run([*command, str(placed(unit, tmp_path))])
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


def test_a_unit_without_hardening_would_fail(tmp_path: Path) -> None:
    unit = placed("uar-worker.service", tmp_path)
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    command = [tool("systemd-analyze", "systemd"), "security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager", str(unit)]
    assert run(command).returncode != 0


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_starts_again_after_a_crash_and_stops_in_order(unit: str) -> None:
    lines = (DEPLOY / "systemd" / unit).read_text().splitlines()
    command = unit.removeprefix("uar-").removesuffix(".service")
    assert f"ExecStart=/opt/uar/.venv/bin/python -m uar {command}" in lines
    assert {"Restart=always", "TimeoutStopSec=20", "User=uar", "EnvironmentFile=/etc/uar/uar.env"} <= set(lines)

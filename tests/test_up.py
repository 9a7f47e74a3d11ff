"""Worker and dashboard as one: started, announced and stopped together, by the real command."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.children import ends_with_parent
from uar.config import ConfigError, Settings, load_settings
from uar.up import address, check_ports, start, stop, watch

ROOT = Path(__file__).parent.parent
START_WITHIN_S = 90
STOP_WITHIN_S = 30


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def running_product(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """`python -m uar up` on free ports, once it has announced both; with the ports of worker and dashboard."""
    worker, dashboard = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "UAR_DATA_DIR": str(folder / "data"),
        "UAR_WORKER_PORT": str(worker),
        "UAR_DASHBOARD_PORT": str(dashboard),
    }
    command = [sys.executable, "-m", "uar", "up"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=ends_with_parent()
    )
    try:
        yield process, worker, dashboard
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):  # not read to their end: whoever was left behind would hold them open
            if pipe is not None:
                pipe.close()


def announced(process: subprocess.Popen[str]) -> list[str]:
    """The lines up to the one that says how to stop."""
    assert process.stdout is not None
    timer = threading.Timer(START_WITHIN_S, process.kill)
    timer.start()
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if "Ctrl-C" in line:
            break
    timer.cancel()
    return lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_prints_both_addresses_and_a_signal_stops_both_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    with running_product(tmp_path) as (process, worker, dashboard):
        lines = announced(process)
        assert re.search(rf"Dashboard +http://127\.0\.0\.1:{dashboard}", "\n".join(lines))
        assert re.search(rf"Worker +http://127\.0\.0\.1:{worker}", "\n".join(lines))
        with urllib.request.urlopen(f"http://127.0.0.1:{worker}/healthz", timeout=10) as reply:
            assert reply.status == 200
        process.send_signal(number)
        assert process.wait(STOP_WITHIN_S) == 0
        assert not listens(worker)
        assert not listens(dashboard)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_killed_product_leaves_nothing_behind(tmp_path: Path) -> None:
    with running_product(tmp_path) as (process, worker, dashboard):
        announced(process)
        process.kill()
        deadline = time.monotonic() + STOP_WITHIN_S
        while (listens(worker) or listens(dashboard)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not listens(worker)
        assert not listens(dashboard)


def settings(tmp_path: Path) -> Settings:
    read = load_settings({"UAR_DATA_DIR": str(tmp_path)}, tmp_path)
    return replace(read, worker_port=free_port(), dashboard_port=free_port())


def test_when_one_ends_by_itself_the_other_is_stopped_and_the_exit_code_says_so() -> None:
    said: list[str] = []
    running = {
        "worker": start([sys.executable, "-c", "raise SystemExit(3)"]),
        "dashboard": start([sys.executable, "-c", "import time; time.sleep(60)"]),
    }
    assert watch(running, threading.Event(), said.append, lambda: True) == 3
    stop(running, said.append)
    assert running["dashboard"].returncode == -signal.SIGTERM
    assert said == ["The worker ended by itself (exit code 3); the other is stopped too. The lines above say why."]


def test_one_that_ends_by_itself_without_an_error_is_an_error_too() -> None:
    running = {"worker": start([sys.executable, "-c", ""])}
    assert watch(running, threading.Event(), lambda _: None, lambda: True) == 1


def test_who_does_not_stop_in_time_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uar.up.STOP_WITHIN_S", 0.5)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    said: list[str] = []
    stop({"worker": process}, said.append)
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    assert "The worker did not stop" in said[0]


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = replace(settings(tmp_path), dashboard_port=server.getsockname()[1])
        with pytest.raises(ConfigError, match=r"UAR_DASHBOARD_PORT: cannot listen on 127\.0\.0\.1:\d+"):
            check_ports(taken)


def test_one_port_for_both_is_refused(tmp_path: Path) -> None:
    both = settings(tmp_path)
    with pytest.raises(ConfigError, match="UAR_DASHBOARD_PORT: is the same as UAR_WORKER_PORT"):
        check_ports(replace(both, dashboard_port=both.worker_port))


def test_a_port_that_cannot_be_printed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="UAR_WORKER_PORT: 0 lets the system choose"):
        check_ports(replace(settings(tmp_path), worker_port=0))


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://localhost:80"),
        ("::", "http://localhost:80"),
        ("::1", "http://[::1]:80"),
        ("wiki.example.org", "http://wiki.example.org:80"),
    ],
)
def test_the_printed_address_can_be_opened(host: str, shown: str) -> None:
    assert address(host, 80) == shown

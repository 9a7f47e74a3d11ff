"""Worker and dashboard together: two processes, started, watched and stopped as one.

Each runs `python -m uar worker|dashboard` in a process group of its own, so that Ctrl-C reaches only this process, which then stops
both in order. When one of them ends by itself, the other is stopped too and the exit code is not 0.
"""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

from uar.config import ConfigError, Settings

STOP_WITHIN_S = 15.0
POLL_S = 0.2
LINUX_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def up(settings: Settings, say: Callable[[str], None]) -> int:
    """Run worker and dashboard until a signal or the end of one of them; returns the exit code."""
    check_ports(settings)
    stopping = threading.Event()
    handler = lambda number, frame: stopping.set()  # noqa: E731
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in ("worker", "dashboard"):
            running[name] = start([sys.executable, "-m", "uar", name])
        return watch(running, stopping, say, lambda: _announce(settings, say))
    finally:
        stop(running, say)
        say("Worker and dashboard have stopped.")
        for number, former in previous.items():
            signal.signal(number, former)


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start one of the two, in its own process group and without a terminal to read from."""
    before = _end_with_parent if sys.platform == "linux" else None
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=before)


def watch(
    running: Mapping[str, subprocess.Popen[bytes]], stopping: threading.Event, say: Callable[[str], None], announce: Callable[[], bool]
) -> int:
    """Wait for a stop or for the first that ends by itself; `announce` is called until it says that it did."""
    is_announced = False
    while not stopping.wait(POLL_S):
        for name, process in running.items():
            if process.poll() is not None:
                say(f"The {name} ended by itself (exit code {process.returncode}); the other is stopped too. The lines above say why.")
                return max(1, process.returncode)
        is_announced = is_announced or announce()
    return 0


def stop(running: Mapping[str, subprocess.Popen[bytes]], say: Callable[[str], None]) -> None:
    """Ask all that still run to end, and wait; whoever does not end in time is killed."""
    for process in running.values():
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + STOP_WITHIN_S
    for name, process in running.items():
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"The {name} did not stop within {STOP_WITHIN_S:.0f} seconds and was killed. What it had acknowledged is in its spool.")
            process.kill()
            process.wait()


def check_ports(settings: Settings) -> None:
    """Raises `ConfigError` if a port is taken, before anything is started."""
    places = {
        "UAR_WORKER_PORT": (settings.worker_host, settings.worker_port),
        "UAR_DASHBOARD_PORT": (settings.dashboard_host, settings.dashboard_port),
    }
    for name, (host, port) in places.items():
        if port == 0:
            raise ConfigError(f"{name}: 0 lets the system choose a port; `up` needs one that it can print.")
        try:
            socket.create_server((host, port), family=_family(host)).close()
        except OSError as error:
            raise ConfigError(f"{name}: cannot listen on {host}:{port} ({error.strerror}). Stop what uses it or choose another.") from error
    if settings.worker_port == settings.dashboard_port and settings.worker_host == settings.dashboard_host:
        raise ConfigError("UAR_DASHBOARD_PORT: is the same as UAR_WORKER_PORT.")


def address(host: str, port: int) -> str:
    """The address a person on this machine can open."""
    shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _end_with_parent() -> None:
    # A killed `up` must not leave a worker behind that holds the spool (man 2 prctl).
    ctypes.CDLL(None).prctl(LINUX_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def _announce(settings: Settings, say: Callable[[str], None]) -> bool:
    """Print the addresses once both listen; whether that was so."""
    places = [(settings.worker_host, settings.worker_port), (settings.dashboard_host, settings.dashboard_port)]
    if not all(_listens(host, port) for host, port in places):
        return False
    say("")
    say(f"  Dashboard   {address(settings.dashboard_host, settings.dashboard_port)}")
    say(f"  Worker      {address(settings.worker_host, settings.worker_port)}   (deliveries from Confluence)")
    say("  Press Ctrl-C to stop both.")
    say("")
    return True


def _listens(host: str, port: int) -> bool:
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        socket.create_connection((here, port), timeout=1.0).close()
    except OSError:
        return False
    return True

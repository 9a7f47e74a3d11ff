"""A worker in a process of its own, as it runs in operation: started, looked at, stopped, killed, started again on the same data."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.children import ends_with_parent
from tests.reliability.postgres import free_port
from tests.reliability.sender import SECRET, SITE

ROOT = Path(__file__).parent.parent.parent
START_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
LOGS = tempfile.TemporaryDirectory(prefix="uar-worker-logs-")
NUMBERS = itertools.count()


class RunningWorker:
    """One worker on `data_dir` and a port that it keeps through restarts. `settings` are names without `UAR_`."""

    def __init__(self, data_dir: Path, database_url: str | None = None, *, prefix: tuple[str, ...] = (), **settings: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.database_url = database_url or f"sqlite:///{data_dir / 'uar.db'}"
        self.environment: dict[str, str] = {}
        self._settings = settings
        self._prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None
        self._log_path = Path(LOGS.name) / f"{next(NUMBERS)}.log"  # never on the disk that a test fills or takes away

    def __enter__(self) -> RunningWorker:
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> float:
        """Starts the process; with `wait` until it is ready. Returns how long that took, in seconds."""
        given = {
            "UAR_DATA_DIR": str(self.data_dir),
            "UAR_DATABASE_URL": self.database_url,
            "UAR_WORKER_PORT": str(self.port),
            "UAR_LOG_FORMAT": "json",
            "UAR_DATACENTER_SECRETS": f"{SITE}={SECRET}",
            "PYTHONPATH": str(ROOT),
            "PATH": os.environ["PATH"],
        }
        given |= {f"UAR_{name.upper()}": value for name, value in self._settings.items()} | self.environment
        started_at = time.monotonic()
        with open(self._log_path, "ab") as log:
            command = [*self._prefix, sys.executable, "-m", "uar", "worker"]
            self._process = subprocess.Popen(
                command,
                env=given,
                cwd=self.data_dir.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=ends_with_parent(),
            )
        if wait:
            self.wait_ready(started_at + START_LIMIT_S)
        return time.monotonic() - started_at

    def wait_ready(self, deadline: float) -> None:
        """Waits until the worker says that a delivery sent now would be kept."""
        while self.readiness()[0] != 200:
            assert self.exit_code() is None, f"The worker ended: {self.log_text()[-2_000:]}"
            assert time.monotonic() < deadline, f"The worker does not get ready: {self.log_text()[-2_000:]}"
            time.sleep(0.03)

    def ask(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET; status 0 if nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def post(self, request: bytes) -> int:
        """The status of one whole request, on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request)
            return int(connection.recv(4096)[9:12])

    def readiness(self) -> tuple[int, bytes]:
        """What /readyz says."""
        return self.ask("/readyz")

    def metric(self, name: str) -> float:
        """One value of /metrics, by its whole name with labels."""
        for line in self.ask("/metrics")[1].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"there is no metric {name}")

    def answers(self, outcome: str) -> float:
        """How many deliveries of Data Center were answered so, as it counts them itself."""
        return self.metric(f'uar_deliveries_total{{outcome="{outcome}",source="datacenter"}}')

    def wait_drained(self, limit_s: float = 60.0) -> float:
        """Waits until nothing is left in the spool; returns how long that took, in seconds."""
        started_at = time.monotonic()
        while self.metric("uar_spool_deliveries") > 0:
            assert time.monotonic() < started_at + limit_s, f"The spool does not drain: {self.log_text()[-2_000:]}"
            time.sleep(0.05)
        return time.monotonic() - started_at

    def kill(self) -> None:
        """SIGKILL: nothing in the worker can notice."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def signal(self, number: int) -> None:
        """Sends a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def terminate(self) -> tuple[int, float]:
        """SIGTERM, as a supervisor does; exit code and how long the end took, in seconds."""
        started_at = time.monotonic()
        self.signal(signal.SIGTERM)
        assert self._process is not None
        return self._process.wait(2 * STOP_LIMIT_S), time.monotonic() - started_at

    def wait_end(self, limit_s: float = START_LIMIT_S) -> int:
        """The exit code of a worker that ends by itself."""
        assert self._process is not None
        return self._process.wait(limit_s)

    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        return None if self._process is None else self._process.poll()

    def log_text(self) -> str:
        """Everything it wrote to standard error, of all its starts."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """Its log lines, read as JSON."""
        return [json.loads(line) for line in self.log_text().splitlines() if line.startswith("{")]

    def memory_mb(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def peak_memory_mb(self) -> float:
        """The most that was ever resident."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def files(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        """Its threads."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

"""A real worker as a process of its own, and the ways a sender reaches it: whole requests, raw bytes, and the store behind."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.capture.senders import APP_ID, CONNECT_TOKEN, DATACENTER_SECRET, datacenter_headers
from tests.children import ends_with_parent

ROOT = Path(__file__).parent.parent.parent
PROGRAM = "from uar.config import load_settings; from uar.capture.worker import serve; serve(load_settings())"
DRAIN_LIMIT_S = 60.0  # the writer's process is a nice one, and starves where others press
LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")


class RunningWorker:
    """A worker process that listens on a port of the kernel's choice."""

    def __init__(self, data_dir: Path, environ: Mapping[str, str]) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("UAR_")}
        self.data_dir = data_dir
        self._lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env=inherited | {"UAR_DATA_DIR": str(data_dir), "UAR_WORKER_PORT": "0", "UAR_LOG_FORMAT": "json"} | dict(environ),
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=ends_with_parent(),
        )
        threading.Thread(target=self._read_log, daemon=True).start()
        try:
            self.port = self._wait_for_port()
        except BaseException:
            self._end()
            raise

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)

    def _wait_for_port(self, within_s: float = 30.0) -> int:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and self.process.poll() is None:
            found = LISTENS.search(self.log())
            if found:
                return int(found[1])
            time.sleep(0.01)
        raise AssertionError(f"The worker did not start:\n{self.log()}")

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        """What it wrote so far."""
        return "".join(self._lines)

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
        """One request on a connection of its own; the answer with its body read into `text`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            answer.text = answer.read()  # type: ignore[attr-defined]
            return answer
        finally:
            connection.close()

    def post(self, path: str, body: Any = b"{}", headers: Mapping[str, str] | None = None) -> int:
        """The status of one POST."""
        return self.request("POST", path, body, headers).status

    def post_datacenter(self, body: bytes, **more: Any) -> int:
        """The status of one signed Data Center delivery."""
        return self.post("/webhooks/datacenter/wiki", body, datacenter_headers(body, **more))

    def post_connect(self, event_name: str, body: bytes, token: str = CONNECT_TOKEN) -> int:
        """The status of one Cloud webhook."""
        return self.post(f"/webhooks/connect/acme/{event_name}?token={token}", body)

    def raw(self, sent: bytes, wait_s: float = 10.0) -> bytes:
        """Everything the worker answers to these bytes until it closes or `wait_s` has passed without a word."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait_s) as connection:
            received = b""
            try:
                connection.sendall(sent)
                while chunk := connection.recv(65536):
                    received += chunk
            except (TimeoutError, ConnectionError):
                pass
            return received

    def metric(self, name: str) -> float:
        """One value of the metrics page; 0 if it is not there."""
        text = self.request("GET", "/metrics").text.decode()  # type: ignore[attr-defined]
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def total(self, name: str, label: str = "") -> float:
        """The sum of a metric over its labels, of those that have this one, written as `name="value"`."""
        text = self.request("GET", "/metrics").text.decode()  # type: ignore[attr-defined]
        found = re.findall(rf"^{re.escape(name)}\{{([^}}]*)\}} (\S+)$", text, re.MULTILINE)
        return sum(float(value) for labels, value in found if label in labels)

    def wait_until_drained(self, within_s: float = DRAIN_LIMIT_S) -> None:
        """Returns when the spool is empty."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.metric("uar_spool_deliveries") == 0:
                return
            time.sleep(0.05)
        raise AssertionError(f"The spool did not drain:\n{self.log()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits; the exit code. Whoever does not end in time is killed, and the test fails."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(20)
        except BaseException:
            self._end()
            raise


def all_sources(key_url: str = "http://127.0.0.1:9/") -> dict[str, str]:
    """The environment of a worker with all three sources."""
    return {
        "UAR_FORGE_APP_ID": APP_ID,
        "UAR_FORGE_JWKS_URL": key_url,
        "UAR_DATACENTER_SECRETS": f"wiki={DATACENTER_SECRET} wiki=the-next-secret other=another-secret",
        "UAR_CONNECT_TOKENS": f"acme={CONNECT_TOKEN} acme=the-next-token other=another-token",
    }


@contextmanager
def running_worker(data_dir: Path, **environ: str) -> Iterator[RunningWorker]:
    """A worker that is stopped at the end; its log must hold no traceback."""
    worker = RunningWorker(data_dir, environ)
    try:
        yield worker
    finally:
        code = worker.stop()
    assert code == 0, worker.log()
    assert "defect" not in worker.log(), worker.log()


def log_lines(worker: RunningWorker) -> list[dict[str, Any]]:
    """The log as decoded lines."""
    return [json.loads(line) for line in worker.log().splitlines()]

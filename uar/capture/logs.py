"""Log lines on stderr, as text or as JSON, of the worker by a thread so that a blocked pipe never holds up a delivery.

A line holds the sentence and, for a defect, where it happened; never the text of the exception, which may quote what was sent.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
import traceback
from datetime import UTC, datetime

WAITING_LINES = 1_000
FLUSH_S = 1.0
STDERR = 2


def fields(record: logging.LogRecord) -> dict[str, str]:
    """What a record says: `at`, `level`, `logger`, `message`, and for a defect `error` and `where`."""
    found = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    if record.exc_info and record.exc_info[0] is not None:
        frames = traceback.extract_tb(record.exc_info[2])
        found["error"] = record.exc_info[0].__name__
        found["where"] = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return found


class JsonLines(logging.Formatter):
    """One object a line, with fixed keys."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(fields(record), ensure_ascii=False)


class TextLines(logging.Formatter):
    """Time, level, sentence, and what else there is as `[name=value]`, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        found = fields(record)
        words = [found.pop("at"), f"{found.pop('level'):<8}", found.pop("message")]
        return " ".join(" ".join([*words, *(f"[{name}={value}]" for name, value in found.items())]).splitlines())


def formatter(log_format: str) -> logging.Formatter:
    """The form that the setting UAR_LOG_FORMAT asks for."""
    return JsonLines() if log_format == "json" else TextLines()


class PatientHandler(logging.Handler):
    """Hands lines to a writing thread; when too many wait, drops and counts them.

    The thread writes past `sys.stderr`: a line that a blocked pipe does not take would hold its lock, and the process could not end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self._lines: queue.Queue[str] = queue.Queue(WAITING_LINES)
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1

    def flush(self) -> None:
        """Waits a moment for the lines to be written."""
        deadline = time.monotonic() + FLUSH_S
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            try:
                write_all(f"{line}\n".encode(errors="backslashreplace"))
            except (OSError, ValueError):
                self.dropped += 1
            finally:
                self._lines.task_done()


def write_all(text: bytes) -> None:
    """Writes to standard error, however often it takes; raises `OSError`."""
    while text:
        text = text[os.write(STDERR, text) :]


def dropped_lines() -> int:
    """How many lines of this process nobody took."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, PatientHandler))


def log_patiently(log_format: str) -> PatientHandler:
    """Sends every log record of the process through one patient handler."""
    handler = PatientHandler()
    handler.setFormatter(formatter(log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # uvicorn reports senders that went away and malformed requests; the application logs its own defects.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    return handler

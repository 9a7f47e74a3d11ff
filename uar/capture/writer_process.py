"""The store's writer in a process of its own, so that what it computes takes no time from those who acknowledge.

    WriterProcess   in the worker: the methods of `StoreWriter`; starts the process when it is needed, and anew when it died
    run             in the process: answers one question after another

The worker ends it by closing the pipe. It heeds no signal that is meant for the worker, since it still has to bring the last deliveries.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, cast

from uar.capture.logs import log_patiently
from uar.capture.spool_file import SpoolBroken
from uar.capture.store_writer import Brought, Counts, Opened, StoreWriter
from uar.config import Settings
from uar.store.database import StoreError, StoreUnavailable, open_store

ROOT = Path(__file__).parent.parent.parent
# Acknowledging goes first, also while this starts. A filter of system calls may forbid it.
PROGRAM = """
import contextlib, os, sys
with contextlib.suppress(OSError):
    os.nice(10)
sys.path.insert(0, sys.argv[1])
from uar.capture.writer_process import run
run(int(sys.argv[2]))
"""
ERRORS: dict[str, type[Exception]] = {kind.__name__: kind for kind in (StoreUnavailable, StoreError, SpoolBroken)}
WORKERS_SIGNALS = (signal.SIGINT, signal.SIGTERM)
CLOSE_S = 1.0
# Longer than any transaction of ours but a change of tables. Something between here and the store may take what is sent and never answer.
ANSWER_WITHIN_S = 600.0
ORPHAN_S = 1.0

log = logging.getLogger(__name__)


class WriterProcess:
    """A `StoreWriter` elsewhere. For one thread, but any may close it. Raises what that raises, and `StoreUnavailable` when it died."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Any = None
        self._is_closed = False

    def open(self, worker: str, started_at: int) -> Opened:
        """As `StoreWriter.open`."""
        return cast(Opened, self._ask("open", worker, started_at))

    def bring(self, refused: Counts, at: int) -> Brought | None:
        """As `StoreWriter.bring`."""
        return cast("Brought | None", self._ask("bring", refused, at))

    def beat(self, coverage_id: int, refused: Counts, at: int) -> None:
        """As `StoreWriter.beat`."""
        self._ask("beat", coverage_id, refused, at)

    def close(self) -> None:
        """Ends the process: after the batch in hand, or, if that takes long, at once."""
        self._is_closed = True
        process = self._process
        if process is None:
            return
        with suppress(OSError):
            self._pipe.send(None)
        try:
            process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ask(self, name: str, *arguments: object) -> object:
        if self._process is None:
            self._start()
        assert self._process is not None
        try:
            self._pipe.send((name, arguments))
            if name != "open" and not self._pipe.poll(ANSWER_WITHIN_S):
                self._process.kill()  # what it wrote is rolled back, or comes again and is known
            is_done, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise StoreUnavailable(f"The process that writes into the store ended ({self._bury()}).") from None
        if is_done:
            return answer
        raise ERRORS[answer[0]](answer[1])

    def _start(self) -> None:
        """Starts the process with nothing of the settings but what it needs, and not in its arguments, which everybody can read."""
        if self._is_closed:
            raise StoreUnavailable("The worker stops.")
        ours, theirs = Pipe()
        # It inherits what its thread blocks: there must be no moment in which a signal for the whole process group ends it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, WORKERS_SIGNALS)
        try:
            command = [sys.executable, "-c", PROGRAM, str(ROOT), str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
        except OSError as error:
            raise StoreUnavailable(f"The process that writes into the store cannot be started ({error.strerror}).") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self._pipe = ours
        needed = self._settings
        ours.send((needed.spool_path, needed.database_url.reveal(), needed.store_titles, needed.log_format))

    def _bury(self) -> str:
        """Forgets the process, so that the next question starts another; how it ended."""
        process, self._process = self._process, None
        self._pipe.close()
        assert process is not None
        code = process.wait()
        return f"exit code {code}" if code >= 0 else f"signal {-code}"


def run(file: int) -> None:
    """Answers what the worker asks through this file descriptor, until the worker closes it or is gone."""
    gc.freeze()
    pipe: Any = Connection(file)
    threading.Thread(target=end_with_worker, args=(file,), name="orphan", daemon=True).start()
    with suppress(EOFError, OSError):
        spool_path, database_url, store_titles, log_format = pipe.recv()
        lines = log_patiently(log_format)
        writer = StoreWriter(spool_path, partial(open_store, database_url), store_titles)
        while (question := pipe.recv()) is not None:
            pipe.send(answer_to(writer, *question))
        lines.flush()


def answer_to(writer: StoreWriter, name: str, arguments: tuple[Any, ...]) -> tuple[bool, object]:
    """Whether the call succeeded, and what it returned or the name and the sentence of what it raised."""
    try:
        return True, getattr(writer, name)(*arguments)
    except tuple(ERRORS.values()) as error:
        return False, (next(name for name, kind in ERRORS.items() if isinstance(error, kind)), str(error))
    except Exception as error:
        log.exception("The store's writer failed because of a defect.")
        return False, (StoreUnavailable.__name__, f"A defect of this version stopped the writing ({type(error).__name__}).")


def end_with_worker(file: int) -> None:
    """Ends this process soon after the worker has gone, also when the store hangs; the batch in hand is left a moment."""
    poll = select.poll()
    poll.register(file, 0)  # a hang-up is told without being asked for
    poll.poll()
    time.sleep(ORPHAN_S)
    os._exit(1)

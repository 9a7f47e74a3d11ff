"""The local file that holds deliveries until the store has them: the only thing a sender's 2xx depends on.

`Spool.append` puts a delivery into a bounded queue; one writer thread commits whatever was handed over as one transaction with
`synchronous=FULL` and only then reports back (group commit, without lingering for more). The same thread deletes what the store has, and
it alone writes and checkpoints the file. Whoever brings deliveries into the store reads through a connection that cannot write: that and
the file itself are in `uar.capture.spool_file`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pysqlite3 import dbapi2 as sqlite

from uar.capture.delivery import Delivery
from uar.capture.spool_file import (
    COLUMNS,
    INSERT,
    DataDirInUse,
    Mark,
    SpoolBroken,
    Waiting,
    add_deliveries,
    connected,
    free_share,
    last_id,
    open_file,
    remove_file,
    salvaged_rows,
    sole_owner,
    waiting,
    within,
)

__all__ = [
    "DataDirInUse",
    "Mark",
    "Spool",
    "SpoolBroken",
    "SpoolFull",
    "Waiting",
    "add_deliveries",
    "salvaged_rows",
    "sole_owner",
    "waiting",
]

QUEUE_LIMIT = 2_000
ORDINARY_BODY = 4_096  # ready means that there is room for such a one
QUEUE_BYTES = 64 * 1024 * 1024
GROUP_LIMIT = 500
MOST_ROWS = 128  # of one statement
IDLE_S = 1.0
FAILED_PAUSE_S = 0.05
MEASURE_S = 0.2
TIDY_WAL_BYTES = 4 * 1024 * 1024

log = logging.getLogger(__name__)

# After each statement the writer queues behind the event loop for the interpreter. So an ordinary group is one statement, its own
# transaction, and the statements of every size stay prepared.
STATEMENTS = ("", *(INSERT + ", (?, ?, ?, ?, ?, ?)" * more for more in range(MOST_ROWS)))

Report = Callable[[Sequence[Any], bool], None]


class SpoolFull(Exception):
    """The queue or the file is at its limit; the sender should come again."""


class FileChanged(sqlite.OperationalError):  # type: ignore[misc] # the driver has no types
    """Somebody took the file away or put another in its place."""


class Spool:
    """The queue, its writer thread and the file. Safe to use from any thread.

    `report(waiters, is_durable)` is called from the writer thread after each group, with what was given to `append`. `depth`,
    `used_bytes`, `oldest_received_at` (epoch milliseconds; None: nothing waits) and `free_share` (of the file's disk) are as of the last
    measurement. Raises `SpoolBroken` if the file cannot be opened.
    """

    def __init__(self, path: Path, limit_bytes: int, report: Report) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._report = report
        self._condition = threading.Condition()
        self._queue: deque[tuple[Delivery, Any]] = deque()
        self._queued_bytes = 0
        self._handed_over = 0  # of the queue's deliveries, from its beginning
        self._drained: Mark | None = None
        self._is_stopping = False
        self.arrived = threading.Event()
        self.is_writable = True
        self.used_bytes = 0
        self.free_share = 1.0
        self.depth = 0
        self._last_id = 0
        self.oldest_received_at: int | None = None
        try:
            self._use(open_file(path))
            self._measure()
        except (sqlite.Error, OSError) as error:
            raise SpoolBroken(f"The spool {path} cannot be opened ({error}). The worker needs a writable UAR_DATA_DIR.") from error
        if self.depth:
            self.arrived.set()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def append(self, delivery: Delivery, waiter: object) -> None:
        """Queues a delivery for `hand_over`; `waiter` is reported once its fate is known. Raises `SpoolFull` at once without room."""
        size = len(delivery.body)
        with self._condition:
            if self.is_full(size):
                raise SpoolFull
            self._queue.append((delivery, waiter))
            self._queued_bytes += size

    def hand_over(self) -> None:
        """Lets the writer commit all that is queued. Once for what came together: a commit costs the same for one and for many."""
        with self._condition:
            self._handed_over = len(self._queue)
            self._condition.notify()

    def is_full(self, size: int = ORDINARY_BODY) -> bool:
        """Whether a body of this size would exceed the queue or the file's limit, or the spool is closing."""
        if self._is_stopping or len(self._queue) >= QUEUE_LIMIT or self._queued_bytes + size > QUEUE_BYTES:
            return True
        return self.used_bytes + self._queued_bytes + size > self._limit_bytes

    def forget(self, drained: Mark) -> None:
        """Lets the writer delete all deliveries up to this place; the store has them. The place in another file deletes nothing."""
        with self._condition:
            self._drained = drained
            self._condition.notify()

    def stop(self, timeout_s: float) -> None:
        """Commits what is queued, deletes what was drained and closes the file."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            group, drained = self._next_work()
            if group or drained is not None:
                self._commit(group, drained)
            elif self._is_stopping:
                break
            else:
                self._tidy()
        self._connection.close()

    def _next_work(self) -> tuple[list[tuple[Delivery, Any]], Mark | None]:
        """What waits now: deliveries to keep and how far to delete. With nothing to do, sleeps until there is, at most for `IDLE_S`."""
        with self._condition:
            if not self._handed_over and self._drained is None and not self._is_stopping:
                self._condition.wait(IDLE_S)
            count = min(self._handed_over or len(self._queue), GROUP_LIMIT)
            self._handed_over = max(0, self._handed_over - count)
            group = [self._queue.popleft() for _ in range(count)]
            drained, self._drained = self._drained, None
        return group, drained

    def _commit(self, group: list[tuple[Delivery, Any]], drained: Mark | None) -> None:
        """One transaction, then the report. After a failed commit nobody knows: the sender comes again, and keys make that harmless."""
        is_durable = True
        try:
            self._write(group, drained)
            self.is_writable = True
            self.depth += len(group)
            self._last_id += len(group)
            self.used_bytes += sum(len(delivery.body) for delivery, _ in group)  # until it is measured
            if self.oldest_received_at is None and group:
                self.oldest_received_at = group[0][0].received_at
            if drained is not None or time.monotonic() - self._measured_at > MEASURE_S:
                self._measure()
        except (sqlite.Error, MemoryError) as error:
            is_durable = False
            self._recover(error, drained)
        if group:
            with self._condition:
                self._queued_bytes -= sum(len(delivery.body) for delivery, _ in group)
            self._report([waiter for _, waiter in group], is_durable)
            self.arrived.set()

    def _use(self, connection: Any) -> None:
        self._connection = connection
        found = os.stat(self._path)
        self._inode, self._file_bytes = found.st_ino, found.st_size
        self._last_id = max(self._last_id, last_id(connection))

    def _is_intact(self) -> bool:
        """Whether the file is still the one that is open: a connection goes on with one that was removed, or cut off and cached."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        is_shorter = found.st_size < self._file_bytes
        self._file_bytes = found.st_size
        return found.st_ino == self._inode and not is_shorter

    def _write(self, group: list[tuple[Delivery, Any]], drained: Mark | None) -> None:
        if not self._is_intact():
            raise FileChanged("the file was removed, replaced or cut off")
        forgotten = drained.id if drained is not None and drained.file == self._inode else None
        if forgotten is None and 0 < len(group) <= MOST_ROWS:
            self._insert(group)
            return
        self._connection.execute("BEGIN IMMEDIATE")
        for start in range(0, len(group), MOST_ROWS):
            self._insert(group[start : start + MOST_ROWS])
        if forgotten is not None:
            self._connection.execute("DELETE FROM deliveries WHERE id <= ?", (forgotten,))
        self._connection.execute("COMMIT")

    def _insert(self, group: list[tuple[Delivery, Any]]) -> None:
        self._connection.execute(STATEMENTS[len(group)], _values(group))

    def _recover(self, error: Exception, drained: Mark | None) -> None:
        """Back to a state in which the next commit can succeed.

        After a failed sync the kernel may hold pages that it wrongly takes for written. Closing, and copying the whole log into the file
        anew, makes every later commit stand on pages that were really written; what fails here is tried again with the next group.
        """
        if self.is_writable:
            log.error("The spool cannot commit (%s); senders are told to come again.", error)
        self.is_writable = False
        with self._condition:
            self._drained = self._drained or drained
        with suppress(sqlite.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL" and self._is_all_drained():
            self._begin_anew()
        if name == "SQLITE_FULL" and self._drained is not None:
            time.sleep(FAILED_PAUSE_S)  # what the store has cannot be deleted yet, and is tried again at once
        if name in ("SQLITE_FULL", "SQLITE_BUSY"):
            return
        with suppress(sqlite.Error, OSError):
            if isinstance(error, FileChanged):
                self._move()
            else:
                self._connection.close()
                self._use(connected(self._path, check=False))
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._measure()
            self.arrived.set()
        time.sleep(FAILED_PAUSE_S)

    def _is_all_drained(self) -> bool:
        return self._drained is not None and self._drained.file == self._inode and self._drained.id >= self._last_id

    def _begin_anew(self) -> None:
        """An empty file in place of one that the store has all of: deleting from it takes room that a full disk does not have."""
        log.info("The disk of the spool is full. The store has all that lies in it, so its file is begun anew.")
        with suppress(sqlite.Error, OSError):
            self._connection.close()
            self._inode = 0  # if what follows fails, the next commit finds another file and goes on in that
            remove_file(self._path)
            self.arrived.set()  # whoever reads the old file holds its room until it looks again
            self._use(open_file(self._path, self._last_id))
            self._measure()
            self._drained = None

    def _move(self) -> None:
        """Goes on in the file that is there now, or in a new one, with what can still be read from the one that was taken away."""
        kept: list[tuple[Delivery, Any]] = []
        with suppress(sqlite.Error):
            rows = self._connection.execute(f"SELECT id, {COLUMNS} FROM deliveries ORDER BY id")
            kept = [(delivery, None) for _, delivery in within(rows, QUEUE_BYTES)]
        self._connection.close()
        self._use(open_file(self._path, self._last_id))
        self._write(kept, None)

    def _measure(self) -> None:
        self._measured_at = time.monotonic()
        self._measure_disk()
        one = self._connection.execute
        pages = one("PRAGMA page_count").fetchone()[0] - one("PRAGMA freelist_count").fetchone()[0]
        self.used_bytes = pages * one("PRAGMA page_size").fetchone()[0]
        first = one("SELECT id, received_at FROM deliveries ORDER BY id LIMIT 1").fetchone()
        self.depth = 0 if first is None else one("SELECT max(id) FROM deliveries").fetchone()[0] - first[0] + 1
        self.oldest_received_at = None if first is None else first[1]

    def _measure_disk(self) -> None:
        with suppress(OSError):  # a file that was taken away is the next commit's matter
            self.free_share = free_share(self._path)

    def _tidy(self) -> None:
        """With nothing to do: prove after a failure that commits work again, and cut the log so that deleted bodies leave it too."""
        try:
            self._measure_disk()
            if not self.is_writable:
                self._connection.execute(f"PRAGMA user_version = {int(time.time()) & 0x7FFFFFFF}")
                self.is_writable = True
                log.info("The spool can commit again.")
            wal = self._path.with_name(self._path.name + "-wal")
            if wal.exists() and wal.stat().st_size > (0 if self.depth == 0 else TIDY_WAL_BYTES):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except (sqlite.Error, OSError, MemoryError) as error:
            self._recover(error, None)


def _values(group: Sequence[tuple[Delivery, Any]]) -> list[Any]:
    values: list[Any] = []
    for delivery, _ in group:
        values += (
            int(delivery.source),
            delivery.site,
            delivery.event_name,
            delivery.delivery_id,
            delivery.received_at,
            delivery.body,
        )
    return values

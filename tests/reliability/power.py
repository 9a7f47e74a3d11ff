"""A disk whose power can be cut: a file system in a file, shut down while a worker writes to it, then mounted again.

What was not synced by then is gone. A killed process cannot show that, because the kernel keeps what it wrote.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite

from tests.reliability.postgres import PostgresServer
from tests.reliability.running import RunningWorker
from tests.reliability.sender import Ledger, Sender

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, which is XFS_IOC_GOINGDOWN as well
JOURNAL_WRITTEN, JOURNAL_LOST = 1, 2  # the two ways a real cut may end (fs/xfs/libxfs/xfs_fs.h)
SIZE = 512 * 1024 * 1024  # a sparse file; XFS wants 300 MB
FORMAT = {"ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1"), "xfs": ("mkfs.xfs", "-q", "-f")}
MOMENT_S = (0.1, 0.6)


class PowerDisk:
    """A file system of that kind, mounted at `folder`."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self._image = folder.with_name(f"{folder.name}.image")
        folder.mkdir()
        with open(self._image, "wb") as image:
            image.truncate(SIZE)
        self._run(*FORMAT[kind], str(self._image))
        self._mount()

    def cut(self, how: int) -> None:
        """The power goes: from now on nothing reaches the disk, and every write fails."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", how))
        finally:
            os.close(handle)

    def restore(self, server: PostgresServer | None = None) -> None:
        """The power comes back; whoever had files open must be gone. `server` went down with the disk and starts again."""
        if server is not None:
            server.stop(signal.SIGQUIT)
        self.unmount()
        self._mount()
        if server is not None:
            server.start()

    def unmount(self) -> None:
        """Takes the file system away, as soon as nobody uses it; what was not written is forgotten."""
        deadline = time.monotonic() + 60
        while subprocess.run(["umount", str(self.folder)], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, f"{self.folder} is still in use"
            time.sleep(0.02)

    def _mount(self) -> None:
        self._run("mount", "-o", "loop", str(self._image), str(self.folder))

    def _run(self, *command: str) -> None:
        try:
            path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where these programs are, also for who has not looked there
            subprocess.run(["env", f"PATH={path}", *command], capture_output=True, text=True, check=True)
        except subprocess.CalledProcessError as error:
            why = error.stderr.strip().splitlines()[0]
            pytest.fail(
                f"No disk can be made whose power is cut ({command[0]}: {why}): this test needs root, a loop device, e2fsprogs and "
                "xfsprogs (scripts/find_operation_tools.sh installs the last two on Debian and Ubuntu)."
            )


@contextmanager
def power_disk(folder: Path, kind: str) -> Iterator[PowerDisk]:
    """A disk of that kind while the block runs."""
    disk = PowerDisk(folder, kind)
    try:
        yield disk
    finally:
        disk.unmount()


def cut_again_and_again(
    disk: PowerDisk, rounds: int, server: PostgresServer | None = None, prefix: tuple[str, ...] = ()
) -> tuple[str, Ledger]:
    """Cuts the power of a worker under load so many times, each at another moment; the store's URL and what was acknowledged.

    The store is on the same disk: SQLite, or a new database of a server whose folder is there.
    """
    moments = random.Random(rounds)
    ledger = Ledger()
    numbers = itertools.count()
    url = None if server is None else server.new_database()
    with RunningWorker(disk.folder / "data", url, prefix=prefix) as worker:
        for how in itertools.islice(itertools.cycle((JOURNAL_LOST, JOURNAL_WRITTEN)), rounds):
            with Sender(worker.port, ledger, numbers):
                time.sleep(moments.uniform(*MOMENT_S))
                cut_both(disk, worker, how)
            disk.restore(server)
            assert_sound(disk.folder / "data")
            worker.start()
        worker.wait_drained()
        return worker.database_url, ledger


def cut_both(disk: PowerDisk, worker: RunningWorker, how: int) -> None:
    """The power goes for disk and worker.

    The worker stands still a moment before the disk: a process that outlives its disk is no power cut. What is acknowledged while an
    ext4 is being shut down is missing now and then (3 of 39 cuts): a sync that the shutdown overtakes seems to end without an error.
    """
    worker.signal(signal.SIGSTOP)
    time.sleep(0.01)
    disk.cut(how)
    worker.kill()


def assert_sound(folder: Path) -> None:
    """Fails unless every SQLite file there is whole; looks at copies, so that the worker finds what the cut left."""
    files = list(folder.glob("*.db"))
    assert files
    with tempfile.TemporaryDirectory() as name:
        for file in folder.glob("*.db*"):
            shutil.copy(file, name)
        for file in files:
            with closing(sqlite.connect(str(Path(name) / file.name))) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], file

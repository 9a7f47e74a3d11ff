"""A PostgreSQL server that the tests may hurt, stores on both databases, small file systems, and workers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.reliability.postgres import PostgresServer
from uar.store.database import migrate, open_store


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """One running server for all tests of this folder; whoever stops it starts it again."""
    made = PostgresServer()
    made.start()
    yield made
    made.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty, migrated store; each test runs on both databases."""
    url = f"sqlite:///{tmp_path / 'store' / 'uar.db'}" if request.param == "sqlite" else request.getfixturevalue("server").new_database()
    ready(url)
    return url


@pytest.fixture
def postgresql_url(server: PostgresServer) -> str:
    """The URL of an empty, migrated PostgreSQL store."""
    url = server.new_database()
    ready(url)
    return url


def ready(url: str) -> None:
    """Makes the tables, so that a worker starts at once."""
    engine = open_store(url)
    migrate(engine)
    engine.dispose()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of that size, mounted at `folder`."""
    if os.geteuid() != 0:
        pytest.fail("This test mounts a small file system and needs root for it: run it as root, or in a container with CAP_SYS_ADMIN.")
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"A small file system cannot be mounted here ({done.stderr.strip()}): run it where root may mount a tmpfs.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, option: str) -> None:
    """Mounts a small disk again, `ro` or `rw`."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)

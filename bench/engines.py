"""The peers: ClickHouse (chdb) and DuckDB inside this process, PostgreSQL beside it, all on the same raw rows and on two threads."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import chdb.session
import duckdb
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from bench.questions import Row
from bench.site import Raw

THREADS = 2
COPY_ROWS = 500_000


class Engine(Protocol):
    """Somebody who answers SQL on the raw rows."""

    name: str

    def answer(self, sql: str, zone: str) -> list[Row]:
        """Every row as whole numbers."""
        ...


class ClickHouse:
    """A MergeTree table, sorted as the mirror is."""

    name = "ClickHouse"

    def __init__(self, folder: Path, files: list[Path]) -> None:
        self._session = chdb.session.Session(str(folder / "clickhouse"))
        columns = "person Int32, occurred_at DateTime64(3, 'UTC'), type Int8, space Int32"
        self._session.query("CREATE DATABASE bench")
        self._session.query(f"CREATE TABLE bench.rows ({columns}) ENGINE = MergeTree ORDER BY (person, occurred_at)")
        for file in files:
            self._session.query(f"INSERT INTO bench.rows SELECT person, occurred_at, type, space FROM file('{file}')")
        self._session.query("OPTIMIZE TABLE bench.rows FINAL")

    def answer(self, sql: str, zone: str) -> list[Row]:
        """See `Engine`."""
        query = sql.format(day=f"toInt32(toDate(occurred_at, '{zone}'))", table="bench.rows")
        lines = str(self._session.query(f"{query} SETTINGS max_threads = {THREADS}", "CSV")).splitlines()
        return [tuple(map(int, line.split(","))) for line in lines]


class DuckDB:
    """A table in memory."""

    name = "DuckDB"

    def __init__(self, files: list[Path]) -> None:
        self._connection = duckdb.connect(config={"threads": THREADS})
        listed = ", ".join(f"'{file}'" for file in files)
        self._connection.execute(
            f"CREATE TABLE rows AS SELECT person, occurred_at, type, space FROM read_parquet([{listed}]) ORDER BY person, occurred_at"
        )

    def answer(self, sql: str, zone: str) -> list[Row]:
        """See `Engine`."""
        query = sql.format(day=f"((occurred_at AT TIME ZONE '{zone}')::DATE - DATE '1970-01-01')", table="rows")
        return [tuple(map(int, row)) for row in self._connection.execute(query).fetchall()]


class PostgreSQL:
    """A plain table with the columns of the product's own, vacuumed and analyzed."""

    name = "PostgreSQL"

    def __init__(self, url: str, parts: list[Raw]) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute("CREATE TABLE rows (person int, occurred_at bigint, type smallint, space int)")
        with self._connection.cursor() as cursor, cursor.copy("COPY rows FROM STDIN (FORMAT BINARY)") as copy:
            for chunk in binary_rows(parts):
                copy.write(chunk)
        self._connection.execute("CREATE INDEX ON rows (person, occurred_at)")
        self._connection.execute("VACUUM (ANALYZE, FREEZE) rows")
        self._connection.execute(f"SET max_parallel_workers_per_gather = {THREADS}")
        self._connection.execute("SET work_mem = '512MB'")

    def answer(self, sql: str, zone: str) -> list[Row]:
        """See `Engine`."""
        day = f"((to_timestamp(occurred_at / 1000.0) AT TIME ZONE '{zone}')::date - DATE '1970-01-01')"
        return [tuple(map(int, row)) for row in self._connection.execute(sql.format(day=day, table="rows")).fetchall()]


def binary_rows(parts: list[Raw]) -> Iterator[bytes]:
    """The rows in PostgreSQL's binary COPY format (postgresql.org/docs/current/sql-copy.html)."""
    layout = [("fields", ">i2"), ("l1", ">i4"), ("person", ">i4"), ("l2", ">i4"), ("at", ">i8")]
    layout += [("l3", ">i4"), ("type", ">i2"), ("l4", ">i4"), ("space", ">i4")]
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for part in parts:
        for start in range(0, len(part.at), COPY_ROWS):
            rows = slice(start, start + COPY_ROWS)
            block = np.empty(len(part.at[rows]), dtype=layout)
            block["fields"], block["l1"], block["l2"], block["l3"], block["l4"] = 4, 4, 8, 2, 4
            block["person"], block["at"], block["type"], block["space"] = (
                part.person[rows],
                part.at[rows],
                part.type[rows],
                part.space[rows],
            )
            yield block.tobytes()
    yield b"\xff\xff"


def write_parquet(folder: Path, parts: list[Raw]) -> list[Path]:
    """One file per part, for the engines that read Parquet."""
    files = []
    for number, part in enumerate(parts):
        at = pa.array(part.at, pa.timestamp("ms", "UTC"))
        file = folder / f"{number}.parquet"
        pq.write_table(pa.table({"person": part.person, "occurred_at": at, "type": part.type, "space": part.space}), file)
        files.append(file)
    return files


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

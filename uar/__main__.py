"""The command line: `python -m uar COMMAND`.

    up · worker · dashboard        run the product
    demo · import · replay         bring activities into the store
    sync · import-users            bring names, groups and spaces from Confluence
    report                         print what the pages show (uar/commands/report.py)
    doctor · migrate · prune · backup · restore     look after it

Each command imports what it needs when it runs, so that `--help` is quick. What goes wrong ends as one sentence on standard error:
exit code 2 for a wrong setting or option, 1 for a store or file that does not do its part.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from uar import __version__
from uar.commands.backup import backup, restore
from uar.commands.failure import Failure, Group
from uar.commands.report import report
from uar.config import Settings, load_settings

if TYPE_CHECKING:
    from uar.store.database import Engine


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="uar")
def main() -> None:
    """User Activity Report for Confluence: who uses it, how much, and what they do there."""


for command in (report, backup, restore):
    main.add_command(command)


@main.command()
def up() -> None:
    """Start worker and dashboard together; Ctrl-C stops both."""
    from uar.store.database import StoreUnavailable
    from uar.up import check_ports
    from uar.up import up as run

    settings = load_settings()
    check_ports(settings)
    try:
        migrated_store(settings)
    except StoreUnavailable as error:
        # The worker keeps what arrives in its spool until the store is back.
        click.echo(f"{error} Starting all the same.", err=True)
    sys.exit(run(settings, click.echo))


@main.command()
def worker() -> None:
    """Start the worker alone: it receives deliveries from Confluence, and once a day reads the directory and prunes."""
    from uar.app_tokens import AppTokens
    from uar.capture.worker import serve
    from uar.confluence.schedule import DirectoryThread
    from uar.retention import RetentionThread

    settings = load_settings()
    app_tokens = AppTokens()
    beside = (DirectoryThread(settings, app_tokens=app_tokens), RetentionThread(settings))
    for thread in beside:
        thread.start()
    try:
        serve(settings, app_tokens)
    finally:
        for thread in beside:
            thread.stop()


@main.command()
def dashboard() -> None:
    """Start the dashboard alone."""
    from uar.dashboard import serve

    serve(load_settings())


@main.command()
@click.option("--today", type=click.DateTime(["%Y-%m-%d"]), help="Last day of the sample; default: today.")
@click.option("--seed", type=int, default=42, show_default=True, help="Another number gives other people and other days.")
def demo(today: datetime | None, seed: int) -> None:
    """Load the sample site: 200 invented people, 14 months. Again does no harm."""
    from uar.demo import SITE, load_demo

    settings = load_settings()
    now = datetime.now(UTC)
    last_day = today.date() if today else now.date()
    with progress_bar("Loading the sample site") as progress:
        loaded = load_demo(migrated_store(settings), last_day, seed, progress, until=int(now.timestamp() * 1000))
    click.echo(f"Site {SITE!r}: {loaded.inserted:,} activities added, {loaded.duplicates:,} were there already.")


@main.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_activities(file: Path) -> None:
    """Load activities from FILE (.csv or .jsonl); bad lines are listed and change nothing."""
    from uar.capture.import_file import import_file

    settings = load_settings()
    before, words = retention_edge(settings)
    with progress_bar("Importing") as progress:
        imported = import_file(migrated_store(settings), file, progress, oldest_kept=before)
    list_bad_lines(file, imported.bad_lines)
    click.echo(
        f"{imported.inserted:,} activities added, {imported.duplicates:,} were there already, "
        f"{imported.not_counted:,} events are no activity, {len(imported.bad_lines):,} bad lines."
    )
    if imported.too_old:
        click.echo(
            f"{imported.too_old:,} of the activities are older than {words} and will be pruned: to keep them, set UAR_RETENTION_MONTHS "
            "higher and import the file again."
        )
    sys.exit(1 if imported.bad_lines else 0)


@main.command()
def replay() -> None:
    """Read the deliveries in quarantine again, as after an upgrade that knows more event names."""
    from uar.capture.replay import replay as run

    settings = load_settings()
    done = run(migrated_store(settings), settings)
    click.echo(f"{done.read:,} deliveries can be read now ({done.stored:,} activities added), {done.remaining:,} stay in quarantine.")


@main.command()
@click.option("--site", help="Only this site of UAR_CONFLUENCE_URLS; default: all.")
def sync(site: str | None) -> None:
    """Read people, groups, memberships and spaces from Confluence. Goes on where it was interrupted."""
    from uar.confluence.directory import sync as run

    settings = load_settings()
    with progress_bar("Reading the directory") as progress:
        results = run(settings, migrated_store(settings), site, progress)
    for result in results:
        if result.error:
            click.echo(f"{result.site}: {result.error}", err=True)
            continue
        click.echo(
            f"{result.site}: {result.people:,} people, {result.groups:,} groups, {result.memberships:,} memberships, "
            f"{result.spaces:,} spaces, {result.deactivated:,} newly deactivated."
        )
    sys.exit(1 if any(result.error for result in results) else 0)


@main.command("import-users")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--site", help="The site that the export belongs to; needed only with several.")
def import_users(file: Path, site: str | None) -> None:
    """Load FILE, the users export (CSV) of Atlassian Administration."""
    from uar.commands.question import known_site
    from uar.confluence.users_export import UnreadableExport
    from uar.confluence.users_export import import_users as run

    settings = load_settings()
    engine = migrated_store(settings)
    name = site if site and site in settings.confluence_urls else known_site(engine, site)[1]
    try:
        with progress_bar("Importing") as progress:
            imported = run(engine, file, name, progress)
    except UnreadableExport as error:
        raise Failure(str(error)) from error
    list_bad_lines(file, imported.bad_lines)
    click.echo(f"{name}: {imported.added:,} people added, {imported.changed:,} changed, {len(imported.bad_lines):,} bad lines.")
    sys.exit(1 if imported.bad_lines else 0)


@main.command()
def doctor() -> None:
    """Check settings, store, spool, clock, key set and deliveries; exit code 1 if something is broken."""
    from uar.doctor import FAIL, diagnose

    findings = diagnose(load_settings())
    for finding in findings:
        click.echo(f"{finding.level:<4}  {finding.sentence}")
    sys.exit(1 if any(finding.level == FAIL for finding in findings) else 0)


@main.command()
def migrate() -> None:
    """Create the store's tables or bring them to this release."""
    migrated_store(load_settings())
    click.echo("The store is up to date.")


@main.command()
@click.option("--dry-run", is_flag=True, help="Only count them.")
def prune(dry_run: bool) -> None:
    """Remove activities older than UAR_RETENTION_MONTHS, as the worker does once a day. Goes on where it was interrupted."""
    from uar.store.retention import count_older
    from uar.store.retention import prune as run

    settings = load_settings()
    engine = migrated_store(settings)
    before, words = retention_edge(settings)
    if dry_run:
        click.echo(f"{count_older(engine, before):,} activities are older than {words}; none was removed.")
        return
    with progress_bar("Pruning") as progress:
        removed = run(engine, before, progress)
    click.echo(f"{removed:,} activities older than {words} were removed.")


def retention_edge(settings: Settings) -> tuple[int, str]:
    """The instant (epoch ms) before which activities are too old, and in words."""
    from uar.retention import now_ms, oldest_kept

    before = oldest_kept(now_ms(), settings.retention_months)
    return before, f"{datetime.fromtimestamp(before / 1000, UTC):%Y-%m-%d} ({settings.retention_months} months)"


def list_bad_lines(file: Path, bad_lines: Sequence[tuple[int, str]]) -> None:
    """Name each line that was left out, and why."""
    for line, sentence in bad_lines:
        click.echo(f"{file.name}, line {line}: {sentence}", err=True)


def migrated_store(settings: Settings) -> Engine:
    """The store of the settings, with all its tables."""
    from uar.store.database import migrate as run
    from uar.store.database import open_store

    engine = open_store(settings.database_url.reveal())
    run(engine)
    return engine


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A callback of (done, total) that draws a bar where somebody looks, else None."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = max(1, total)
            bar.update(done - bar.pos)

        yield show


if __name__ == "__main__":
    main(prog_name="python -m uar")

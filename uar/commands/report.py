"""`python -m uar report …`: the numbers of the pages, for scripts, by the same functions as the pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Unpack

import click

from uar.commands.failure import Group
from uar.commands.question import Options, ask, question_options

as_json_or_csv = click.option(
    "--format", "form", type=click.Choice(["json", "csv"]), default="json", show_default=True, help="What is printed."
)


@click.group(cls=Group)
def report() -> None:
    """Print what the pages show, as JSON or CSV."""


@report.command("calendar")
@question_options
@as_json_or_csv
def print_calendar(form: str, **options: Unpack[Options]) -> None:
    """Every day of the range: events, people, and events of each type."""
    from uar.report.days import calendar
    from uar.report.output import calendar_csv, calendar_json

    question = ask(options)
    days = calendar(question.snapshot.mirror, question.selection)
    emit(calendar_csv(days) if form == "csv" else calendar_json(days, question.selection))


@report.command("kpis")
@question_options
@click.option("--working-days", is_flag=True, help="Quiet Saturdays and Sundays neither break nor lengthen a streak.")
@as_json_or_csv
def print_kpis(form: str, working_days: bool, **options: Unpack[Options]) -> None:
    """Active days, longest and current streak."""
    from uar.report.days import calendar
    from uar.report.output import kpis_csv, kpis_json
    from uar.report.streaks import WorkingDays, kpis

    question = ask(options)
    numbers = kpis(
        calendar(question.snapshot.mirror, question.selection),
        today=question.today,
        recorded_from=question.recorded_from,
        working_days=WorkingDays() if working_days else None,
        unknown=question.unknown,
    )
    emit(kpis_csv(numbers) if form == "csv" else kpis_json(numbers))


@report.command("breakdown")
@question_options
@as_json_or_csv
def print_breakdown(form: str, **options: Unpack[Options]) -> None:
    """The ten event types: events, share, people."""
    from uar.report.breakdown import breakdown
    from uar.report.output import breakdown_csv, breakdown_json

    question = ask(options)
    types = breakdown(question.snapshot.mirror, question.selection)
    emit(breakdown_csv(types) if form == "csv" else breakdown_json(types))


@report.command("users")
@question_options
@click.option("--working-days", is_flag=True, help="Quiet Saturdays and Sundays neither break nor lengthen a streak.")
@as_json_or_csv
def print_users(form: str, working_days: bool, **options: Unpack[Options]) -> None:
    """Everybody of the directory, the last active first: status, last activity, streaks, events."""
    from uar.report.export import Heading, users_csv, users_json
    from uar.report.people import newest_first, people_table
    from uar.report.status import Rules
    from uar.report.streaks import WorkingDays

    question = ask(options)
    selection, snapshot = question.selection, question.snapshot
    table = people_table(
        snapshot.mirror,
        snapshot.people,
        selection,
        Rules(question.today, selection.zone, question.status_days, snapshot.recorded_from_ms),
        groups=question.groups,
        working_days=WorkingDays() if working_days else None,
        unknown=question.unknown,
    )
    table, heading = table.iloc[newest_first(table)], Heading(selection.first, selection.last, selection.zone, datetime.now(UTC))
    if form == "csv":
        click.echo(users_csv(table, heading), nl=False)
    else:
        emit(users_json(table, heading))


def emit(text: str) -> None:
    """Print a report with exactly one line end after it."""
    click.echo(text.rstrip("\n"))

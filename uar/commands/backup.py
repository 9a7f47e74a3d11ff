"""`python -m uar backup` and `restore`: everything that cannot be made again, out and back."""

from __future__ import annotations

from pathlib import Path

import click

from uar.commands.failure import Failure
from uar.config import load_settings

FOLDER = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.command()
@FOLDER
def backup(folder: Path) -> None:
    """Copy store and spool into the new FOLDER, also while everything runs."""
    from uar.backup import back_up

    for path in back_up(load_settings(), folder):
        click.echo(f"{path}  {path.stat().st_size:,} bytes")


@click.command()
@FOLDER
def restore(folder: Path) -> None:
    """Bring the backup in FOLDER back where there is no store yet; the worker must not run."""
    from uar import backup as copies
    from uar.capture.spool import DataDirInUse, SpoolBroken

    try:
        copies.restore(load_settings(), folder)
    except (DataDirInUse, SpoolBroken) as error:
        raise Failure(str(error)) from error
    click.echo("Restored. Start the worker: it upgrades the store if needed and drains what waits.")

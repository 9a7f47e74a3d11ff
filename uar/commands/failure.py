"""How a command says that it cannot do what was asked: one sentence on standard error and an exit code, never a traceback."""

from __future__ import annotations

import sys
from typing import IO, Any

import click

from uar.config import ConfigError


class Failure(click.ClickException):
    """What the world did: one sentence, exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence, without a label before it."""
        click.echo(self.message, file=file or sys.stderr)


class Wrong(Failure):
    """A wrong option or setting: one sentence, exit code 2."""

    exit_code = 2


class Group(click.Group):
    """A group of commands that turns the errors we know into sentences."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; `Failure` for a wrong setting, an unusable store, or a file that cannot be read or written."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise Wrong(str(error)) from error
        except BrokenPipeError:
            raise  # whoever read our output has enough; click knows what to do
        except OSError as error:
            raise Failure(f"{error.filename or 'The system'}: {error.strerror or error}.") from error
        except _our_errors() as error:
            raise Failure(str(error)) from error


def _our_errors() -> tuple[type[Exception], ...]:
    # Looked up only when something went wrong: these libraries take a second to load, and `--help` needs none of them.
    from uar.capture.import_file import UnreadableFile
    from uar.capture.worker import WorkerError
    from uar.confluence.errors import ConfluenceError
    from uar.store.database import StoreError, StoreUnavailable

    return StoreError, StoreUnavailable, UnreadableFile, WorkerError, ConfluenceError

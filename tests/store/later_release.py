"""This program as a later release of itself: its `migrate` also knows the steps of `tests/store/later/`.

python -m tests.store.later_release URL     brings the tables to that release, and is killed with SIGKILL when all is done but the commit
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from alembic.config import Config
from sqlalchemy import event

import uar.store.database
from uar.store.database import migrate, open_store

STEPS = (Path(uar.store.database.__file__).parent / "migrations" / "versions", Path(__file__).parent / "later")
REVISION = "0002"
known = uar.store.database._alembic


def alembic() -> Config:
    """Takes the place of `uar.store.database._alembic`."""
    config = known()
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", os.pathsep.join(map(str, STEPS)))
    return config


def _kill_at_the_end(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    if statement.startswith("UPDATE alembic_version"):
        print("all but the commit", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    uar.store.database._alembic = alembic
    engine = open_store(sys.argv[1])
    event.listen(engine, "before_cursor_execute", _kill_at_the_end)
    migrate(engine)

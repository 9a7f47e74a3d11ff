"""The mirror on disk, so that a restart does not read millions of rows again: one file per site, replaced as a whole.

    line 1   MAGIC and the format's version
    line 2   the checksum of line 3
    line 3   JSON: what the file belongs to (`State`), the blocks and their columns, and the checksum of the rest
    rest     the columns, one after another

A file that is damaged, of another format or of another store is no error: `load_cache` says None and the mirror is read from the store.
Only numbers are kept here, no names.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from uar.report.blocks import SLOTS, Block, slot_totals
from uar.report.mirror import Codes, Mirror

log = logging.getLogger(__name__)

MAGIC = b"UAR mirror 1\n"
LONGEST_HEADER = 64_000_000


@dataclass(frozen=True)
class State:
    """What a mirror was made from: store, site, generation, earliest instant, the last row read.

    `tail_rows` and `tail` are number and checksum of the rows with the last `tail_ids` ids, to recognize the store by.
    """

    store: str
    site_id: int
    generation: int
    since: int
    last_id: int
    last_received_at: int | None
    tail_ids: int = 0
    tail_rows: int = 0
    tail: int = 0


def save_cache(path: Path, state: State, mirror: Mirror) -> bool:
    """Write or replace the file; whether that worked. A full disk or a forbidden folder costs only a slower restart."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            header = json.dumps(_header(state, mirror)).encode() + b"\n"
            file.write(MAGIC + b"%d\n" % zlib.crc32(header) + header)
            for column in _all_columns(mirror):
                file.write(column.tobytes())
        draft.replace(path)
    except OSError as error:
        log.warning("The mirror's cache %s cannot be written (%s); the next start takes longer.", path, error.strerror)
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        return False
    return True


def load_cache(path: Path) -> tuple[State, Mirror] | None:
    """The mirror in the file and what it was made from; None if there is no whole file of this format."""
    try:
        with path.open("rb") as file:
            if file.readline(len(MAGIC)) != MAGIC:
                return None
            checksum, line = int(file.readline(20)), file.readline(LONGEST_HEADER)
            if zlib.crc32(line) != checksum:
                return None
            header = json.loads(line)
            columns = _Columns(file)
            mirror = _mirror(header, columns)
            is_whole = columns.checksum == header["checksum"] and not file.read(1)
        return (State(**header["state"]), mirror) if is_whole else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.info("The mirror's cache %s is not used (%s).", path, type(error).__name__)
        return None


def drop_cache(path: Path) -> None:
    """Remove the file, if there is one."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("The mirror's cache %s cannot be removed (%s); it is not used any more.", path, error.strerror)


class _Columns:
    """Reads one column after another from a file and keeps their checksum."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.checksum = 0

    def column(self, length: int, dtype: str) -> NDArray[Any]:
        """The next column; raises `ValueError` if the file ends before it does."""
        values = np.fromfile(self._file, dtype=dtype, count=length)
        if len(values) != length:
            raise ValueError("the file is too short")
        self.checksum = zlib.crc32(values.data, self.checksum)
        return values


def _header(state: State, mirror: Mirror) -> dict[str, Any]:
    checksum = 0
    for column in _all_columns(mirror):
        checksum = zlib.crc32(column.tobytes(), checksum)
    blocks = [(block.number, len(block), block.space.dtype.str, block.count.dtype.str) for block in mirror.blocks.values()]
    sizes = {"people": len(mirror.people), "spaces": len(mirror.spaces), "activities": mirror.activities}
    return {"state": asdict(state), "checksum": checksum, "blocks": blocks, **sizes}


def _all_columns(mirror: Mirror) -> Iterator[NDArray[Any]]:
    yield mirror.people.ids
    yield mirror.spaces.ids
    for block in mirror.blocks.values():
        yield from (block.person, block.slot, block.space, block.count)


def _mirror(header: dict[str, Any], columns: _Columns) -> Mirror:
    people, spaces = Codes(columns.column(header["people"], "<i4")), Codes(columns.column(header["spaces"], "<i4"))
    blocks = {}
    for number, length, space, count in header["blocks"]:
        person, slot = columns.column(length, "<i4"), columns.column(length, "<u2")
        if length and int(slot.max()) >= SLOTS:
            raise ValueError("a slot beyond the week")
        places, counts = columns.column(length, space), columns.column(length, count)
        blocks[int(number)] = Block(int(number), person, slot, places, counts, slot_totals(slot, counts))
    return Mirror(blocks, people, spaces, int(header["activities"]))

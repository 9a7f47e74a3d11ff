"""Many viewers at once: each clicks a filter of the Activity Dashboard every two seconds, without a browser.

`python -m bench.viewers [--viewers 50] [--seconds 60] [--people 5000] [--activities 4000000]`

A click is what a browser sends when a filter is changed (a `rerun_script` with the states of all widgets over the websocket), and its
answer has come when the script says that it has finished; Streamlit's messages are in `streamlit.proto`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

from bench.loading import activity, fill
from bench.serving import dashboard
from bench.site import Site
from bench.timing import milliseconds, table
from uar.activity import identity
from uar.store.database import Engine, migrate, open_store, write_transaction
from uar.store.writes import record_activities

PAUSE_S = 2.0
ARRIVING = 20  # activities a second; after each refresh of the mirror every question is a new one
TYPES = ("View", "Create", "Update", "Comment")


class Viewer:
    """One session: knows its widgets' identities, and the states it has given them."""

    def __init__(self, socket: ClientConnection, seed: int) -> None:
        self._socket = socket
        self._random = random.Random(seed)
        self._ids: dict[str, str] = {}
        self._states: dict[str, WidgetState] = {}
        self.answers: list[float] = []

    async def open(self) -> None:
        """Opens the page."""
        await self._rerun()
        self.answers.clear()

    async def click(self, until: float) -> None:
        """Clicks until then; the answers' durations are in `answers`, in seconds."""
        await asyncio.sleep(self._random.uniform(0, PAUSE_S))
        while time.monotonic() < until:
            self._click()
            began_at = time.monotonic()
            await self._rerun()
            await asyncio.sleep(max(0.0, began_at + PAUSE_S - time.monotonic()))

    def _click(self) -> None:
        """Changes one filter."""
        key = self._random.choice(("noviews", "workdays", "types"))
        state = WidgetState(id=self._ids[key])
        if key == "types":
            state.string_array_value.data.extend(self._random.sample(TYPES, self._random.randint(1, 3)))
        else:
            former = self._states.get(key)
            state.bool_value = not (former is not None and former.bool_value)
        self._states[key] = state

    async def _rerun(self) -> None:
        """Asks for a run and reads until it has finished."""
        asked = BackMsg()
        asked.rerun_script.widget_states.widgets.extend(self._states.values())
        asked.rerun_script.context_info.timezone = "Europe/Berlin"
        began_at = time.monotonic()
        await self._socket.send(asked.SerializeToString())
        while True:
            message = ForwardMsg.FromString(await self._socket.recv(decode=False))
            if message.WhichOneof("type") == "delta":
                self._note(message)
            elif message.WhichOneof("type") == "script_finished":
                if message.script_finished != ForwardMsg.FINISHED_SUCCESSFULLY:
                    continue  # the page runs itself again
                break
        self.answers.append(time.monotonic() - began_at)

    def _note(self, message: ForwardMsg) -> None:
        """Keeps the identities of the filters; each ends with the filter's name in the address."""
        element = message.delta.new_element
        kind = element.WhichOneof("type")
        if kind in ("checkbox", "multiselect", "button_group"):
            identity = getattr(element, kind).id
            self._ids[identity.rpartition("-")[2]] = identity
        if kind == "exception":
            raise RuntimeError(f"the page failed: {element.exception.message}")


async def watched(port: int, viewers: int, seconds: float) -> list[float]:
    """The durations of all answers, in seconds."""
    sockets = [
        await connect(f"ws://127.0.0.1:{port}/_stcore/stream", subprotocols=["streamlit"], max_size=None, ping_interval=None)
        for _ in range(viewers)
    ]
    people = [Viewer(socket, number) for number, socket in enumerate(sockets)]
    await asyncio.gather(*(person.open() for person in people))
    until = time.monotonic() + seconds
    await asyncio.gather(*(person.click(until) for person in people))
    for socket in sockets:
        await socket.close()
    return [answer for person in people for answer in person.answers]


@contextmanager
def arrivals(engine: Engine, site: Site) -> Iterator[None]:
    """While the block runs, `ARRIVING` activities come into the store every second."""
    stopping = threading.Event()

    def record() -> None:
        for second in itertools.count():
            if stopping.wait(1.0):
                break
            numbers = range(second * ARRIVING, (second + 1) * ARRIVING)
            at = time.time_ns() // 1_000_000
            with write_transaction(engine) as connection:
                acts = [activity(n * 7 % site.people, n % site.spaces, at, identity("arriving", n)) for n in numbers]
                record_activities(connection, acts)

    thread = threading.Thread(target=record)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def main() -> None:
    """Fills a store, serves it, lets the viewers click, and prints one line."""
    parser = argparse.ArgumentParser(prog="python -m bench.viewers", description="Measure the dashboard under many viewers.")
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--people", type=int, default=5_000)
    parser.add_argument("--activities", type=int, default=4_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="uar-bench-") as name:
        engine = open_store(f"sqlite:///{name}/uar.db")
        migrate(engine)
        site = Site(options.people, options.activities, last=datetime.now(UTC).date())
        fill(engine, site)
        with dashboard(Path(name)) as port:
            asyncio.run(watched(port, 1, 5))  # the mirror is loaded by now
            rows = []
            for count, arriving in ((1, 0), (options.viewers, 0), (options.viewers, ARRIVING)):
                with arrivals(engine, site) if arriving else nullcontext():
                    answers = asyncio.run(watched(port, count, options.seconds))
                cuts = statistics.quantiles(answers, n=20, method="inclusive")
                shown = [milliseconds(1000 * value) for value in (statistics.median(answers), cuts[-1], max(answers))]
                rows.append([str(count), str(arriving), f"{len(answers):,}", *shown])
        engine.dispose()
    print(f"\n## Dashboard: {options.people:,} people, each viewer a click every {PAUSE_S:.0f} s\n")
    print(table(["viewers", "activities/s", "clicks", "median", "p95", "slowest"], rows), flush=True)


if __name__ == "__main__":
    main()

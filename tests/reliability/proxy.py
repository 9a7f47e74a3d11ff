"""A TCP proxy that can hurt what passes: delay it, slow it down, stop it, cut it off. It stands between worker and database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

CHUNK = 65_536
PIECE_S = 0.05  # of a line with a limit


class Proxy:
    """Listens on `port` and passes bytes to `target`, in a thread of its own. The switches may be changed at any time.

    `delay_s` before each chunk in either direction; at most `bytes_per_s` pass (0: no limit) per connection and direction; with `is_frozen`
    nothing passes; with `is_refusing` new connections are closed at once.
    `cut_answer_to`: once these bytes went from the client to the server, the server gets them, but not the client its answer: the
    connection is reset.
    """

    def __init__(self, host: str, target: int) -> None:
        self._host, self._target = host, target
        self.port = 0
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.is_frozen = False
        self.is_refusing = False
        self.cut_answer_to: bytes | None = None
        self.cuts = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        server = self._call(lambda: asyncio.start_server(self._pass, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_all()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def cut_all(self) -> None:
        """Resets every connection there is."""
        self._loop.call_soon_threadsafe(lambda: [writer.transport.abort() for writer in list(self._writers)])

    def _call(self, make: Callable[[], Awaitable[asyncio.Server]]) -> asyncio.Server:
        async def run() -> asyncio.Server:
            return await make()

        done: Future[asyncio.Server] = asyncio.run_coroutine_threadsafe(run(), self._loop)
        return done.result(5)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            writer.transport.abort()
            return
        try:
            to_reader, to_writer = await asyncio.open_connection(self._host, self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, to_writer)
        self._writers.update(pair)
        await asyncio.gather(self._pump(reader, to_writer, pair, True), self._pump(to_reader, writer, pair, False))
        self._writers.difference_update(pair)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: tuple[asyncio.StreamWriter, ...], out: bool
    ) -> None:
        try:
            while data := await reader.read(CHUNK):
                while self.is_frozen:
                    await asyncio.sleep(0.02)
                await asyncio.sleep(self.delay_s)
                await self._write(writer, data)
                if out and self.cut_answer_to is not None and self.cut_answer_to in data:
                    await asyncio.sleep(0.05)  # the server works on it
                    self.cuts += 1
                    break
        except OSError:
            pass
        finally:
            for each in pair:
                each.transport.abort()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        while data:
            size = max(1, int(self.bytes_per_s * PIECE_S)) if self.bytes_per_s else len(data)
            writer.write(data[:size])
            await writer.drain()
            data = data[size:]
            if self.bytes_per_s:
                await asyncio.sleep(PIECE_S)

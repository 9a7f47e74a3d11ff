"""The token that a Forge delivery brings for reading the directory: held in memory for two hours, and nowhere else."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.capture.senders import APP_ID, CLOUD_ID, claims, forge_token, key_host
from uar.app_tokens import USABLE_MS, AppTokens
from uar.capture.app import Worker, make_app
from uar.capture.protocol import Request
from uar.config import Secret, load_settings

NOW_MS = 1_795_500_000_000
TOKEN = "opaque-system-token-of-the-app"
HOUR = 3_600_000


def delivered(folder: Path, *deliveries: dict[str, str]) -> tuple[AppTokens, list[int]]:
    """What is held after a worker got deliveries with these headers, and the statuses of its answers."""
    held, statuses = AppTokens(), []
    (folder / "data").mkdir()
    with key_host() as keys:
        environ = {"UAR_DATA_DIR": str(folder / "data"), "UAR_FORGE_APP_ID": APP_ID, "UAR_FORGE_JWKS_URL": keys.url}

        async def act() -> None:
            app = make_app(load_settings(environ, folder), now_ms=lambda: NOW_MS, app_tokens=held)
            life: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
            began = asyncio.Event()

            async def tell(message: dict[str, Any]) -> None:
                began.set()

            alive = asyncio.create_task(app({"type": "lifespan"}, life.get, tell))
            await life.put({"type": "lifespan.startup"})
            await began.wait()
            for headers in deliveries:
                statuses.append(await post(app, headers))
            await life.put({"type": "lifespan.shutdown"})
            await alive

        asyncio.run(act())
    return held, statuses


class Connection:
    """What a request answers through."""

    def __init__(self, app: Worker) -> None:
        self.app = app

    def flush(self) -> None:
        """The test reads the answer from the request."""


async def post(app: Worker, headers: dict[str, str]) -> int:
    """The status of one delivery, handed over as the protocol does."""
    request = Request(Connection(app))  # type: ignore[arg-type]
    request.method, request.path, request.body = b"POST", "/webhooks/forge", b"{}"
    request.headers = [(name.encode(), value.encode()) for name, value in headers.items()]
    app.begin(request)
    request.is_complete = True
    if request.answer is None:
        app.finish(request)
    while request.answer is None:
        await asyncio.sleep(0.01)
    return int(request.answer.head[9:12])


def headers(token: str = TOKEN, **changes: Any) -> dict[str, str]:
    proof = forge_token(claims(NOW_MS / 1000, **changes))
    return {"authorization": f"Bearer {proof}", "x-forge-oauth-system": token}


def test_the_newest_token_of_a_site_is_held_for_two_hours() -> None:
    held = AppTokens()
    held.keep("one", Secret("old"), NOW_MS)
    held.keep("two", Secret("other"), NOW_MS)
    held.keep("one", Secret("new"), NOW_MS + HOUR)
    assert held.usable(NOW_MS + USABLE_MS - 1) == {"one": Secret("new"), "two": Secret("other")}
    assert held.usable(NOW_MS + USABLE_MS) == {"one": Secret("new")}
    assert held.usable(NOW_MS + 3 * HOUR) == {}
    assert held.usable(NOW_MS) == {}  # what is too old is forgotten, not hidden


def test_a_verified_delivery_brings_the_token_of_its_site(tmp_path: Path) -> None:
    held, statuses = delivered(tmp_path, headers("first"), headers())
    assert statuses == [202, 202]
    assert held.usable(NOW_MS) == {CLOUD_ID: Secret(TOKEN)}
    assert held.usable(NOW_MS + USABLE_MS) == {}


def test_a_refused_delivery_brings_none(tmp_path: Path) -> None:
    held, statuses = delivered(tmp_path, headers(aud="ari:cloud:ecosystem::app/another"))
    assert statuses == [401]
    assert held.usable(NOW_MS) == {}


@pytest.mark.parametrize("token", [None, "", "two words", "x" * 16_385])
def test_a_delivery_without_a_usable_token_is_accepted_all_the_same(token: str | None, tmp_path: Path) -> None:
    proof = {"authorization": headers()["authorization"]}
    held, statuses = delivered(tmp_path, proof if token is None else headers(token))
    assert statuses == [202]
    assert held.usable(NOW_MS) == {}


def test_a_token_for_another_address_than_the_gateway_is_not_held(tmp_path: Path) -> None:
    app = claims()["app"] | {"apiBaseUrl": f"https://api.example.com/ex/confluence/{CLOUD_ID}"}
    held, statuses = delivered(tmp_path, headers(app=app))
    assert statuses == [202]
    assert held.usable(NOW_MS) == {}


def test_the_token_reaches_neither_the_disk_nor_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        held, _ = delivered(tmp_path, headers(), headers(aud="another"))
    assert list(held.usable(NOW_MS)) == [CLOUD_ID]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "spool.db" for path in files)
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(vars(held))

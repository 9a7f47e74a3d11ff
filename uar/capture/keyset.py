"""Atlassian's public keys for Forge tokens: fetched in the background, kept through an outage of the key host, never from a token.

`KeySet.find` answers from memory. `KeySet.resolve` may wait a moment for a refresh when a key id is unknown: a rotation is then noticed
at once, while a flood of made-up key ids causes no more than one fetch in `PAUSE_S`. What was fetched is also written to
`jwks.json`, so that a worker started during an outage still knows keys that are younger than `USABLE_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm
from jwt.exceptions import PyJWTError

from uar.capture.delivery import Refused, Undecided

FETCH_TIMEOUT_S = 2.0
REFRESH_S = 300.0
PAUSE_S = 30.0
FIRST_RETRY_S = 2.0
WAIT_S = 1.0
USABLE_S = 24 * 3600.0
MAX_BYTES = 256 * 1024
MAX_REFUSED_IDS = 1000
MIN_KEY_BITS = 2048

log = logging.getLogger(__name__)

Keys = Mapping[str, RSAPublicKey]


class KeySetUnavailable(Exception):
    """The key host gave no usable key set; the message is a sentence."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def fetch_key_set(url: str) -> bytes:
    """The key set as the host sends it; raises `KeySetUnavailable`. Redirects are not followed."""
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(url, timeout=FETCH_TIMEOUT_S) as reply:
            text = reply.read(MAX_BYTES + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise KeySetUnavailable(f"The key set cannot be fetched from {url} ({type(error).__name__}).") from error
    return cast(bytes, text)


def parse_key_set(text: bytes) -> Keys:
    """The RSA signing keys of a key set by key id; raises `KeySetUnavailable` if there is none."""
    try:
        entries = json.loads(text)["keys"] if len(text) <= MAX_BYTES else []
        keys = {entry["kid"]: key for entry in entries if (key := _key(entry)) is not None}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeySetUnavailable("The answer of the key host is not a key set.") from error
    if not keys:
        raise KeySetUnavailable("The key set holds no RSA signing key.")
    return keys


def _key(entry: Any) -> RSAPublicKey | None:
    if not isinstance(entry, dict):
        return None
    is_ours = entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig" and entry.get("alg", "RS256") == "RS256"
    if not is_ours or "d" in entry or not isinstance(entry.get("kid"), str):
        return None
    try:
        key = RSAAlgorithm.from_jwk(entry)
    except (PyJWTError, ValueError, TypeError):
        return None
    return key if isinstance(key, RSAPublicKey) and key.key_size >= MIN_KEY_BITS else None


class KeySet:
    """The keys known now. `find`, `resolve`, `refresh` and `run` belong to one event loop."""

    def __init__(self, url: str, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._path = path
        self._clock = clock
        self._keys: Keys = {}
        self._fetched_at = float("-inf")  # monotonic
        self._asked_at = float("-inf")  # monotonic, of the last fetch that an unknown key id caused
        self._refused: set[str] = set()
        self._task: asyncio.Task[bool] | None = None
        self.version = 0
        self._load()

    def find(self, kid: str) -> RSAPublicKey | None:
        """The key of this id, if it is known and young enough."""
        return self._keys.get(kid) if self.age_s() <= USABLE_S else None

    def age_s(self) -> float:
        """Seconds since the keys were fetched; infinite if there are none."""
        return time.monotonic() - self._fetched_at

    async def resolve(self, kid: str) -> RSAPublicKey:
        """The key of this id, after a refresh if need be.

        Raises `Refused` if the host's set, fetched after somebody first asked, does not have it, and `Undecided` if nobody can say now.
        """
        key = self.find(kid)
        if key is not None:
            return key
        if kid in self._refused and self.age_s() <= USABLE_S:
            raise Refused("unknown key")
        if not await self._refreshed():
            raise Undecided("the key is unknown and the key set cannot be refreshed now", retry_after_s=int(PAUSE_S))
        key = self.find(kid)
        if key is None:
            self._remember_refused(kid)
            raise Refused("unknown key")
        return key

    async def run(self) -> None:
        """Refreshes for ever: every five minutes, and sooner while there is no usable set."""
        retry_s = FIRST_RETRY_S
        while True:
            if await self.refresh():
                retry_s = FIRST_RETRY_S
                await asyncio.sleep(REFRESH_S)
            else:
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, PAUSE_S)

    async def refresh(self) -> bool:
        """One fetch, shared by all who ask meanwhile; whether it brought a key set."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._fetch())
        return await asyncio.shield(self._task)

    async def _refreshed(self) -> bool:
        """Whether a refresh that an unknown key id asks for brings a set in time; not tried again within the pause."""
        now = time.monotonic()
        is_paused = now - self._asked_at < (PAUSE_S if self._keys else FIRST_RETRY_S)
        is_running = self._task is not None and not self._task.done()
        if is_paused and not is_running:
            return False
        if not is_running:
            self._asked_at = now
        try:
            return await asyncio.wait_for(self.refresh(), WAIT_S)
        except TimeoutError:
            return False

    async def _fetch(self) -> bool:
        try:
            text = await _in_thread(lambda: fetch_key_set(self._url))
            keys = parse_key_set(text)
        except KeySetUnavailable as error:
            log.warning("%s Keys that are known stay usable for 24 hours.", error)
            return False
        self._keys, self._fetched_at = keys, time.monotonic()
        self._refused.clear()
        self.version += 1
        self._save(text)
        return True

    def _remember_refused(self, kid: str) -> None:
        if len(self._refused) >= MAX_REFUSED_IDS:
            self._refused.clear()
        self._refused.add(kid)

    def _save(self, text: bytes) -> None:
        """Keeps the set for a start without network; a disk that refuses costs only that."""
        kept = json.dumps({"url": self._url, "fetched_at": self._clock(), "set": json.loads(text)})
        try:
            scratch = self._path.with_suffix(".tmp")
            scratch.write_text(kept, encoding="utf-8")
            os.replace(scratch, self._path)
        except OSError as error:
            log.warning("The key set cannot be kept in %s (%s).", self._path, error.strerror)

    def _load(self) -> None:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            age_s = self._clock() - float(kept["fetched_at"])
            if kept["url"] == self._url and 0 <= age_s <= USABLE_S:
                self._keys = parse_key_set(json.dumps(kept["set"]).encode())
                self._fetched_at = time.monotonic() - age_s
        except FileNotFoundError:
            return  # the first start, or no Forge app is configured
        except (OSError, ValueError, KeyError, TypeError, RecursionError, KeySetUnavailable):
            log.info("The key set of an earlier run is not usable; it is fetched anew.")


async def _in_thread(call: Callable[[], bytes]) -> bytes:
    """Like `asyncio.to_thread`, on a thread that does not hold up the end of the process while a name look-up hangs."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()

    def settle(result: bytes | None, error: KeySetUnavailable | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(result or b"")
            else:
                future.set_exception(error)

    def work() -> None:
        result, failure = None, None
        try:
            result = call()
        except KeySetUnavailable as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, name="key-set", daemon=True).start()
    try:
        return await asyncio.wait_for(future, 2 * FETCH_TIMEOUT_S)
    except TimeoutError:
        raise KeySetUnavailable("The key host does not answer.") from None

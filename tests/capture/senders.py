"""Senders of genuine deliveries: Forge tokens by a key of our own, HMAC signatures, and a key host to fetch that key from."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

APP_ID = "ari:cloud:ecosystem::app/00000000-0000-4000-8000-0000000000a0"
CLOUD_ID = "00000000-0000-4000-8000-0000000000c1"
ISSUER = "forge/invocation-token"
KEY_ID = "key-1"
DATACENTER_SECRET = "example-secret"
CONNECT_TOKEN = "a-long-random-token-for-the-address"


def private_key(name: str = KEY_ID) -> RSAPrivateKey:
    """An RSA key of this test run; the same name gives the same key."""
    return _key(name)


@cache
def _key(name: str) -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


def key_set(*names: str) -> bytes:
    """A key set document with the public halves of these keys."""
    keys = []
    for name in names:
        public = RSAAlgorithm.to_jwk(private_key(name).public_key(), as_dict=True)
        keys.append({**public, "kid": name, "use": "sig", "alg": "RS256"})
    return json.dumps({"keys": keys}).encode()


def claims(now_s: float | None = None, **changes: Any) -> dict[str, Any]:
    """The claims of a Forge Invocation Token as documented; a change to None leaves the claim out."""
    now = int(time.time() if now_s is None else now_s)
    made: dict[str, Any] = {
        "iss": ISSUER,
        "aud": APP_ID,
        "iat": now,
        "nbf": now,
        "exp": now + 25,
        "jti": secrets.token_hex(8),
        "app": {
            "id": APP_ID,
            "appVersion": "2.0.0",
            "installationId": "ari:cloud:ecosystem::installation/00000000-0000-4000-8000-0000000000aa",
            "apiBaseUrl": f"https://api.atlassian.com/ex/confluence/{CLOUD_ID}",
            "environment": {"type": "PRODUCTION", "id": "ari:cloud:ecosystem::environment/x"},
            "module": {"type": "core:endpoint", "key": "activity-endpoint"},
            "installation": {
                "id": "ari:cloud:ecosystem::installation/00000000-0000-4000-8000-0000000000aa",
                "contexts": [
                    {
                        "name": "confluence",
                        "cloudId": CLOUD_ID,
                        "apiBaseUrl": f"https://api.atlassian.com/ex/confluence/{CLOUD_ID}",
                    }
                ],
            },
        },
    }
    made |= changes
    return {name: value for name, value in made.items() if value is not None}


def forge_token(made: dict[str, Any] | None = None, key: str = KEY_ID, **header: Any) -> str:
    """A token signed with RS256 by one of our keys."""
    return jwt.encode(claims() if made is None else made, private_key(key), algorithm="RS256", headers={"kid": key, **header})


def forge_headers(token: str | None = None) -> dict[str, str]:
    """The headers of a Forge delivery."""
    return {"content-type": "application/json", "authorization": f"Bearer {token or forge_token()}"}


def signature(body: bytes, secret: str = DATACENTER_SECRET) -> str:
    """The value of X-Hub-Signature for a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def datacenter_headers(
    body: bytes, secret: str = DATACENTER_SECRET, request_id: str | None = None, event: str | None = None
) -> dict[str, str]:
    """The headers of a Data Center delivery."""
    headers = {"content-type": "application/json", "X-Hub-Signature": signature(body, secret)}
    if request_id is not None:
        headers["X-Request-Id"] = request_id
    if event is not None:
        headers["X-Event-Key"] = event
    return headers


class KeyHost:
    """A key host whose answer the test may change: `text`, `status`, `delay_s`; `fetches` counts the requests."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.status = 200
        self.delay_s = 0.0
        self.fetches = 0
        self.url = ""


@contextmanager
def key_host(*names: str) -> Iterator[KeyHost]:
    """A running key host that serves the public halves of these keys."""
    host = KeyHost(key_set(*names or (KEY_ID,)))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.fetches += 1
            time.sleep(host.delay_s)
            self.send_response(host.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(host.text)))
            self.end_headers()
            self.wfile.write(host.text)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    host.url = f"http://127.0.0.1:{server.server_address[1]}/.well-known/jwks.json"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()

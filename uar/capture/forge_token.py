"""The Forge Invocation Token: a JWT that says which app and which site a delivery is for.

Claims and life: developer.atlassian.com/platform/forge/remote/essentials. Only RS256 by a key of Atlassian's set is a proof. Every Forge
app's token is signed by the same keys, so the audience must be the configured app; nothing in the token may choose it. The token
does not sign the body.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm

from uar.capture.delivery import Refused, sole_header
from uar.capture.keyset import KeySet
from uar.config import Secret, Settings

ISSUER = "forge/invocation-token"
MAX_TOKEN = 8 * 1024
MAX_KEY_ID = 256
LEEWAY_S = 30
MAX_LIFE_S = 15 * 60
COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
TO_BASE64 = bytes.maketrans(b"-_", b"+/")
# Key ids may have slashes, but nothing that reads as a path upwards, an address or a statement.
KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+~-]*(/[A-Za-z0-9][A-Za-z0-9._:=+~-]*)*")
CLOUD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
GATEWAY = "https://api.atlassian.com/ex/confluence/"
APP_TOKEN = re.compile(rb"[\x21-\x7e]{1,16384}")
API_BASE_URL = re.compile(r"https://[^/]+/ex/confluence/([^/]+)/?")
RS256 = RSAAlgorithm(RSAAlgorithm.SHA256)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a token must be for: one app, and if given, only these sites and deployments of it."""

    app_id: str
    cloud_ids: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> Trust:
        """The trust that the settings ask for."""
        return cls(settings.forge_app_id, settings.forge_cloud_ids, settings.forge_environments)


class Token(NamedTuple):
    """A token taken apart: the id of the key it claims, what is signed, and of that the claims, and the signature, both still encoded."""

    kid: str
    signed: bytes
    claims: bytes
    signature: bytes


class UnknownKey(Exception):
    """Whether the token is right shows only after `KeySet.resolve(kid)`."""

    def __init__(self, kid: str) -> None:
        super().__init__("unknown key")
        self.kid = kid


class Proven(NamedTuple):
    """What a proven token says: the site's cloud id, when the token ends (epoch seconds), whether its REST interface is at `GATEWAY`.

    `signed` is the token without its signature, by which the same token is known again.
    """

    site: str
    expires_at: float
    is_at_gateway: bool
    signed: bytes


def bearer_token(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The token of the only Authorization header; raises `Refused`."""
    value = sole_header(headers, b"authorization")
    scheme, _, token = value.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        raise Refused("no bearer token")
    if len(token) > MAX_TOKEN:
        raise Refused("token too long")
    return token


def parse_token(token: bytes) -> Token:
    """The parts of a token, none of them proven; raises `Refused` if its form or header is not acceptable."""
    match = COMPACT.fullmatch(token)
    if match is None:
        raise Refused("not a token")
    head, claims, signature = match.groups()
    return Token(_key_id(head), head + b"." + claims, claims, signature)


@lru_cache(64)  # a key's tokens all begin alike
def _key_id(head: bytes) -> str:
    header = _object(head)
    if header.get("alg") != "RS256":
        raise Refused("not signed with RS256")
    if "crit" in header or "b64" in header:
        raise Refused("header asks for extensions")
    kid = header.get("kid")
    if not isinstance(kid, str) or len(kid) > MAX_KEY_ID or not KEY_ID.fullmatch(kid):
        raise Refused("no usable key id")
    return kid


def app_token(headers: list[tuple[bytes, bytes]]) -> Secret | None:
    """The app's own token for the site's REST interface, if the delivery brings one. It is no proof of anything."""
    for name, value in headers:
        if name == b"x-forge-oauth-system":
            return Secret(value.decode()) if APP_TOKEN.fullmatch(value) else None
    return None


def verify_token(token: Token, key: RSAPublicKey, trust: Trust, now_s: float) -> Proven:
    """What the token says, once it is proven; raises `Refused`."""
    if not RS256.verify(token.signed, key, _decoded(token.signature)):
        raise Refused("wrong signature")
    claims = _object(token.claims)
    expires_at = verify_times(claims, now_s)
    if claims.get("iss") != ISSUER:
        raise Refused("wrong issuer")
    if claims.get("aud") not in (trust.app_id, [trust.app_id]):
        raise Refused("for another app")
    app = _inner(claims, "app")
    if app.get("id", trust.app_id) != trust.app_id:
        raise Refused("for another app")
    if trust.environments and str(_inner(app, "environment").get("type")).lower() not in trust.environments:
        raise Refused("another deployment of the app")
    site = cloud_id(claims, app)
    if trust.cloud_ids and site not in trust.cloud_ids:
        raise Refused("another site")
    return Proven(site, expires_at, is_at_gateway(app, site), token.signed)


def verify_times(claims: Mapping[str, Any], now_s: float) -> float:
    """Checks `exp`, `nbf` and `iat` with leeway and bounds the token's life; returns `exp`; raises `Refused`."""
    expires_at = _seconds(claims, "exp")
    if expires_at is None or expires_at + LEEWAY_S <= now_s:
        raise Refused("expired or without expiry")
    not_before = [seconds for name in ("iat", "nbf") if (seconds := _seconds(claims, name)) is not None]
    if any(seconds - LEEWAY_S > now_s for seconds in not_before):
        raise Refused("not valid yet")
    if expires_at - min([now_s + LEEWAY_S, *not_before]) > MAX_LIFE_S:
        raise Refused("valid for too long")
    return expires_at


def cloud_id(claims: Mapping[str, Any], app: Mapping[str, Any]) -> str:
    """The site: of the installation first, since calls from the back end have no context; raises `Refused` if there is none."""
    known = sorted(_contexts(app), key=lambda context: context.get("name") != "confluence")
    named = [context.get("cloudId") for context in known] + [_inner(claims, "context").get("cloudId")]
    url = API_BASE_URL.fullmatch(str(app.get("apiBaseUrl")))
    named.append(url and url[1])
    for found in named:
        if isinstance(found, str) and CLOUD_ID.fullmatch(found):
            return found
    raise Refused("names no site")


def is_at_gateway(app: Mapping[str, Any], site: str) -> bool:
    """Whether all that the claims say of the site's REST interface is that it is at `GATEWAY`; a token must not be sent elsewhere."""
    told = [context.get("apiBaseUrl") for context in _contexts(app) if context.get("cloudId") == site] + [app.get("apiBaseUrl")]
    urls = [url for url in told if url is not None]
    return bool(urls) and all(url in (f"{GATEWAY}{site}", f"{GATEWAY}{site}/") for url in urls)


def _contexts(app: Mapping[str, Any]) -> list[dict[str, Any]]:
    contexts = _inner(app, "installation").get("contexts")
    return [context for context in contexts if isinstance(context, dict)] if isinstance(contexts, list) else []


def _decoded(part: bytes) -> bytes:
    try:
        return binascii.a2b_base64(part.translate(TO_BASE64) + b"=" * (-len(part) % 4))
    except binascii.Error:
        raise Refused("not a token") from None


def _object(part: bytes) -> dict[str, Any]:
    try:
        decoded = orjson.loads(_decoded(part))
    except orjson.JSONDecodeError:
        raise Refused("not a token") from None
    if not isinstance(decoded, dict):
        raise Refused("not a token")
    return decoded


def _inner(claims: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = claims.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"claim {name} is not an object")
    return value


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise Refused(f"claim {name} is no time")
    return value


class TrustedTokens:
    """Tells what a request's token says, by the keys that are known."""

    def __init__(self, key_set: KeySet, trust: Trust) -> None:
        self._key_set = key_set
        self._trust = trust

    def proven(self, headers: list[tuple[bytes, bytes]], now_s: float) -> Proven:
        """What the token says; raises `Refused`, or `UnknownKey` if the key set has to be asked first."""
        token = parse_token(bearer_token(headers))
        key = self._key_set.find(token.kid)
        if key is None:
            raise UnknownKey(token.kid)
        return verify_token(token, key, self._trust, now_s)

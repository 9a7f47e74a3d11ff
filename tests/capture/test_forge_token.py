"""Tokens of Forge: what is a proof, and every way of faking one that has been seen in the wild."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.capture.senders import APP_ID, CLOUD_ID, KeyHost, claims, forge_token, key_host, key_set, private_key
from uar.capture.delivery import Refused, Undecided
from uar.capture.forge_token import Trust, TrustedTokens, UnknownKey, app_token, bearer_token, parse_token, verify_token
from uar.capture.keyset import KeySet, KeySetUnavailable, fetch_key_set, parse_key_set
from uar.config import Secret

NOW = 1_795_500_000.0
TRUST = Trust(APP_ID)


def site_of(token: str, trust: Trust = TRUST, now_s: float = NOW) -> str:
    """The site of a token, proven with the key it should be signed with."""
    return verify_token(parse_token(token.encode()), private_key().public_key(), trust, now_s)[0]


def made(**changes: Any) -> str:
    """A token of the documented form with some claims changed."""
    return forge_token(claims(NOW, **changes))


def app(**changes: Any) -> dict[str, Any]:
    """The `app` claim with changes; a change to None leaves the entry out."""
    entries = claims(NOW)["app"] | changes
    return {name: value for name, value in entries.items() if value is not None}


def by_hand(header: dict[str, Any] | bytes, signature: bytes = b"x") -> str:
    """A token with any header at all."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    parts = (raw, json.dumps(claims(NOW)).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def confused(kind: str) -> str:
    """A token signed with HS256, the public key being the secret."""
    public = private_key().public_key()
    secret = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": key_set("key-1"),
    }[kind]
    head, body, _ = by_hand({"alg": "HS256", "kid": "key-1"}).split(".")
    digest = hmac.digest(secret, f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def test_a_genuine_token_names_its_site() -> None:
    assert site_of(made()) == CLOUD_ID


@pytest.mark.parametrize(
    "token",
    ["", "a.b", "a.b.c.d", "a", "...", "ä.b.c", "a b.c.d", "a=.b.c", "\0.\0.\0", "e30.e30.e30", "W10.e30.eA", "bnVsbA.e30.eA"],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(Refused):
        site_of(token)


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "HS256", "RS512", "PS256", "ES256", "rs256", "", None, 5, ["RS256"]])
def test_only_rs256_is_a_proof(algorithm: Any) -> None:
    with pytest.raises(Refused, match="not signed with RS256"):
        site_of(by_hand({"alg": algorithm, "kid": "key-1"}))


@pytest.mark.parametrize("algorithm", ["RS512", "PS256"])
def test_the_right_key_with_another_algorithm_is_refused(algorithm: str) -> None:
    with pytest.raises(Refused):
        site_of(jwt.encode(claims(NOW), private_key(), algorithm=algorithm, headers={"kid": "key-1"}))


@pytest.mark.parametrize("kind", ["pem", "der", "jwk"])
def test_the_public_key_is_no_shared_secret(kind: str) -> None:
    with pytest.raises(Refused):
        site_of(confused(kind))


def test_a_foreign_key_under_a_known_id_is_refused() -> None:
    with pytest.raises(Refused, match="wrong signature"):
        site_of(jwt.encode(claims(NOW), private_key("foreign"), algorithm="RS256", headers={"kid": "key-1"}))


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_inside_the_token_is_never_used(name: str) -> None:
    value: Any = json.loads(key_set("foreign"))["keys"][0] if name == "jwk" else "https://evil.example/keys"
    with pytest.raises(Refused, match="wrong signature"):
        site_of(jwt.encode(claims(NOW), private_key("foreign"), algorithm="RS256", headers={"kid": "key-1", name: value}))


@pytest.mark.parametrize("header", [{"crit": ["x"], "x": 1}, {"crit": []}, {"crit": ["b64"], "b64": False}])
def test_extensions_that_must_be_understood_are_refused(header: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        site_of(by_hand({"alg": "RS256", "kid": "key-1"} | header))


@pytest.mark.parametrize(
    "kid",
    [
        None,
        "",
        5,
        ["key-1"],
        "x" * 10_000,
        "../../etc/passwd",
        "/etc/passwd",
        "a/../b",
        "a//b",
        "' OR 1=1 --",
        "key 1",
        "key\n1",
        "http://x/",
    ],
)
def test_an_odd_key_id_is_refused_before_anything_is_fetched(kid: Any) -> None:
    with pytest.raises(Refused):
        parse_token(by_hand({"alg": "RS256", "kid": kid}).encode())


@pytest.mark.parametrize("kid", ["key-1", "forge/invocation-token/2026", "a_b.c:d=~+", "x" * 256])
def test_an_ordinary_key_id_is_fine(kid: str) -> None:
    assert parse_token(by_hand({"alg": "RS256", "kid": kid}).encode()).kid == kid


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 31},
        {"exp": None},
        {"exp": str(NOW + 25)},
        {"exp": -1},
        {"exp": True},
        {"exp": [NOW + 25]},
        {"exp": NOW + 315_360_000},
        {"exp": NOW + 901, "iat": NOW},
        {"exp": NOW + 1000, "iat": None, "nbf": None},
        {"nbf": NOW + 600},
        {"iat": NOW + 600},
        {"nbf": "soon"},
        {"iat": {}},
    ],
)
def test_a_token_outside_its_time_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        site_of(made(**changes))


def test_an_expiry_beyond_all_numbers_is_refused() -> None:
    head, _, _ = made().split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(NOW)).replace(str(int(NOW) + 25), "1e400").encode()).rstrip(b"=").decode()
    signed = private_key().sign(f"{head}.{body}".encode(), *_padding())
    with pytest.raises(Refused):
        site_of(f"{head}.{body}.{base64.urlsafe_b64encode(signed).rstrip(b'=').decode()}")


def _padding() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    return PKCS1v15(), SHA256()


@pytest.mark.parametrize("changes", [{"nbf": NOW + 20}, {"iat": NOW + 20, "exp": NOW + 45}, {"exp": NOW - 29}, {"nbf": None, "iat": None}])
def test_clocks_may_differ_a_little(changes: dict[str, Any]) -> None:
    assert site_of(made(**changes)) == CLOUD_ID


OTHER_APP = "ari:cloud:ecosystem::app/00000000-0000-4000-8000-0000000000ff"


@pytest.mark.parametrize(
    "audience", [None, OTHER_APP, [APP_ID, OTHER_APP], [OTHER_APP], [], {}, {APP_ID: 1}, APP_ID + "/", APP_ID.upper(), "", 5]
)
def test_a_token_for_another_app_is_refused(audience: Any) -> None:
    with pytest.raises(Refused, match="another app"):
        site_of(made(aud=audience))


def test_a_token_of_another_app_is_refused_even_if_it_names_us_as_audience() -> None:
    with pytest.raises(Refused, match="another app"):
        site_of(made(app=app(id=OTHER_APP)))


def test_an_audience_may_be_a_list_of_one() -> None:
    assert site_of(made(aud=[APP_ID])) == CLOUD_ID


@pytest.mark.parametrize("issuer", [None, "forge/invocation-token/", "FORGE/INVOCATION-TOKEN", "https://evil.example", ""])
def test_another_issuer_is_refused(issuer: Any) -> None:
    with pytest.raises(Refused, match="wrong issuer"):
        site_of(made(iss=issuer))


def test_only_the_configured_sites_and_deployments_are_accepted() -> None:
    assert site_of(made(), Trust(APP_ID, frozenset({CLOUD_ID}), frozenset({"production"}))) == CLOUD_ID
    with pytest.raises(Refused, match="another site"):
        site_of(made(), Trust(APP_ID, frozenset({"another"})))
    with pytest.raises(Refused, match="another deployment"):
        site_of(made(), Trust(APP_ID, environments=frozenset({"development"})))
    with pytest.raises(Refused, match="another deployment"):
        site_of(made(app=app(environment=None)), Trust(APP_ID, environments=frozenset({"production"})))


def test_the_site_is_the_installations_before_the_contexts_before_the_address() -> None:
    elsewhere = {"cloudId": "of-the-context"}
    two = {"contexts": [{"name": "jira", "cloudId": "of-jira"}, {"name": "confluence", "cloudId": "of-confluence"}]}
    assert site_of(made(context=elsewhere)) == CLOUD_ID
    assert site_of(made(app=app(installation=two))) == "of-confluence"
    assert site_of(made(app=app(installation=None), context=elsewhere)) == "of-the-context"
    assert site_of(made(app=app(installation={"contexts": []}))) == CLOUD_ID


@pytest.mark.parametrize("url", [None, "https://api.atlassian.com", "https://api.atlassian.com/ex/confluence/", 5, "ex/confluence/x y"])
def test_a_token_that_names_no_site_is_refused(url: Any) -> None:
    with pytest.raises(Refused, match="names no site"):
        site_of(made(app=app(installation=None, apiBaseUrl=url)))


@pytest.mark.parametrize("broken", [[], "app", 5])
def test_claims_of_a_wrong_type_are_refused(broken: Any) -> None:
    for name in ("app", "context"):
        with pytest.raises(Refused):
            site_of(made(**{name: broken, **({"app": app(installation=None, apiBaseUrl=None)} if name == "context" else {})}))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Basic YTpi")],
        [(b"authorization", b"Bearer " + b"x" * 8193)],
        [(b"authorization", b"Bearer a.b.c"), (b"authorization", b"Bearer a.b.c")],
    ],
)
def test_exactly_one_bearer_token_of_a_sane_size_is_needed(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Refused):
        bearer_token(headers)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_any_header_is_a_token_or_refused(value: bytes) -> None:
    with pytest.raises(Refused):
        site_of(bearer_token([(b"authorization", b"Bearer " + value)]).decode("latin-1"))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_token_altered_anywhere_is_refused(place: int, change: int) -> None:
    token = bytearray(made().encode())
    token[place % (len(token) - 3)] ^= change  # the last characters of base64 hold bits that mean nothing
    with pytest.raises(Refused):
        site_of(token.decode("latin-1"))


# The key set


def asked(path: Path, act: Callable[[KeySet], Awaitable[None]], host: KeyHost) -> None:
    """Runs `act` with a key set of this host."""

    async def run() -> None:
        await act(KeySet(host.url, path / "jwks.json"))

    asyncio.run(run())


def test_a_rotation_is_noticed_at_the_first_unknown_key(tmp_path: Path) -> None:
    with key_host("key-1") as host:

        async def act(keys: KeySet) -> None:
            assert await keys.refresh()
            assert keys.find("key-1") is not None
            host.text = key_set("key-2")
            assert (await keys.resolve("key-2")).public_numbers() == private_key("key-2").public_key().public_numbers()
            assert keys.find("key-1") is None

        asked(tmp_path, act, host)


def test_a_flood_of_unknown_keys_causes_one_fetch(tmp_path: Path) -> None:
    with key_host("key-1") as host:

        async def act(keys: KeySet) -> None:
            await keys.refresh()
            with pytest.raises(Refused):
                await keys.resolve("unknown-0")
            for number in range(500):
                with pytest.raises(Undecided) as caught:
                    await keys.resolve(f"unknown-{number + 1}")
                assert caught.value.retry_after_s == 30
            with pytest.raises(Refused):
                await keys.resolve("unknown-0")
            assert keys.find("key-1") is not None

        asked(tmp_path, act, host)
        assert host.fetches == 2


@pytest.mark.parametrize("fault", ["error", "html", "empty", "redirect", "closed", "hang"])
def test_known_keys_survive_an_outage_of_the_key_host_even_over_a_restart(fault: str, tmp_path: Path) -> None:
    with key_host("key-1") as host:

        async def first(keys: KeySet) -> None:
            assert await keys.refresh()

        asked(tmp_path, first, host)
        good = host.text
        host.status = {"error": 500, "redirect": 302}.get(fault, 200)
        host.text = {"html": b"<html>", "empty": b'{"keys":[]}'}.get(fault, good)
        host.delay_s = 3.0 if fault == "hang" else 0.0
        if fault == "closed":
            host.url = host.url.replace("127.0.0.1:", "127.0.0.1:1")

        async def second(keys: KeySet) -> None:
            assert (keys.find("key-1") is None) == (fault == "closed")  # another address has keys of its own
            started_at = time.monotonic()
            with pytest.raises(Undecided):
                await keys.resolve("key-2")
            assert time.monotonic() - started_at < 1.5
            assert (keys.find("key-1") is None) == (fault == "closed")

        asked(tmp_path, second, host)


def test_kept_keys_are_used_for_a_day(tmp_path: Path) -> None:
    with key_host("key-1") as host:
        path = tmp_path / "jwks.json"

        async def fetch() -> None:
            assert await KeySet(host.url, path, lambda: NOW).refresh()

        asyncio.run(fetch())
        assert KeySet(host.url, path, lambda: NOW + 86_399).find("key-1") is not None
        assert KeySet(host.url, path, lambda: NOW + 86_401).find("key-1") is None
        assert KeySet(host.url, path, lambda: NOW - 10).find("key-1") is None


@pytest.mark.parametrize("kept", [b"", b"{}", b"[]", b"null", b"\xff", b'{"url": 5, "fetched_at": "x", "set": []}', b"[" * 100_000])
def test_a_damaged_kept_set_is_only_fetched_anew(kept: bytes, tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(kept)
    assert KeySet("http://127.0.0.1:9/", tmp_path / "jwks.json").find("key-1") is None


def test_only_rsa_signing_keys_of_a_sane_size_count() -> None:
    entry = json.loads(key_set("key-1"))["keys"][0]
    bad = [
        entry | {"use": "enc"},
        entry | {"kty": "oct"},
        entry | {"alg": "RS512"},
        entry | {"kid": 5},
        entry | {"n": "AQAB"},
        entry | {"d": "AQ"},
    ]
    assert list(parse_key_set(json.dumps({"keys": [*bad, entry | {"kid": "good"}]}).encode())) == ["good"]
    for document in ({"keys": bad}, {"keys": {}}, {"keys": [5]}, [], {}):
        with pytest.raises(KeySetUnavailable):
            parse_key_set(json.dumps(document).encode())


def test_a_key_host_that_is_not_there_is_named_in_a_sentence() -> None:
    with pytest.raises(KeySetUnavailable, match=r"cannot be fetched from http://127\.0\.0\.1:9/"):
        fetch_key_set("http://127.0.0.1:9/")


def test_a_token_ends_with_its_time_and_with_its_key(tmp_path: Path) -> None:
    headers = [(b"authorization", b"Bearer " + made().encode())]
    with key_host("key-1", "key-2") as host:

        async def act(keys: KeySet) -> None:
            tokens = TrustedTokens(keys, TRUST)
            with pytest.raises(UnknownKey):
                tokens.proven(headers, NOW)
            await keys.refresh()
            assert tokens.proven(headers, NOW).site == CLOUD_ID
            assert tokens.proven(headers, NOW + 24).site == CLOUD_ID
            with pytest.raises(Refused):
                tokens.proven(headers, NOW + 60)
            host.text = key_set("key-2")
            await keys.refresh()
            with pytest.raises(UnknownKey, match="unknown"):
                tokens.proven(headers, NOW)

        asked(tmp_path, act, host)


GATEWAY = f"https://api.atlassian.com/ex/confluence/{CLOUD_ID}"
ELSEWHERE = f"https://api.atlassian.example/ex/confluence/{CLOUD_ID}"


def installed(url: str | None, cloud_id: str = CLOUD_ID) -> dict[str, Any]:
    context = {"name": "confluence", "cloudId": cloud_id, "apiBaseUrl": url}
    return {"contexts": [{name: value for name, value in context.items() if value is not None}]}


@pytest.mark.parametrize(
    ("told", "is_at_gateway"),
    [
        ({}, True),
        ({"apiBaseUrl": GATEWAY + "/"}, True),
        ({"apiBaseUrl": None}, True),
        ({"installation": installed(None)}, True),
        ({"installation": installed(ELSEWHERE, "another-site")}, False),  # the claims name that site first
        ({"installation": installed(None), "apiBaseUrl": None}, False),
        ({"installation": installed(ELSEWHERE)}, False),
        ({"apiBaseUrl": ELSEWHERE}, False),
        ({"apiBaseUrl": GATEWAY.replace("https", "http")}, False),
        ({"apiBaseUrl": GATEWAY + "/../x"}, False),
        ({"apiBaseUrl": GATEWAY + "2"}, False),
        ({"apiBaseUrl": ["list"]}, False),
    ],
)
def test_only_the_gateway_of_the_site_itself_may_get_the_token_of_the_app(told: dict[str, Any], is_at_gateway: bool) -> None:
    token = made(app=claims(NOW)["app"] | told)
    assert verify_token(parse_token(token.encode()), private_key().public_key(), TRUST, NOW).is_at_gateway is is_at_gateway


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"opaque.token-1", "opaque.token-1"),
        (b"x" * 16384, "x" * 16384),
        (b"x" * 16385, None),
        (b"", None),
        (b"two words", None),
        (b"line\r\nX: y", None),
        ("tök".encode(), None),
    ],
)
def test_the_token_of_the_app_is_taken_only_if_it_can_be_sent(value: bytes, token: str | None) -> None:
    found = app_token([(b"authorization", b"Bearer x"), (b"x-forge-oauth-system", value)])
    assert found == (None if token is None else Secret(token))
    assert app_token([(b"authorization", b"Bearer x")]) is None

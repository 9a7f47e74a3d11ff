"""Who is behind a request: Forge by a token, a Cloud webhook by the token in its address, Data Center by a signature over the body.

The head proves the first two, so that no body is read of a stranger; `Proofs.delivery` is asked when the body is there as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from uar.activity import Source
from uar.app_tokens import AppTokens
from uar.capture.delivery import REUSED_TOKEN, Delivery
from uar.capture.forge_token import Proven, Trust, TrustedTokens, app_token
from uar.capture.keyset import KeySet
from uar.capture.protocol import Request
from uar.capture.sources import connect, datacenter, forge
from uar.capture.used_tokens import UsedTokens
from uar.config import Secret, Settings


@dataclass(frozen=True, slots=True)
class Route:
    """What an address says: the source, and for all but Forge the site, and for Cloud webhooks the event."""

    source: Source
    site: str = ""
    event_name: str | None = None


@lru_cache(1024)
def route(path: str) -> Route | None:
    """The route of a path below /webhooks/, matched exactly; None if there is none."""
    match path.split("/"):
        case ["", "webhooks", "forge"]:
            return Route(Source.FORGE)
        case ["", "webhooks", "datacenter", site] if site:
            return Route(Source.DATACENTER, site)
        case ["", "webhooks", "connect", site, event_name] if site and event_name:
            return Route(Source.CONNECT, site, event_name)
    return None


class Proofs:
    """Judges by the secrets of the settings and the keys known now; `app_tokens` gets what Forge deliveries bring for the directory."""

    def __init__(self, settings: Settings, key_set: KeySet, app_tokens: AppTokens | None, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._app_tokens = app_tokens
        self._tokens = TrustedTokens(key_set, Trust.of(settings))
        self._used = UsedTokens()
        self._is_forge_on = bool(settings.forge_app_id)
        self._secrets = {
            Source.DATACENTER: by_site(settings.datacenter_secrets),
            Source.CONNECT: by_site(settings.connect_tokens),
        }

    def is_configured(self, source: Source) -> bool:
        """Whether there is anything to judge this source by."""
        return self._is_forge_on if source is Source.FORGE else bool(self._secrets[source])

    def known_site(self, at: Route) -> str:
        """The site of an address if it is a configured one, else nothing: what strangers write is not repeated."""
        return at.site if at.site in self._secrets.get(at.source, ()) else ""

    def of_head(self, request: Request, at: Route) -> Proven | str:
        """Whose delivery it is as far as the head can prove it. Raises `Refused`, or `UnknownKey` if the key set has to be asked first."""
        if at.source is Source.FORGE:
            return self._of_token(request)
        if at.source is Source.CONNECT:
            connect.verify(request.query, self._secrets[at.source].get(at.site, ()))
        return at.site

    def delivery(self, request: Request, at: Route) -> Delivery | None:
        """What is to be kept of a whole request; None for Data Center's connection test. Raises `Refused`."""
        site, event_name, delivery_id, headers, body = at.site, at.event_name, None, request.headers, bytes(request.body)
        if at.source is Source.FORGE:
            site = request.proof.site
            delivery_id = REUSED_TOKEN if self._is_reused(request.proof, body) else None
        elif at.source is Source.DATACENTER:
            if datacenter.verify(headers, body, self._secrets[at.source].get(site, ())):
                return None
            event_name, delivery_id = datacenter.header_event(headers), datacenter.request_id(headers)
        return Delivery(at.source, site, event_name, delivery_id, self._now_ms(), body)

    def _of_token(self, request: Request) -> Proven:
        at = self._now_ms()
        proven = self._tokens.proven(request.headers, at / 1000)
        if self._app_tokens is not None and proven.is_at_gateway and (token := app_token(request.headers)) is not None:
            self._app_tokens.keep(proven.site, token, at)
        return proven

    def _is_reused(self, proven: Proven, body: bytes) -> bool:
        """Whether a token has come before with another body: somebody sees the tokens of others."""
        return self._used.is_for_another(proven.signed, proven.expires_at, forge.said(body), self._now_ms() / 1000)


def by_site(pairs: Sequence[tuple[str, Secret]]) -> dict[str, tuple[bytes, ...]]:
    """All live secrets of each site, as bytes."""
    sites: dict[str, tuple[bytes, ...]] = {}
    for site, secret in pairs:
        sites[site] = (*sites.get(site, ()), secret.reveal().encode())
    return sites

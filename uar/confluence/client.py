"""A thin client of Confluence's REST interface, Cloud and Data Center alike.

    Client.get/post   one call: timeout, body limit, waiting and trying again, errors as sentences
    Client.pages      all pages of a list, whichever of the two paging styles the call has

No redirect is followed and no address from an answer is used: of a "next" link only the query counts, so the token never leaves for
another host or path.
"""

from __future__ import annotations

import email.utils
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import HTTPError

from uar.config import Secret, Settings
from uar.confluence.errors import (
    ConfluenceError,
    NotConfigured,
    NotConfluence,
    RateLimited,
    SiteUnreachable,
    UnsafeAddress,
    refused,
    unreachable,
)
from uar.confluence.guard import Guard, GuardedAdapter, is_this_machine

Query = Mapping[str, str | int]
FORGE_API = "https://api.atlassian.com/ex/confluence/"
USER_AGENT = "user-activity-report/0.1"
MAX_BODY = 64 * 1024 * 1024
# What may be better at the next try; every `requests` exception is an OSError, the named ones are those that a broken line makes.
PASSING = (requests.Timeout, requests.ConnectionError, requests.exceptions.ChunkedEncodingError, HTTPError, TimeoutError)


@dataclass(frozen=True)
class Patience:
    """How long to wait for what. The list of groups of a large Cloud organization alone takes half a minute."""

    connect_s: float = 10.0
    read_s: float = 45.0  # between two pieces of an answer
    answer_s: float = 180.0  # for the whole answer, however slowly it drips
    tries: int = 4
    first_wait_s: float = 1.0  # doubled with each try
    longest_wait_s: float = 300.0  # also where Retry-After asks for more
    pages: int = 20_000


@dataclass(frozen=True)
class Page:
    """One page of a list: its results and the query of the next one, None on the last."""

    results: list[dict[str, Any]]
    next_query: dict[str, str | int] | None


class Bearer(AuthBase):
    """A personal access token, or the token of a Forge app."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token on the request."""
        request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return request


@dataclass
class Client:
    """The REST interface of one site. `base_url` has no slash at its end; `is_cloud` tells the two products apart."""

    site: str
    base_url: str
    is_cloud: bool
    auth: AuthBase = field(repr=False)
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], object] = time.sleep

    def __post_init__(self) -> None:
        """Make the one session; raises `UnsafeAddress` for an address that cannot be one of a site."""
        parts = urlsplit(self.base_url)
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise UnsafeAddress(
                f"The address of site {self.site} holds more than host and path: put credentials into UAR_CONFLUENCE_CREDENTIALS."
            )
        self._session = requests.Session()
        self._session.trust_env = not is_this_machine(parts.hostname or "")
        self._session.auth = self.auth
        self._session.headers.update({"Accept": "application/json", "User-Agent": USER_AGENT})
        adapter = GuardedAdapter(Guard(self.base_url, is_inside_allowed=not self.is_cloud))
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    @classmethod
    def for_site(cls, settings: Settings, site: str, **options: Any) -> Client:
        """The client of a configured site. `email:API token` is Cloud, a token alone Data Center. Raises `NotConfigured`."""
        url, credentials = settings.confluence_urls.get(site), settings.confluence_credentials.get(site)
        if url is None:
            raise NotConfigured(f"Site {site} has no address: add {site}=https://… to UAR_CONFLUENCE_URLS.")
        if credentials is None:
            raise NotConfigured(
                f"Site {site} has no credentials: add {site}=email:API token (Cloud) or {site}=personal access token (Data Center) to "
                "UAR_CONFLUENCE_CREDENTIALS."
            )
        account, colon, token = credentials.reveal().partition(":")
        if not colon:
            return cls(site, url.rstrip("/"), False, Bearer(credentials), **options)
        # A str would be sent as Latin-1; addresses of people may hold more.
        auth = HTTPBasicAuth(account.encode(), token.encode())
        return cls(site, cloud_url(url), True, auth, **options)

    @classmethod
    def for_forge(cls, cloud_id: str, token: Secret, **options: Any) -> Client:
        """The client of a Cloud site with the token a Forge delivery brings (`x-forge-oauth-system`), which lives two to four hours."""
        return cls(cloud_id, cloud_url(FORGE_API + quote(cloud_id, safe="")), True, Bearer(token), **options)

    @property
    def is_forge(self) -> bool:
        """Whether this is the Forge app's way to the site."""
        return self.base_url.startswith(FORGE_API)

    def get(self, path: str, query: Query | None = None) -> Any:
        """The decoded answer of a GET; `path` starts with a slash. Raises `ConfluenceError`."""
        return self._call("GET", self.base_url + path, query)

    def post(self, path: str, body: Any) -> Any:
        """The decoded answer of a POST that only asks (Cloud's bulk look-ups). Raises `ConfluenceError`."""
        return self._call("POST", self.base_url + path, None, body)

    def tenant_cloud_id(self) -> str | None:
        """The cloud id of a Cloud site as its host tells it without a login; None where nobody answers with one."""
        if not self.is_cloud or self.is_forge:
            return None
        parts = urlsplit(self.base_url)
        try:
            answer = self._call("GET", f"{parts.scheme}://{parts.netloc}/_edge/tenant_info", None)
        except (UnsafeAddress, SiteUnreachable, RateLimited):
            raise
        except ConfluenceError:
            return None  # what stands in front of the site may hide the path; the site stays known by its name
        cloud_id = answer.get("cloudId") if isinstance(answer, dict) else None
        return cloud_id if isinstance(cloud_id, str) and cloud_id else None

    def pages(self, path: str, query: Query) -> Iterator[Page]:
        """The pages of a list, from `query` on, until there is no next one.

        Both styles hand over a next link (v1 and v2: `_links.next`; v2 also the header `Link`); it is read for its query only, so a
        start offset and a cursor look alike here. Raises `NotConfluence` where the same page is named twice or the end never comes.
        """
        asked: set[tuple[tuple[str, str], ...]] = set()
        following: dict[str, str | int] | None = dict(query)
        while following is not None:
            key = tuple(sorted((name, str(value)) for name, value in following.items()))
            if key in asked or len(asked) >= self.patience.pages:
                raise NotConfluence(
                    f"{self._where(path)} goes round in circles: a list of it never ends. Nothing was concluded from it; try again later."
                )
            asked.add(key)
            page = self._page(path, following)
            yield page
            following = page.next_query

    def _page(self, path: str, query: Query) -> Page:
        answer, link = self._exchange("GET", self.base_url + path, query)
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list):
            raise NotConfluence(f"{self._where(path)} answered something else than a list: check the address in UAR_CONFLUENCE_URLS.")
        links = answer.get("_links")
        following = links.get("next") if isinstance(links, dict) else None
        if not isinstance(following, str) or not following:
            following = link
        found = [result for result in results if isinstance(result, dict)]
        if not following or (not found and "start" in dict(parse_qsl(urlsplit(following).query))):
            return Page(found, None)
        return Page(found, {**query, **dict(parse_qsl(urlsplit(following).query))})

    def _call(self, method: str, url: str, query: Query | None, body: Any = None) -> Any:
        return self._exchange(method, url, query, body)[0]

    def _exchange(self, method: str, url: str, query: Query | None, body: Any = None) -> tuple[Any, str | None]:
        """The decoded answer and its next link in the header; tries again while that may help."""
        where = self._where(urlsplit(url).path)
        wait_s = 0.0
        for number in range(1, self.patience.tries + 1):
            if wait_s:
                self.sleep(wait_s)
            try:
                return self._once(method, url, query, body, where)
            except _TryAgain as again:
                if number == self.patience.tries:
                    raise again.error from again.__cause__
                wait_s = min(again.after_s or self._backed_off(number), self.patience.longest_wait_s)
        raise AssertionError("at least one try")

    def _backed_off(self, number: int) -> float:
        full = min(self.patience.first_wait_s * 2.0 ** (number - 1), self.patience.longest_wait_s)
        return float(full * random.uniform(0.5, 1.0))

    def _once(self, method: str, url: str, query: Query | None, body: Any, where: str) -> tuple[Any, str | None]:
        deadline = time.monotonic() + self.patience.answer_s
        try:
            with self._session.request(
                method,
                url,
                params=query,
                json=body,
                timeout=(self.patience.connect_s, self.patience.read_s),
                allow_redirects=False,
                stream=True,
            ) as response:
                self._raise_for(response, where)
                return _decoded(self._body(response, deadline, where), response, where), response.links.get("next", {}).get("url")
        except PASSING as error:
            raise _TryAgain(unreachable(where, _why(error))) from error
        except requests.RequestException as error:
            raise unreachable(where, type(error).__name__) from error

    def _raise_for(self, response: requests.Response, where: str) -> None:
        status = response.status_code
        if 300 <= status < 400:
            raise NotConfluence(
                f"{where} answered with a redirect ({status}), and the token is not sent elsewhere: set the address at which the REST "
                "interface itself answers in UAR_CONFLUENCE_URLS, or let REST calls pass the login page in front of it."
            )
        if status == 429:
            error = f"{where} asks to wait (429 Too Many Requests) again and again: try again later; the next run goes on from here."
            raise _TryAgain(RateLimited(error), _retry_after_s(response))
        if status >= 500:
            raise _TryAgain(unreachable(where, f"it answered with the error {status}"), _retry_after_s(response))
        if status >= 400:
            raise refused(status, where, is_forge=self.is_forge)

    def _body(self, response: requests.Response, deadline: float, where: str) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := response.raw.read1(65_536, decode_content=True):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY:
                raise NotConfluence(f"{where} sent an answer of more than {MAX_BODY // 1024 // 1024} MB, which no list of Confluence is.")
            if time.monotonic() > deadline:
                raise _TryAgain(unreachable(where, f"the answer was not complete after {self.patience.answer_s:g} seconds"))
        if not size:
            error = f"{where} sent an empty answer: try again later; if it stays so, look at what stands in front of it."
            raise _TryAgain(NotConfluence(error))
        return b"".join(pieces)

    def _where(self, path: str) -> str:
        return f"Confluence site {self.site} ({urlsplit(self.base_url).hostname})"


class _TryAgain(Exception):
    """A failure that may pass: what to say if it does not, and how long the site asks to wait."""

    def __init__(self, error: ConfluenceError, after_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after_s = after_s


def cloud_url(url: str) -> str:
    """A Cloud site's address with the path under which Confluence always stands there."""
    url = url.rstrip("/")
    return url if url.endswith("/wiki") else url + "/wiki"


def _decoded(body: bytes, response: requests.Response, where: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        is_page = body.lstrip()[:1] == b"<" or "html" in response.headers.get("Content-Type", "")
        what = "a web page" if is_page else "something that is not JSON"
        raise NotConfluence(
            f"{where} answered with {what} instead of data: check the address in UAR_CONFLUENCE_URLS (Cloud: "
            "https://NAME.atlassian.net/wiki; Data Center: with its context path), or let REST calls pass the login page in front of it."
        ) from None


def _retry_after_s(response: requests.Response) -> float | None:
    """Seconds that the site asks to wait: a number or a date in Retry-After; None if it does not say."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _why(error: BaseException) -> str:
    """The reason in a few words that hold no address or header of the request."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.Timeout | TimeoutError):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted; a company's own authority goes into REQUESTS_CA_BUNDLE"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not let the call through"
    return "no connection, or it broke"

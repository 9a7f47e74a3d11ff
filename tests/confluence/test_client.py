"""The REST client against a local server: paging, waiting, limits, and where the token may go."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.confluence.fake_site import Answer, FakeSite, Request, cursor_page, offset_page, served
from uar.config import Secret, load_settings
from uar.confluence.client import Bearer, Client, Patience, cloud_url
from uar.confluence.errors import (
    ConfluenceError,
    CredentialsRefused,
    NotConfigured,
    NotConfluence,
    NotFound,
    RateLimited,
    RequestRefused,
    RightMissing,
    SiteUnreachable,
    UnsafeAddress,
)
from uar.confluence.guard import Guard

TOKEN = "s3cret-token-of-nobody"
LIST = "/wiki/list"
QUICK = Patience(connect_s=1, read_s=0.3, answer_s=0.6, tries=4, pages=30)


class ListSite(FakeSite):
    """Lists of letters in each paging style, two at a time."""

    def route(self, request: Request) -> Answer:
        letters = [{"name": letter} for letter in "abcde"]
        if request.path == LIST:
            return offset_page(request, letters, 2, "/wiki")
        if request.path == "/wiki/cursor":
            return cursor_page(request, letters, 2)
        if request.path == "/wiki/linked":
            return cursor_page(request, letters, 2, in_header=True)
        return super().route(request)


@pytest.fixture
def site() -> Iterator[ListSite]:
    with served(ListSite()) as site:
        yield site


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(site: ListSite, waits: list[float]) -> Client:
    return Client("acme", site.url, False, Bearer(Secret(TOKEN)), QUICK, waits.append)


def names(client: Client, path: str) -> list[str]:
    return [result["name"] for page in client.pages(path, {"limit": 2}) for result in page.results]


@pytest.mark.parametrize("path", ["/list", "/cursor", "/linked"])
def test_every_paging_style_is_read_to_its_end(client: Client, site: ListSite, path: str) -> None:
    assert names(client, path) == list("abcde")
    assert len(site.requests) == 3


def test_a_list_can_be_continued_from_a_kept_query(client: Client) -> None:
    pages = client.pages("/cursor", {"limit": 2})
    following = next(pages).next_query
    assert following == {"limit": "2", "cursor": "at-2"}
    assert [result["name"] for page in client.pages("/cursor", following) for result in page.results] == ["c", "d", "e"]


def test_a_next_link_is_followed_on_our_own_host_and_path_only(client: Client, site: ListSite) -> None:
    site.script[LIST].append(Answer({"results": [{"name": "a"}], "_links": {"next": "https://evil.example/steal?limit=2&start=2"}}))
    assert names(client, "/list") == ["a", "c", "d", "e"]
    assert set(site.paths()) == {LIST}


def test_a_list_that_names_the_same_page_twice_is_not_followed_for_ever(client: Client, site: ListSite) -> None:
    loop = Answer({"results": [{"name": "a"}], "_links": {"next": "/cursor?cursor=same"}})
    site.script["/wiki/cursor"] += [loop] * 10
    with pytest.raises(NotConfluence, match="goes round in circles"):
        names(client, "/cursor")
    assert len(site.requests) == 2


def test_a_list_without_an_end_stops_at_the_page_limit(client: Client, site: ListSite) -> None:
    site.script["/wiki/cursor"] += [Answer({"results": [], "_links": {"next": f"/cursor?cursor={number}"}}) for number in range(100)]
    with pytest.raises(NotConfluence, match="never ends"):
        names(client, "/cursor")
    assert len(site.requests) == QUICK.pages


def test_an_empty_page_ends_a_list_of_the_old_style(client: Client, site: ListSite) -> None:
    site.script[LIST].append(Answer({"results": [], "size": 0, "_links": {"next": "/list?start=2"}}))
    assert names(client, "/list") == []


def test_retry_after_in_seconds_is_waited_for(client: Client, site: ListSite, waits: list[float]) -> None:
    site.script[LIST].append(Answer({}, 429, {"Retry-After": "7"}))
    assert names(client, "/list") == list("abcde")
    assert waits == [7.0]


def test_retry_after_as_a_date_is_waited_for(client: Client, site: ListSite, waits: list[float]) -> None:
    site.script[LIST].append(Answer({}, 503, {"Retry-After": email.utils.formatdate(time.time() + 90, usegmt=True)}))
    assert names(client, "/list") == list("abcde")
    assert 80 < waits[0] <= 90


def test_a_retry_after_of_a_day_is_capped(client: Client, site: ListSite, waits: list[float]) -> None:
    site.script[LIST].append(Answer({}, 429, {"Retry-After": "86400"}))
    names(client, "/list")
    assert waits == [QUICK.longest_wait_s]


@pytest.mark.parametrize("text", ["soon", "", "-5", "٣"])
def test_a_retry_after_that_makes_no_sense_is_a_wait_of_ours(client: Client, site: ListSite, waits: list[float], text: str) -> None:
    site.script[LIST].append(Answer({}, 429, {"Retry-After": text.encode().decode("latin-1")}))
    names(client, "/list")
    assert 0.5 <= waits[0] <= 1.0


def test_waits_double_with_jitter_and_end(client: Client, site: ListSite, waits: list[float]) -> None:
    site.script[LIST] += [Answer({}, 500)] * 9
    with pytest.raises(SiteUnreachable, match="error 500"):
        names(client, "/list")
    assert len(site.requests) == QUICK.tries
    assert [low <= wait <= 2 * low for wait, low in zip(waits, [0.5, 1.0, 2.0], strict=True)] == [True] * 3


def test_a_limit_that_never_ends_says_so(client: Client, site: ListSite) -> None:
    site.script[LIST] += [Answer({}, 429)] * 9
    with pytest.raises(RateLimited, match="try again later"):
        names(client, "/list")


def test_a_slow_answer_ends_in_time_and_is_tried_again(client: Client, site: ListSite, waits: list[float]) -> None:
    site.script[LIST].append(Answer(act=lambda handler: time.sleep(0.5)))
    assert names(client, "/list") == list("abcde")
    assert len(waits) == 1


def test_an_answer_that_drips_for_ever_ends_in_time(client: Client, site: ListSite) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(60):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return
            time.sleep(0.05)

    site.script[LIST] += [Answer(act=drip)] * 9
    start = time.monotonic()
    with pytest.raises(SiteUnreachable, match="not complete after"):
        names(client, "/list")
    assert time.monotonic() - start < 4 * (QUICK.answer_s + 0.5)


def test_a_chunked_answer_is_read_whole(client: Client, site: ListSite) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b'{"results": [{"na', b'me": "z"}]}'):
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    site.script[LIST].append(Answer(act=chunked))
    assert names(client, "/list") == ["z"]


def test_an_answer_cut_short_is_tried_again(client: Client, site: ListSite, waits: list[float]) -> None:
    cut = b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"results": ['
    site.script[LIST].append(Answer(act=lambda handler: handler.wfile.write(cut)))
    assert names(client, "/list") == list("abcde")
    assert len(waits) == 1


def test_an_empty_answer_is_tried_again_and_then_said(client: Client, site: ListSite) -> None:
    site.script[LIST] += [Answer(b"")] * 9
    with pytest.raises(NotConfluence, match="empty answer"):
        names(client, "/list")
    assert len(site.requests) == QUICK.tries


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (Answer({}, 401), CredentialsRefused, "UAR_CONFLUENCE_CREDENTIALS"),
        (Answer({}, 403), RightMissing, "no right"),
        (Answer({}, 404), NotFound, "UAR_CONFLUENCE_URLS"),
        (Answer({}, 400), RequestRefused, "400"),
        (Answer(b"<html>Log in</html>", headers={"Content-Type": "text/html"}), NotConfluence, "a web page instead of data"),
        (Answer(b"<!doctype html>"), NotConfluence, "a web page"),
        (Answer(b"it works!", headers={"Content-Type": "text/plain"}), NotConfluence, "not JSON"),
        (Answer(b"[" * 100_000), NotConfluence, "not JSON"),
        (Answer([1, 2]), NotConfluence, "something else than a list"),
        (Answer({"results": None}), NotConfluence, "something else than a list"),
    ],
)
def test_what_trying_again_does_not_change_is_one_sentence_at_once(
    client: Client, site: ListSite, answer: Answer, error: type[ConfluenceError], sentence: str
) -> None:
    site.script[LIST].append(answer)
    with pytest.raises(error) as raised:
        names(client, "/list")
    assert sentence in str(raised.value)
    assert len(site.requests) == 1
    assert TOKEN not in str(raised.value)


def test_a_redirect_to_another_host_is_not_followed(client: Client, site: ListSite) -> None:
    with served(ListSite()) as other:
        site.script[LIST].append(Answer({}, 302, {"Location": other.url + "/list"}))
        with pytest.raises(NotConfluence, match="redirect"):
            names(client, "/list")
        assert other.requests == []


def test_nobody_listening_is_unreachable(waits: list[float]) -> None:
    with served(ListSite()) as gone:
        url = gone.url
    client = Client("acme", url, False, Bearer(Secret(TOKEN)), QUICK, waits.append)
    with pytest.raises(SiteUnreachable, match="cannot be reached"):
        client.get("/list")
    assert len(waits) == QUICK.tries - 1


def settings_of(tmp_path: Path, url: str, credentials: str) -> Any:
    return load_settings({"UAR_CONFLUENCE_URLS": f"acme={url}", "UAR_CONFLUENCE_CREDENTIALS": f"acme={credentials}"}, tmp_path)


def test_an_email_with_a_token_is_cloud_and_goes_as_basic(site: ListSite, tmp_path: Path) -> None:
    client = Client.for_site(settings_of(tmp_path, site.url.removesuffix("/wiki"), "jörg@acme.example:abc"), "acme")
    assert client.is_cloud
    assert names(client, "/list") == list("abcde")
    assert site.requests[0].headers["Authorization"] == "Basic asO2cmdAYWNtZS5leGFtcGxlOmFiYw=="


def test_a_token_alone_is_data_center_and_goes_as_bearer(site: ListSite, tmp_path: Path) -> None:
    client = Client.for_site(settings_of(tmp_path, site.url, TOKEN), "acme")
    assert not client.is_cloud
    names(client, "/list")
    assert site.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_forge_token_goes_to_the_gateway_of_its_cloud_id() -> None:
    client = Client.for_forge("1111-22", Secret(TOKEN))
    assert client.base_url == "https://api.atlassian.com/ex/confluence/1111-22/wiki"
    assert client.is_cloud
    assert client.tenant_cloud_id() is None


def test_no_printed_client_shows_the_token(client: Client) -> None:
    assert TOKEN not in repr(client)
    assert TOKEN not in repr(vars(client))


@pytest.mark.parametrize("missing", ["address", "credentials"])
def test_a_site_that_is_not_fully_configured_is_named(tmp_path: Path, missing: str) -> None:
    environ = {"UAR_CONFLUENCE_URLS": "acme=https://acme.example"} if missing == "credentials" else {}
    with pytest.raises(NotConfigured, match=f"acme has no {missing}"):
        Client.for_site(load_settings(environ, tmp_path), "acme")


@pytest.mark.parametrize("url", ["https://user:password@wiki.example", "https://wiki.example/?token=x", "https://wiki.example/#x"])
def test_an_address_with_more_than_host_and_path_is_refused(url: str) -> None:
    with pytest.raises(UnsafeAddress, match="more than host and path") as raised:
        Client("acme", url, False, Bearer(Secret(TOKEN)))
    assert "password" not in str(raised.value)


def test_cloud_is_always_under_wiki() -> None:
    assert cloud_url("https://acme.atlassian.net") == "https://acme.atlassian.net/wiki"
    assert cloud_url("https://acme.atlassian.net/wiki/") == "https://acme.atlassian.net/wiki"


PEERS = [
    # scheme, Data Center, address of the other end, allowed
    ("http", True, "127.0.0.1", True),
    ("http", False, "127.0.0.1", True),
    ("http", False, "::1", True),
    ("http", False, "::ffff:127.0.0.1", True),
    ("http", True, "10.1.2.3", True),
    ("http", True, "fd00::7", True),
    ("http", False, "10.1.2.3", False),
    ("http", True, "93.184.216.34", False),
    ("http", False, "93.184.216.34", False),
    ("https", False, "93.184.216.34", True),
    ("https", True, "93.184.216.34", True),
    ("https", True, "192.168.0.9", True),
    ("https", False, "192.168.0.9", False),
    ("https", False, "::ffff:10.0.0.1", False),
    ("https", False, "64:ff9b::a00:1", False),
    ("https", True, "169.254.169.254", False),
    ("http", True, "169.254.169.254", False),
    ("https", True, "fe80::1%eth0", False),
    ("https", True, "0.0.0.0", False),
    ("https", True, "224.0.0.1", False),
]


@pytest.mark.parametrize(("scheme", "is_inside_allowed", "address", "is_allowed"), PEERS)
def test_the_token_goes_to_no_machine_that_cannot_be_the_site(scheme: str, is_inside_allowed: bool, address: str, is_allowed: bool) -> None:
    guard = Guard(f"{scheme}://wiki.example", is_inside_allowed=is_inside_allowed)
    if is_allowed:
        guard.check_peer(address)
    else:
        with pytest.raises(UnsafeAddress, match=r"wiki\.example"):
            guard.check_peer(address)


def test_the_address_is_checked_before_a_byte_is_sent(client: Client, site: ListSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Guard, address: str) -> None:
        raise UnsafeAddress(f"no way to {address}")

    monkeypatch.setattr(Guard, "check_peer", refuse)
    with pytest.raises(UnsafeAddress, match=r"no way to 127\.0\.0\.1"):
        client.get("/list")
    assert site.requests == []


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(site: ListSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    client = Client("acme", site.url, False, Bearer(Secret(TOKEN)), QUICK, lambda seconds: None)
    assert names(client, "/list") == list("abcde")

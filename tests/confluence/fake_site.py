"""A local HTTP server that answers as Confluence does: Cloud (v1 and v2) and Data Center, in the shapes of recorded replies.

A test may change the data between two requests (`before`), or put any answer in place of one (`script`).
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

JSON = "application/json"
Site = TypeVar("Site", bound="FakeSite")


@dataclass
class Answer:
    """What the server sends; `body` bytes go out as they are, anything else as JSON. `act` may write to the line itself instead."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    act: Callable[[BaseHTTPRequestHandler], None] | None = None


@dataclass
class Request:
    """What arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    def number(self, name: str, default: int) -> int:
        return int(self.query.get(name, default))


class FakeSite:
    """Routes, requests seen, and a script of answers that come first."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: dict[str, list[Answer]] = defaultdict(list)
        self.before: Callable[[Request], None] = lambda request: None
        self.url = ""

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        self.before(request)
        if self.script[request.path]:
            return self.script[request.path].pop(0)
        return self.route(request)

    def route(self, request: Request) -> Answer:
        return Answer({"statusCode": 404, "message": "null for uri"}, 404)

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


def offset_page(request: Request, results: list[Any], largest: int, context: str) -> Answer:
    """The old style: start, limit, size and a relative next link."""
    start, limit = request.number("start", 0), min(request.number("limit", 25), largest)
    part = results[start : start + limit]
    links = {"base": "https://acme.example" + context, "context": context, "self": "https://acme.example" + context + request.path}
    if start + limit < len(results):
        links["next"] = f"{request.path.removeprefix(context)}?limit={limit}&start={start + limit}"
    return Answer({"results": part, "start": start, "limit": limit, "size": len(part), "_links": links})


def cursor_page(request: Request, results: list[Any], largest: int, *, in_header: bool = False) -> Answer:
    """The new style: an opaque cursor in the next link, in the body or in the header `Link`."""
    start = int(request.query.get("cursor", "at-0").removeprefix("at-"))
    limit = min(request.number("limit", 25), largest)
    following = f"{request.path}?limit={limit}&cursor=at-{start + limit}" if start + limit < len(results) else None
    links = {"base": "https://acme.example/wiki"} | ({"next": following} if following and not in_header else {})
    headers = {"Link": f'<{following}>; rel="next"'} if following and in_header else {}
    return Answer({"results": results[start : start + limit], "_links": links}, headers=headers)


class FakeCloud(FakeSite):
    """A Cloud site. `users`: account id → user object; `groups`: name → account ids; a group's id is `id-<name>`."""

    def __init__(self) -> None:
        super().__init__()
        self.cloud_id: str | None = "11111111-2222-3333-4444-555555555555"
        self.users: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, list[str]] = {}
        self.searchable: list[str] = []
        self.statuses: dict[str, str] = {}
        self.spaces: list[dict[str, Any]] = []
        self.largest = 2
        self.has_bulk = True

    def add_user(self, account: str, name: str, *groups: str, **more: Any) -> None:
        self.users[account] = {
            "type": "known",
            "accountId": account,
            "accountType": "atlassian",
            "email": "",
            "publicName": name,
            "displayName": name,
            "isExternalCollaborator": False,
            "isGuest": False,
            **more,
        }
        for group in groups:
            self.groups.setdefault(group, []).append(account)

    def remove_user(self, account: str) -> None:
        for members in self.groups.values():
            if account in members:
                members.remove(account)
        if account in self.searchable:
            self.searchable.remove(account)

    def route(self, request: Request) -> Answer:
        path = request.path
        if path == "/_edge/tenant_info" and self.cloud_id:
            return Answer({"cloudId": self.cloud_id})
        if path == "/wiki/rest/api/group":
            groups = [{"type": "group", "name": name, "id": f"id-{name}", "usageType": "USERBASE_GROUP"} for name in self.groups]
            return offset_page(request, groups, self.largest, "/wiki")
        if path.endswith("/membersByGroupId"):
            members = self.groups.get(path.split("/")[-2].removeprefix("id-"))
            return (
                super().route(request) if members is None else offset_page(request, [self.users[a] for a in members], self.largest, "/wiki")
            )
        if path == "/wiki/rest/api/search/user":
            found = [{"user": self.users[account], "title": "", "entityType": "user", "score": 0.0} for account in self.searchable]
            return offset_page(request, found, self.largest, "/wiki")
        if path == "/wiki/api/v2/spaces":
            return cursor_page(request, self.spaces, self.largest)
        if path == "/wiki/api/v2/users-bulk" and self.has_bulk:
            known = [self.users[account] for account in request.body["accountIds"] if account in self.users]
            return Answer({"results": [{**user, "accountStatus": self.statuses.get(user["accountId"], "active")} for user in known]})
        if path == "/wiki/rest/api/user" and request.query.get("accountId") in self.users:
            return Answer(self.users[request.query["accountId"]])
        return super().route(request)


class FakeDataCenter(FakeSite):
    """A Data Center site under the context path `/confluence`. `users`: user key → user object; `groups`: name → user keys."""

    context = "/confluence"

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, list[str]] = {}
        self.spaces: list[dict[str, Any]] = []
        self.contents: dict[str, dict[str, Any]] = {}
        self.has_user_list = True
        self.largest = 2

    def add_user(self, key: str, name: str, *groups: str, status: str = "current") -> None:
        username = name.split()[0].lower()
        self.users[key] = {"type": "known", "username": username, "userKey": key, "displayName": name, "status": status}
        for group in groups:
            self.groups.setdefault(group, []).append(key)

    def route(self, request: Request) -> Answer:
        path = request.path.removeprefix(self.context)
        if path == "/rest/api/group":
            return self._page(request, [{"name": name, "type": "group"} for name in self.groups])
        if path.startswith("/rest/api/group/") and path.endswith("/member"):
            members = self.groups.get(path.removeprefix("/rest/api/group/").removesuffix("/member"))
            return super().route(request) if members is None else self._page(request, [self.users[key] for key in members])
        if path == "/rest/api/user/list" and self.has_user_list:
            return self._page(request, list(self.users.values()))
        if path == "/rest/api/user" and request.query.get("key") in self.users:
            return Answer(self.users[request.query["key"]])
        if path == "/rest/api/space":
            return self._page(request, self.spaces)
        if path.startswith("/rest/api/content/") and path.split("/")[-1] in self.contents:
            return Answer(self.contents[path.split("/")[-1]])
        return super().route(request)

    def _page(self, request: Request, results: list[Any]) -> Answer:
        """A page whose next link does not repeat `expand`; a status is told only where it was asked for."""
        if request.query.get("expand") != "status":
            results = [{name: value for name, value in result.items() if name != "status"} for result in results]
        return offset_page(request, results, self.largest, self.context)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    site: FakeSite

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        answer = self.site.answer(Request(self.command, unquote(parts.path), query, dict(self.headers), body))
        if answer.act is not None:
            answer.act(self)
            self.close_connection = True
            return
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": JSON, "Content-Length": str(len(content)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle of a slow answer is part of the tests."""


@contextmanager
def served(site: Site) -> Iterator[Site]:
    """Serve the site on a free port of this machine; its address is in `site.url`."""
    handler = type("Handler", (_Handler,), {"site": site})
    server = _Server(("127.0.0.1", 0), handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}" + getattr(site, "context", "/wiki")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""The directory of a Data Center site: which calls tell it, and how their answers read.

An account is its user key, as webhooks send it. The list of all users, disabled ones included, exists since 8.4
(jira.atlassian.com/browse/CONFSERVER-87291); before that, the members of all groups, `confluence-users` first of all, are the people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from uar.confluence.client import Client
from uar.confluence.errors import NotFound, RequestRefused, RightMissing
from uar.confluence.records import PeoplePage, group_of, space_of, text_of
from uar.store.directory import ACTIVE, DEACTIVATED, DELETED, DELETED_NAME, Group, Person, Space

PAGE = 200
IN_USE = ("", "none", "current", "active", "enabled")


class DataCenterDirectory:
    """People, groups and spaces of one Data Center site."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def groups(self) -> Iterator[list[Group]]:
        """All groups, page by page."""
        for page in self.client.pages("/rest/api/group", {"limit": PAGE, "start": 0}):
            yield [found for result in page.results if (found := group_of(result)) is not None]

    def members(self, group: Group) -> Iterator[list[Person]]:
        """The members of a group, page by page."""
        path = f"/rest/api/group/{quote(group.name, safe='')}/member"
        for page in self.client.pages(path, {"limit": PAGE, "start": 0, "expand": "status"}):
            yield people_of(page.results)

    def people(self, query: dict[str, str | int] | None) -> Iterator[PeoplePage]:
        """All users from `query` on; none on a version before 8.4, whose groups hold them."""
        try:
            for page in self.client.pages("/rest/api/user/list", query or {"limit": PAGE, "start": 0, "expand": "status"}):
                yield PeoplePage(people_of(page.results), page.next_query)
        except (NotFound, RequestRefused, RightMissing):
            return

    def with_states(self, found: Sequence[Person]) -> list[Person]:
        """The same people: the lists tell the state."""
        return list(found)

    def look_up(self, accounts: Sequence[str]) -> list[Person]:
        """Single user keys, as seen in events; one that Confluence does not know any more is deleted."""
        return [person for account in accounts if (person := self._single(account)) is not None]

    def spaces(self) -> Iterator[list[Space]]:
        """All spaces, page by page."""
        for page in self.client.pages("/rest/api/space", {"limit": PAGE, "start": 0}):
            yield [found for result in page.results if (found := space_of(result)) is not None]

    def space_of_content(self, content_id: str) -> Space | None:
        """The space of a page, blog post, comment or file, in the trash too; None if it is gone for good (or hidden, which looks alike)."""
        try:
            answer = self.client.get(
                f"/rest/api/content/{quote(content_id, safe='')}", {"status": "any", "expand": "space,container,container.space"}
            )
        except NotFound:
            return None
        return space_around(answer)

    def _single(self, account: str) -> Person | None:
        try:
            answer = self.client.get("/rest/api/user", {"key": account, "expand": "status"})
        except NotFound:
            return Person(account, DELETED_NAME, state=DELETED)
        except (RequestRefused, RightMissing):
            return None
        person = person_of(answer) if isinstance(answer, dict) else None
        return person if person is not None and person.account == account else None


def people_of(results: Sequence[dict[str, Any]]) -> list[Person]:
    """The accounts of a page that have a key."""
    return [found for result in results if (found := person_of(result)) is not None]


def person_of(user: dict[str, Any]) -> Person | None:
    """One account; None for the anonymous one. What kind it is, Data Center does not tell."""
    account = text_of(user, "userKey")
    if account is None:
        return None
    status = str(user.get("status")).lower()
    is_in_use = status in IN_USE and user.get("active") is not False
    name = text_of(user, "displayName") or text_of(user, "username")
    return Person(account, name, text_of(user, "email"), state=ACTIVE if is_in_use else DEACTIVATED)


def space_around(answer: Any) -> Space | None:
    """The space of a content, or of what it hangs on."""
    depth = 0
    while isinstance(answer, dict) and depth < 4:
        space = answer.get("space")
        if isinstance(space, dict) and (found := space_of(space)) is not None:
            return found
        if "key" in answer and "type" in answer and (found := space_of(answer)) is not None:
            return found  # the container of a page is its space
        answer, depth = answer.get("container"), depth + 1
    return None

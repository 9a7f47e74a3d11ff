"""The directory of a Cloud site: which calls tell it, and how their answers read.

Groups and members come from v1, as v2 has no such calls; spaces and the bulk look-up of accounts from v2
(developer.atlassian.com/cloud/confluence/rest). Members and search results do not say whether an account is still in use, and the search
ends after 10,000 people (jira.atlassian.com/browse/CONFCLOUD-83983, CONFCLOUD-77954), hence both lists and a bulk look-up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from uar.activity import ActorKind
from uar.confluence.client import Client
from uar.confluence.errors import ConfluenceError, CredentialsRefused, NotFound, RequestRefused, RightMissing
from uar.confluence.records import PeoplePage, group_of, sequence_of, space_of, text_of
from uar.store.directory import ACTIVE, DEACTIVATED, DELETED, DELETED_NAME, Group, Person, Space

GROUP_PAGE = 200
SEARCH_PAGE = 100
SPACE_PAGE = 250
BULK = 100  # accounts in one look-up
STATES = {"active": ACTIVE, "inactive": DEACTIVATED, "closed": DELETED}
# What Confluence writes behind the names of accounts that are not in use here (jira.atlassian.com/browse/CONFCLOUD-69909).
UNLICENSED, SUSPENDED, SYSTEM = " (Unlicensed)", " (Deactivated)", " (System)"


class CloudDirectory:
    """People, groups and spaces of one Cloud site."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._has_bulk = True

    def groups(self) -> Iterator[list[Group]]:
        """All groups, page by page."""
        for page in self.client.pages("/rest/api/group", {"limit": GROUP_PAGE}):
            yield [found for result in page.results if (found := group_of(result)) is not None]

    def members(self, group: Group) -> Iterator[list[Person]]:
        """The members of a group, page by page. Suspended accounts are left out by Confluence."""
        path = f"/rest/api/group/{quote(group.external_id, safe='')}/membersByGroupId"
        for page in self.client.pages(path, {"limit": GROUP_PAGE}):
            yield people_of(page.results)

    def people(self, query: dict[str, str | int] | None) -> Iterator[PeoplePage]:
        """Everybody the search finds, from `query` on; whom it does not reach comes as a member of a group."""
        start = query or {"cql": "type=user", "limit": SEARCH_PAGE}
        try:
            for page in self.client.pages("/rest/api/search/user", start):
                yield PeoplePage(
                    people_of([user for result in page.results if isinstance(user := result.get("user"), dict)]), page.next_query
                )
        except (NotFound, RequestRefused):
            return
        except (CredentialsRefused, RightMissing) as error:
            # The scope is read:content-details:confluence. The groups have named everybody who may use the site.
            self._only_lacks_scope(error)

    def with_states(self, found: Sequence[Person]) -> list[Person]:
        """The same people with the state of their accounts, where the list did not tell it."""
        unknown = [person.account for person in found if person.state is None]
        told = {person.account: person for person in self._bulk(unknown)}
        return [joined(person, told.get(person.account)) for person in found]

    def look_up(self, accounts: Sequence[str]) -> list[Person]:
        """Single accounts, as seen in events; one that Confluence does not know any more is deleted."""
        found = {person.account: person for person in self._bulk(accounts)}
        for account in accounts:
            if account not in found and (person := self._single(account)) is not None:
                found[account] = person
        return list(found.values())

    def spaces(self) -> Iterator[list[Space]]:
        """All spaces, page by page."""
        for page in self.client.pages("/api/v2/spaces", {"limit": SPACE_PAGE}):
            yield [found for result in page.results if (found := space_of(result)) is not None]

    def _bulk(self, accounts: Sequence[str]) -> list[Person]:
        found: list[Person] = []
        for start in range(0, len(accounts), BULK):
            if not self._has_bulk:
                break
            try:
                answer = self.client.post("/api/v2/users-bulk", {"accountIds": list(accounts[start : start + BULK])})
            except (NotFound, RequestRefused, RightMissing):
                self._has_bulk = False
                break
            except CredentialsRefused as error:
                # The scope is read:user:confluence. The lists alone are worth having.
                self._only_lacks_scope(error)
                self._has_bulk = False
                break
            found += people_of(sequence_of(answer, "results"))
        return found

    def _only_lacks_scope(self, error: ConfluenceError) -> None:
        """Return if the Forge app lacks the scope of the call; the gateway answers that with 401, like a token that has ended."""
        if not self.client.is_forge:
            raise error
        self.client.get("/rest/api/group", {"limit": 1})  # raises if the token has ended

    def _single(self, account: str) -> Person | None:
        try:
            answer = self.client.get("/rest/api/user", {"accountId": account})
        except NotFound:
            return Person(account, DELETED_NAME, state=DELETED) if self._has_bulk else None
        except (RequestRefused, RightMissing):
            return None
        return person_of(answer) if isinstance(answer, dict) else None


def people_of(results: Sequence[dict[str, Any]]) -> list[Person]:
    """The accounts of a page that have an id."""
    return [found for result in results if (found := person_of(result)) is not None]


def person_of(user: dict[str, Any]) -> Person | None:
    """One account; None for the anonymous one. The state is None where the answer does not tell it."""
    account = text_of(user, "accountId")
    if account is None or account == "unknown":
        return None
    state = STATES.get(str(user.get("accountStatus")))
    if state == DELETED:
        return Person(account, DELETED_NAME, state=DELETED)
    name, kind = text_of(user, "displayName") or text_of(user, "publicName"), kind_of(user)
    is_licensed = True
    for suffix in (UNLICENSED, SUSPENDED):
        if name is not None and name.endswith(suffix):
            name, state, is_licensed = name.removesuffix(suffix), DEACTIVATED, suffix != UNLICENSED
    if name is not None and name.endswith(SYSTEM):
        name, kind = name.removesuffix(SYSTEM), ActorKind.APP
    return Person(account, name or None, text_of(user, "email"), kind, state, is_licensed=is_licensed)


def kind_of(user: dict[str, Any]) -> ActorKind | None:
    """Person, app or guest; None where the answer does not tell it."""
    account_type = user.get("accountType")
    if account_type == "app":
        return ActorKind.APP
    if account_type == "customer" or user.get("isGuest") is True or user.get("isExternalCollaborator") is True:
        return ActorKind.GUEST
    return ActorKind.PERSON if account_type == "atlassian" else None


def joined(listed: Person, looked_up: Person | None) -> Person:
    """A listed person with what the look-up adds; who is listed and of whom nobody says otherwise is active."""
    if looked_up is None:
        return listed if listed.state is not None else listed.with_state(ACTIVE)
    if looked_up.state == DELETED:
        return looked_up
    kind = looked_up.kind if looked_up.kind in (ActorKind.APP, ActorKind.GUEST) else listed.kind or looked_up.kind
    return Person(
        listed.account,
        listed.name or looked_up.name,
        listed.email or looked_up.email,
        kind,
        looked_up.state or ACTIVE,
        is_licensed=listed.is_licensed and looked_up.is_licensed,
    )

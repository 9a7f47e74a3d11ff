"""How single values of Confluence's answers are read, and what both directories (`cloud`, `datacenter`) offer a sync."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from uar.store.directory import Group, Person, Space

LONGEST = 1_024  # characters kept of a name


@dataclass(frozen=True)
class PeoplePage:
    """One page of the list of people, and the query at which an interrupted run goes on (None: it was the last)."""

    people: list[Person]
    next_query: dict[str, str | int] | None


class Directory(Protocol):
    """People, groups and spaces of one site. Every method may raise `ConfluenceError`."""

    def groups(self) -> Iterator[list[Group]]:
        """All groups."""

    def members(self, group: Group) -> Iterator[list[Person]]:
        """The members of one group."""

    def people(self, query: dict[str, str | int] | None) -> Iterator[PeoplePage]:
        """The list of people, from `query` on."""

    def with_states(self, found: Sequence[Person]) -> list[Person]:
        """The same people, each with a state."""

    def look_up(self, accounts: Sequence[str]) -> list[Person]:
        """Single accounts; those of which nothing can be said are left out."""

    def spaces(self) -> Iterator[list[Space]]:
        """All spaces."""


def text_of(answer: dict[str, Any], name: str) -> str | None:
    """A non-empty text, or a number as text, without NUL (which PostgreSQL cannot keep) and not endlessly long."""
    value = answer.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return None
    plain = value.replace("\0", "�").encode("utf-8", "replace").decode("utf-8").strip()
    return plain[:LONGEST] or None


def sequence_of(answer: Any, name: str) -> list[dict[str, Any]]:
    """The objects in a list of the answer."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def group_of(result: dict[str, Any]) -> Group | None:
    """A group; Data Center has no id, so the name stands for it."""
    name = text_of(result, "name")
    return None if name is None else Group(text_of(result, "id") or name, name)


def space_of(result: dict[str, Any]) -> Space | None:
    """A space, if it has a key."""
    key = text_of(result, "key")
    return None if key is None else Space(key, text_of(result, "id"), text_of(result, "name"))

"""What each Forge token has proven, until it ends: a token does not sign the body, so whoever sees one could send another body with it.

Only digests are kept; of the token Python's own hash is enough, since nobody but Atlassian can choose one. There is a table for each ten
seconds in which tokens end. A restart forgets them, and a second worker has its own.
"""

from __future__ import annotations

from uar.capture.forge_token import LEEWAY_S

SPAN_S = 10
# More than the rated load brings in the life of a token, and about 40 MB.
MOST = 200_000


class UsedTokens:
    """Digests of tokens, and of what was said first with each. For one thread only."""

    def __init__(self) -> None:
        self._tables: dict[int, dict[int, bytes]] = {}

    def is_for_another(self, token: bytes, expires_at: float, said: bytes, now_s: float) -> bool:
        """Whether this token came before with something else; if it never came, this is what it came with.

        `token` without its signature, whose last character has more than one spelling; `said` is a digest; times are epoch seconds.
        """
        span = int(expires_at // SPAN_S)
        if span not in self._tables:
            self._tables = {other: table for other, table in self._tables.items() if (other + 1) * SPAN_S + LEEWAY_S > now_s}
        if sum(map(len, self._tables.values())) >= MOST:
            del self._tables[min(self._tables)]
        table = self._tables.setdefault(span, {})
        return table.setdefault(hash(token), said) != said

"""The tokens with which our Forge app may read a site's directory, as its deliveries bring them.

Capture puts them here, the directory sync takes them; neither knows the other. They live in memory only: nothing of them reaches the disk
or a log. A token is good for at least two hours when it comes (developer.atlassian.com/platform/forge/remote/calling-product-apis), and
every delivery brings one.
"""

from __future__ import annotations

import threading

from uar.config import Secret

USABLE_MS = 2 * 3_600_000


class AppTokens:
    """The newest token of each site, by cloud id. Instants are epoch ms. For any thread."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Secret, int]] = {}
        self._lock = threading.Lock()

    def keep(self, cloud_id: str, token: Secret, at: int) -> None:
        """Hold the token that came at `at`, in place of the one before."""
        with self._lock:
            self._held[cloud_id] = token, at

    def usable(self, at: int) -> dict[str, Secret]:
        """The tokens that can still be used, by cloud id; the others are forgotten."""
        with self._lock:
            self._held = {cloud_id: held for cloud_id, held in self._held.items() if at - held[1] < USABLE_MS}
            return {cloud_id: token for cloud_id, (token, _) in self._held.items()}

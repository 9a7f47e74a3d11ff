"""What goes wrong with a store, each as a sentence for people.

StoreUnavailable   the store cannot be reached or cannot write right now: wait and try again
StoreDamaged       one of those: its file is damaged, so it waits for a backup
StoreError         trying again does not help: wrong version, values that it refuses
"""

from __future__ import annotations


class StoreUnavailable(Exception):
    """The store cannot be used at the moment; the same call may succeed later."""


class StoreDamaged(StoreUnavailable):
    """The file of the store is damaged; the same call may succeed once a backup is back."""


class StoreError(Exception):
    """The store cannot be used, or refuses these values, until somebody changes something."""

"""Where authorities and their keys are kept: the truth about them, with or without a database.

A store keeps one value, ``KeptAuthorities``, and replaces it whole, if nobody else has in the
meantime. ``file_key_store`` is one; a Secret of a cluster fits the same protocol
(docs/protocol/authorities.md AT-5 to AT-9).
"""

from dataclasses import dataclass
from typing import Protocol

from controlplane.ca.authority_set import KeptAuthorities


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a store keeps, at the revision it was read; revisions are compared for equality only."""

    content: KeptAuthorities
    revision: str


class KeyStore(Protocol):
    """One place for keys. Errors never hold anything of what is kept."""

    @property
    def reference(self) -> str:
        """The place in a few words, for the journal; never a key."""
        ...

    async def load(self) -> Kept | None:
        """Return what is kept; None where nothing ever was.

        Raises:
            KeyStoreError: the place cannot be read, or what it holds is damaged or not ours.
        """
        ...

    async def save(self, content: KeptAuthorities, *, expected: str | None) -> str:
        """Replace what is kept if it is still at revision ``expected`` (None: nothing is kept).

        Returns the new revision. After a crash the old or the new content is there, whole.

        Raises:
            KeyStoreConflictError: it is not at that revision.
            KeyStoreError: it cannot be written.
        """
        ...

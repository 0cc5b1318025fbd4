"""What an operator asks of the authorities: an order in, kept where the leader finds it.

The leader carries orders out as its rules allow; it may be another process than the one that took
the order (docs/protocol/authorities.md AT-38, AT-39).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from controlplane.ca.authority_set import AuthoritySet, Orders
from controlplane.ca.errors import KeyStoreConflictError, KeyStoreError
from controlplane.ca.key_store import KeyStore
from controlplane.model.certificate import AuthorityRecord

_TRIES: Final = 10


async def place_order(keys: KeyStore, change: Callable[[Orders], Orders]) -> AuthoritySet:
    """Replace the open orders by what ``change`` makes of them; return the authorities.

    Raises:
        KeyStoreError: there are no authorities yet, or they cannot be read or written.
    """
    for _ in range(_TRIES):
        kept = await keys.load()
        if kept is None:
            raise KeyStoreError("there are no authorities yet: the first start makes them")
        content = replace(kept.content, orders=change(kept.content.orders))
        if content.orders == kept.content.orders:
            return content.authorities
        try:
            await keys.save(content, expected=kept.revision)
        except KeyStoreConflictError:
            continue
        return content.authorities
    raise KeyStoreConflictError("the authorities change too often just now: try again")


def find_authority(authorities: AuthoritySet, prefix: str) -> AuthorityRecord:
    """Return the one living authority whose id begins with ``prefix``.

    Raises:
        KeyStoreError: there is none, or more than one.
    """
    found = [each for each in authorities.living if each.authority_id.startswith(prefix.lower())]
    if len(found) != 1 or not prefix:
        what = "no" if not found else "more than one"
        raise KeyStoreError(f"{what} authority in use has an id that begins with {prefix!r}")
    return found[0]

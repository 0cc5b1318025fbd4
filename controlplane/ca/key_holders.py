"""Keys seen on two nodes: a key's digest and its holder in, another holder of it out.

An honest client makes a new key for every certificate, so a key that turns up elsewhere has been
copied or captured. Nobody is refused for it; the ledger says so.
"""

from collections import OrderedDict


class KeyHolders:
    """Remembers who held which key last, of the ``capacity`` keys seen last."""

    def __init__(self, capacity: int = 50_000) -> None:
        self._capacity = capacity
        self._holders: OrderedDict[str, str] = OrderedDict()

    def hold(self, key_digest: str, holder: str) -> str:
        """Note that ``holder`` has the key; return who else had it before, "" if nobody."""
        other = self._holders.pop(key_digest, holder)
        self._holders[key_digest] = holder
        if len(self._holders) > self._capacity:
            self._holders.popitem(last=False)
        return "" if other == holder else other

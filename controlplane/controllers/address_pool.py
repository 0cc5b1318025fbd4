"""A range that addresses are handed out of: a name in, the first free address for it out.

Where the search begins follows from the name, so that the same hosts are given the same addresses
wherever nothing is in the way (docs/protocol/address-allocation.md AL-3, AL-4).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from controlplane.mesh.expansion_addresses import AddressRange, range_from_text

_IPV4: Final = 4
_UNUSUAL: Final = frozenset({0, 255})


class Block(NamedTuple):
    """Addresses from ``first`` to ``last``, of ``width`` bytes."""

    first: int
    last: int
    width: int

    @classmethod
    def of(cls, packed: bytes, length: int) -> Self:
        """Return the block of a prefix, whatever its host bits."""
        size = 1 << (len(packed) * 8 - length)
        first = int.from_bytes(packed) // size * size
        return cls(first, first + size - 1, len(packed))

    def contains(self, packed: bytes) -> bool:
        """Tell whether an address is in it."""
        return len(packed) == self.width and self.first <= int.from_bytes(packed) <= self.last


@dataclass(frozen=True, slots=True)
class AddressPool:
    """``text`` is the range as it was configured."""

    text: str
    range: AddressRange

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the pool of a CIDR.

        Raises:
            ValueError: ``text`` is not a CIDR.
        """
        return cls(text, range_from_text(text))

    @property
    def width(self) -> int:
        """Return how many bytes an address of it has."""
        return self.range.width

    def __str__(self) -> str:
        return self.text

    def first_free(
        self, name: str, is_used: Callable[[bytes], bool], blocks: Iterable[Block]
    ) -> bytes | None:
        """Return the first address from where ``name`` leads that is not used; None: there is none.

        ``blocks`` are used as wholes, and passed over in one step.
        """
        first, size, width = self.range
        last = first + size - 1
        relevant = [block for block in blocks if block.width == width]
        start = int.from_bytes(self.range.address(name)) - first
        passed = 0
        while passed < size:
            number = first + (start + passed) % size
            ends = [block.last for block in relevant if block.first <= number <= block.last]
            if ends:
                passed += min(max(ends), last) - number + 1
                continue
            packed = number.to_bytes(width)
            passed += 1
            # Some systems take these for a network and for everybody in it.
            if width == _IPV4 and packed[-1] in _UNUSUAL:
                continue
            if not is_used(packed):
                return packed
        return None

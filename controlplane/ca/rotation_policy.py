"""How long authorities live and how long is waited for others, from settings."""

from dataclasses import dataclass
from datetime import timedelta

from controlplane.ca.authority import KeyType


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationPolicy:
    """Times of authorities.

    ``max_leaf_lifetime`` is the longest lifetime any leaf is given. ``root_overlap`` is how long
    before its end a root is followed by another. ``settling`` is how long a written bundle takes
    to be in use everywhere, ``replica_forgotten_after`` how long a silent replica is waited for.

    Raises:
        ValueError: leaves would outlive what signs them.
    """

    key_type: KeyType = KeyType.P256
    root_lifetime: timedelta = timedelta(days=3650)
    intermediate_lifetime: timedelta = timedelta(days=14)
    max_leaf_lifetime: timedelta = timedelta(hours=24)
    root_overlap: timedelta = timedelta(days=180)
    settling: timedelta = timedelta(minutes=5)
    replica_forgotten_after: timedelta = timedelta(hours=1)
    published_leaf_lifetime: timedelta = timedelta(hours=2)
    tainted_leaf_lifetime: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if not timedelta(0) < self.max_leaf_lifetime <= self.intermediate_lifetime / 2:
            raise ValueError("leaves live at most half as long as the intermediate")
        if self.intermediate_lifetime > self.root_lifetime / 4:
            raise ValueError("an intermediate lives at most a quarter as long as the root")

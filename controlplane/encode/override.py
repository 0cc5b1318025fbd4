"""What a route configuration says about a filter of its chain: a message comes in, bytes go out.

They are laid over whole virtual hosts. Made where policies are read, put in by ``route``.
docs/protocol/waypoint-config.md WC-31.
"""

from collections.abc import Iterable
from typing import NamedTuple

from controlplane.encode.rbac import encode_http_policies
from controlplane.encode.typed import encoded, packed
from controlplane.model.http_policy import HttpPolicy


class Override(NamedTuple):
    """A serialized ``Any`` for the filter ``name``."""

    name: str
    message: bytes


Overrides = tuple[Override, ...]
"""By filter, in a stable order. Without any, an HTTP chain denies everything."""


def encode_overrides(policies: Iterable[HttpPolicy], *, asked: str = "") -> Overrides:
    """Return what ``policies`` say to the filters of an HTTP chain, which asks ``asked``.

    Raises EncodeError for values an Envoy would reject.
    """
    messages = encode_http_policies(policies, asked=asked)
    return tuple(
        Override(name, encoded(packed(message))) for name, message in sorted(messages.items())
    )

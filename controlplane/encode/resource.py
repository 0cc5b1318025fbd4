"""A resource as it travels: encoded once, shared by every client that is sent it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Resource:
    """One named, versioned, encoded xDS resource.

    ``body`` is a serialized ``envoy.service.discovery.v3.Resource`` (name, version and the
    Any-wrapped message) without aliases; ``aliases`` are added for on-demand clients only.
    ``version`` is a content hash, equal on every replica and after every restart. ``node`` and
    ``services`` (resource names) are what on-demand look-ups need of a workload; both are empty
    for every other resource.
    """

    name: str
    version: str
    body: bytes = field(repr=False)
    aliases: tuple[str, ...] = ()
    node: str = ""
    services: tuple[str, ...] = ()

"""The story's chapters in order: what each is called, what there is to understand, what happens."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from controlplane.lab.story import steps
from controlplane.lab.story.stage import Stage
from controlplane.lab.story.told import Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One step: its title, a sentence or two about it, and what does and judges it."""

    title: str
    says: str
    step: Callable[[Stage, Told], Awaitable[None]]
    needs_envoy: bool = False


CHAPTERS: Final = (
    Chapter(
        title="Traffic before the mesh",
        says="A bookshop of four services runs on two nodes. Nobody encrypts, nobody knows who "
        "calls whom.",
        step=steps.plain,
    ),
    Chapter(
        title="One label: identities by mutual TLS",
        says="The namespace gets a label; no pod restarts. From now on the node proxies carry its "
        "traffic, encrypted, and each end proves who it is with a certificate.",
        step=steps.ambient,
    ),
    Chapter(
        title="Who may connect: a policy at node proxies",
        says="Only sleep may connect to productpage. The node proxy at the receiving end enforces "
        "it by identity: whoever else connects is turned away before a byte is delivered.",
        step=steps.callers,
    ),
    Chapter(
        title="Strict: nobody without an identity",
        says="A pod outside the mesh has no identity and speaks plaintext. So far it was let in; "
        "STRICT ends that.",
        step=steps.strict,
    ),
    Chapter(
        title="A waypoint: requests go through Envoy",
        says="Node proxies see connections, not requests. A waypoint, an Envoy for the whole "
        "namespace, sees requests; another label sends traffic through it.",
        step=steps.waypoint,
        needs_envoy=True,
    ),
    Chapter(
        title="Who may do what: a policy at the waypoint",
        says="Now a policy can speak of methods and paths: sleep may GET productpage, and that "
        "is all that anybody may.",
        step=steps.readers,
        needs_envoy=True,
    ),
    Chapter(
        title="A route: ninety to ten",
        says="The waypoint also decides where a request goes: one in ten to the next version of "
        "reviews.",
        step=steps.split,
        needs_envoy=True,
    ),
    Chapter(
        title="A certificate is rotated",
        says="Certificates live for hours and are replaced long before they end, under traffic.",
        step=steps.certificates,
    ),
    Chapter(
        title="The control plane is away for ten seconds",
        says="Proxies go on with what they know: without the control plane nothing changes, and "
        "nothing fails.",
        step=steps.outage,
    ),
    Chapter(
        title="A change, from save to enforcement",
        says="A file is saved, and the first request that is judged by it is counted in "
        "milliseconds.",
        step=steps.live,
        needs_envoy=True,
    ),
)
"""Each needs those before it."""

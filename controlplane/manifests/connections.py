"""Gateway API kinds about connections: TCPRoute, TLSRoute and BackendTLSPolicy."""

import msgspec

from controlplane.manifests.metadata import Manifest
from controlplane.manifests.route_references import BackendTarget
from controlplane.model.route_parent import ParentReference


class BackendReference(BackendTarget, frozen=True, gc=False):
    """A backend of a rule, and its share of the connections."""

    weight: int = 1


class ConnectionRule(msgspec.Struct, frozen=True):
    """One rule: where connections go, by weight."""

    backends: tuple[BackendReference, ...] = ()


class ConnectionRoute(Manifest, frozen=True, kw_only=True):
    """A TCPRoute or a TLSRoute; only the latter has ``hostnames``."""

    route_kind: str
    parents: tuple[ParentReference, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[ConnectionRule, ...] = ()

    @property
    def kind(self) -> str:
        """Return TCPRoute or TLSRoute."""
        return self.route_kind


class PolicyTarget(msgspec.Struct, frozen=True, gc=False):
    """What a BackendTLSPolicy is for: an object of its namespace, or one port of it."""

    group: str
    kind: str
    name: str
    section: str = ""


class AuthorityReference(msgspec.Struct, frozen=True, gc=False):
    """An object of the policy's namespace that holds the certificates of an authority."""

    group: str
    kind: str
    name: str


class AlternativeName(msgspec.Struct, frozen=True, gc=False):
    """A name that a certificate may carry: ``type`` says Hostname or URI."""

    type: str
    value: str


class BackendTLSPolicy(Manifest, frozen=True, kw_only=True):
    """How backends are spoken to over TLS; ``well_known`` is "" when absent."""

    targets: tuple[PolicyTarget, ...] = ()
    hostname: str = ""
    authorities: tuple[AuthorityReference, ...] = ()
    well_known: str = ""
    alternative_names: tuple[AlternativeName, ...] = ()

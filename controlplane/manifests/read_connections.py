"""Gateway API kinds about connections: raw JSON shape -> ``connections`` manifests.

Also ConfigMaps that hold the certificates of an authority: nothing else of one is kept.
"""

from typing import Any, Final

import msgspec

from controlplane.manifests import connections
from controlplane.manifests.core import ConfigMap
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.read_fields import objects
from controlplane.manifests.read_metadata import RawObject
from controlplane.manifests.read_route_references import (
    RawBackend,
    RawParent,
    read_parents,
    read_target,
    read_weight,
)

AUTHORITY_KEY: Final = "ca.crt"


class RawRule(msgspec.Struct, rename="camel"):
    """``rules[]`` of a route."""

    backend_refs: list[RawBackend] | None = None


class RawConnectionSpec(msgspec.Struct, rename="camel"):
    """``spec`` of a TCPRoute or TLSRoute."""

    parent_refs: list[RawParent] | None = None
    hostnames: list[str] | None = None
    rules: list[RawRule | None] | None = None


class RawConnectionRoute(RawObject, rename="camel"):
    """A TCPRoute or TLSRoute."""

    spec: RawConnectionSpec | None = None


class RawTarget(msgspec.Struct, rename="camel"):
    """``targetRefs[]`` of a policy."""

    kind: str
    name: str
    group: str | None = None
    section_name: str | None = None


class RawAuthority(msgspec.Struct, rename="camel"):
    """``caCertificateRefs[]`` of a policy."""

    kind: str
    name: str
    group: str | None = None


class RawAlternativeName(msgspec.Struct, rename="camel"):
    """``subjectAltNames[]`` of a policy."""

    type: str
    hostname: str | None = None
    uri: str | None = None


class RawValidation(msgspec.Struct, rename="camel"):
    """``validation`` of a policy."""

    hostname: str | None = None
    ca_certificate_refs: list[RawAuthority] | None = msgspec.field(
        default=None, name="caCertificateRefs"
    )
    well_known: str | None = msgspec.field(default=None, name="wellKnownCACertificates")
    subject_alt_names: list[RawAlternativeName] | None = None


class RawPolicySpec(msgspec.Struct, rename="camel"):
    """``spec`` of a BackendTLSPolicy."""

    target_refs: list[RawTarget] | None = None
    validation: RawValidation | None = None


class RawBackendTLSPolicy(RawObject, rename="camel"):
    """A BackendTLSPolicy."""

    spec: RawPolicySpec | None = None


class RawConfigMap(RawObject, rename="camel"):
    """A ConfigMap, of which only one key can matter."""

    data: dict[str, Any] | None = None


_RULE: Final = RawRule()


def read_tcp_route(raw: RawConnectionRoute, metadata: Metadata) -> connections.ConnectionRoute:
    """Return the TCPRoute."""
    return _route("TCPRoute", raw, metadata, ())


def read_tls_route(raw: RawConnectionRoute, metadata: Metadata) -> connections.ConnectionRoute:
    """Return the TLSRoute."""
    spec = raw.spec or RawConnectionSpec()
    return _route("TLSRoute", raw, metadata, tuple(spec.hostnames or ()))


def read_backend_tls_policy(
    raw: RawBackendTLSPolicy, metadata: Metadata
) -> connections.BackendTLSPolicy:
    """Return the policy."""
    spec = raw.spec or RawPolicySpec()
    validation = spec.validation or RawValidation()
    return connections.BackendTLSPolicy(
        metadata=metadata,
        targets=tuple(
            connections.PolicyTarget(
                target.group or "", target.kind, target.name, target.section_name or ""
            )
            for target in spec.target_refs or ()
        ),
        hostname=validation.hostname or "",
        authorities=tuple(
            connections.AuthorityReference(each.group or "", each.kind, each.name)
            for each in validation.ca_certificate_refs or ()
        ),
        well_known=validation.well_known or "",
        alternative_names=tuple(
            connections.AlternativeName(
                each.type, (each.uri if each.type == "URI" else each.hostname) or ""
            )
            for each in validation.subject_alt_names or ()
        ),
    )


def read_config_map(raw: RawConfigMap, metadata: Metadata) -> ConfigMap:
    """Return the ConfigMap with nothing but the certificates of an authority, if it has any."""
    found = (raw.data or {}).get(AUTHORITY_KEY)
    return ConfigMap(
        metadata=Metadata(name=metadata.name, namespace=metadata.namespace),
        data={AUTHORITY_KEY: found} if isinstance(found, str) else {},
    )


def _route(
    kind: str, raw: RawConnectionRoute, metadata: Metadata, hostnames: tuple[str, ...]
) -> connections.ConnectionRoute:
    spec = raw.spec or RawConnectionSpec()
    return connections.ConnectionRoute(
        metadata=metadata,
        route_kind=kind,
        parents=read_parents(spec.parent_refs),
        hostnames=hostnames,
        rules=tuple(
            connections.ConnectionRule(tuple(_backend(each) for each in rule.backend_refs or ()))
            for rule in objects(spec.rules, _RULE)
        ),
    )


def _backend(raw: RawBackend) -> connections.BackendReference:
    target = read_target(raw)
    return connections.BackendReference(
        name=target.name,
        group=target.group,
        kind=target.kind,
        namespace=target.namespace,
        port=target.port,
        weight=read_weight(raw),
    )

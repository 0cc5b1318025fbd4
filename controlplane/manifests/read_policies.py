"""Security policies: raw JSON shape -> ``istio`` manifests, refusing whatever is not understood.

A field that is not known, a null where a list or text belongs or a port that is no text could each
turn a narrow rule into a broad one, so the object is refused and its last good version stays in
force (docs/protocol/manifests.md MF-13 to MF-15).
"""

import re
from typing import Final

import msgspec

from controlplane.manifests import istio
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.read_fields import RefusedFieldError, objects, one_of
from controlplane.manifests.read_metadata import RawObject

_ACTIONS: Final = ("ALLOW", "DENY", "AUDIT", "CUSTOM")
_MODES: Final = ("UNSET", "DISABLE", "PERMISSIVE", "STRICT")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_HIGHEST_PORT: Final = 65535

Values = tuple[str, ...]


class RawPolicySelector(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``selector`` of a policy: matchLabels only."""

    match_labels: dict[str, str] | None = None


class RawTargetReference(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``targetRef`` or one of ``targetRefs``."""

    kind: str
    name: str
    group: str = ""
    namespace: str = ""


class RawSource(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``from[].source``."""

    principals: Values = ()
    not_principals: Values = ()
    request_principals: Values = ()
    not_request_principals: Values = ()
    namespaces: Values = ()
    not_namespaces: Values = ()
    service_accounts: Values = ()
    not_service_accounts: Values = ()
    ip_blocks: Values = ()
    not_ip_blocks: Values = ()
    remote_ip_blocks: Values = ()
    not_remote_ip_blocks: Values = ()
    trust_domains: Values = ()
    not_trust_domains: Values = ()


class RawOperation(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``to[].operation``."""

    hosts: Values = ()
    not_hosts: Values = ()
    ports: Values = ()
    not_ports: Values = ()
    methods: Values = ()
    not_methods: Values = ()
    paths: Values = ()
    not_paths: Values = ()


class RawFrom(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``from[]``."""

    source: RawSource | None = None


class RawTo(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``to[]``."""

    operation: RawOperation | None = None


class RawWhen(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``when[]``."""

    key: str
    values: Values = ()
    not_values: Values = ()


class RawRule(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``rules[]``."""

    sources: tuple[RawFrom | None, ...] = msgspec.field(default=(), name="from")
    operations: tuple[RawTo | None, ...] = msgspec.field(default=(), name="to")
    when: tuple[RawWhen, ...] = ()


class RawProvider(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``provider``: who decides for action CUSTOM."""

    name: str = ""


class RawAttachment(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What policies are attached by: a selector or targets."""

    selector: RawPolicySelector | None = None
    target_ref: RawTargetReference | None = None
    target_refs: tuple[RawTargetReference, ...] = ()


class RawAuthorizationSpec(RawAttachment, rename="camel", forbid_unknown_fields=True):
    """``spec`` of an AuthorizationPolicy."""

    action: str = "ALLOW"
    rules: tuple[RawRule | None, ...] | None = ()
    provider: RawProvider | None = None


class RawAuthorizationPolicy(RawObject, rename="camel"):
    """An AuthorizationPolicy."""

    spec: RawAuthorizationSpec | None = None


class RawMtls(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``mtls`` of a PeerAuthentication."""

    mode: str = "UNSET"


class RawPeerSpec(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``spec`` of a PeerAuthentication."""

    selector: RawPolicySelector | None = None
    mtls: RawMtls | None = None
    port_level_mtls: dict[str, RawMtls | None] | None = None


class RawPeerAuthentication(RawObject, rename="camel"):
    """A PeerAuthentication."""

    spec: RawPeerSpec | None = None


_FROM: Final = RawFrom()
_TO: Final = RawTo()
_RULE: Final = RawRule()
_SOURCE: Final = RawSource()
_OPERATION: Final = RawOperation()
_MTLS: Final = RawMtls()


def read_authorization_policy(
    raw: RawAuthorizationPolicy, metadata: Metadata
) -> istio.AuthorizationPolicy:
    """Return the AuthorizationPolicy."""
    spec = raw.spec or RawAuthorizationSpec()
    return istio.AuthorizationPolicy(
        metadata=metadata,
        selector=selector_of(spec),
        target_references=targets_of(spec),
        action=one_of(spec.action, _ACTIONS, ("spec", "action")),
        rules=tuple(_rule(rule) for rule in objects(spec.rules or (), _RULE)),
        provider=spec.provider.name if spec.provider else "",
    )


def selector_of(spec: RawAttachment) -> dict[str, str] | None:
    """Return the labels that a policy selects by; raises RefusedFieldError beside targets."""
    if spec.selector is None:
        return None
    if spec.target_ref or spec.target_refs:
        reason = "a policy has either a selector or targetRefs"
        raise RefusedFieldError(("spec", "selector"), reason)
    return spec.selector.match_labels or {}


def targets_of(spec: RawAttachment) -> tuple[istio.TargetReference, ...]:
    """Return what a policy names; raises RefusedFieldError if it does so in two ways."""
    if spec.target_ref and spec.target_refs:
        raise RefusedFieldError(("spec", "targetRef"), "a policy has targetRef or targetRefs")
    raw = (spec.target_ref,) if spec.target_ref else spec.target_refs
    return tuple(
        istio.TargetReference(
            kind=one.kind, name=one.name, group=one.group, namespace=one.namespace
        )
        for one in raw
    )


def _rule(raw: RawRule) -> istio.AuthorizationRule:
    return istio.AuthorizationRule(
        sources=tuple(_source(one.source or _SOURCE) for one in objects(raw.sources, _FROM)),
        operations=tuple(
            _operation(one.operation or _OPERATION) for one in objects(raw.operations, _TO)
        ),
        when=tuple(
            istio.When(key=one.key, values=one.values, not_values=one.not_values)
            for one in raw.when
        ),
    )


def _source(raw: RawSource) -> istio.Source:
    return istio.Source(**{name: getattr(raw, name) for name in istio.Source.__struct_fields__})


def _operation(raw: RawOperation) -> istio.Operation:
    return istio.Operation(
        **{name: getattr(raw, name) for name in istio.Operation.__struct_fields__}
    )


def read_peer_authentication(
    raw: RawPeerAuthentication, metadata: Metadata
) -> istio.PeerAuthentication:
    """Return the PeerAuthentication."""
    spec = raw.spec or RawPeerSpec()
    modes: dict[int, str] = {}
    for port, mtls in sorted((spec.port_level_mtls or {}).items()):
        path = ("spec", "portLevelMtls", port)
        if not _PORT.fullmatch(port) or int(port) > _HIGHEST_PORT:
            raise RefusedFieldError(path, f"{port!r} is not a port")
        modes[int(port)] = one_of((mtls or _MTLS).mode, _MODES, (*path, "mode"))
    return istio.PeerAuthentication(
        metadata=metadata,
        selector=None if spec.selector is None else spec.selector.match_labels or {},
        mode=one_of((spec.mtls or _MTLS).mode, _MODES, ("spec", "mtls", "mode")),
        port_modes=dict(sorted(modes.items())),
    )

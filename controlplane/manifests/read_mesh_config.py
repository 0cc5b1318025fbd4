"""The mesh configuration: raw JSON shape -> ``MeshConfig``.

It is a document without a kind (``meshconfig.yaml``) or the text under ``mesh`` of ConfigMap
``istio``. Everything the mesh rules do not read passes unseen.
"""

import re
from typing import Any, Final

import msgspec

from controlplane.manifests.documents import Limits, Path
from controlplane.manifests.errors import UnreadableTextError
from controlplane.manifests.mesh_config import (
    MeshConfig,
    ServiceEntryVisibility,
    ServiceScope,
    VisibilityPolicy,
)
from controlplane.manifests.read_fields import RefusedFieldError, convert, objects, one_of
from controlplane.manifests.read_providers import read_providers
from controlplane.manifests.read_selectors import RawSelector, read_selector
from controlplane.manifests.read_yaml import read_yaml

_TRUST_DOMAIN: Final = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9._]{0,253}[A-Za-z0-9])?")
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_VISIBILITIES: Final = ("NONE", "NAMESPACE", "PUBLIC", "UNSPECIFIED")
_SCOPES: Final = ("LOCAL", "GLOBAL")
_ENCODINGS: Final = ("TEXT", "JSON")
_NORMALIZATIONS: Final = ("NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")
_NAMESPACE_MATCHER: Final = "namespaceSelector"


class RawVisibilityPolicy(msgspec.Struct, rename="camel"):
    """``serviceEntryVisibility.policies[]``."""

    visibility: str | None = None
    matching_rules: list[dict[str, Any] | None] | None = None


class RawVisibility(msgspec.Struct, rename="camel"):
    """``serviceEntryVisibility``."""

    default_visibility: str | None = None
    policies: list[RawVisibilityPolicy | None] | None = None


class RawScope(msgspec.Struct, rename="camel"):
    """``serviceScopeConfigs[]``."""

    scope: str | None = None
    namespace_selector: RawSelector | None = None
    services_selector: RawSelector | None = None


class RawPathNormalization(msgspec.Struct, rename="camel"):
    """``pathNormalization``."""

    normalization: str | None = None


class RawMeshConfig(msgspec.Struct, rename="camel"):
    """The mesh configuration as written."""

    trust_domain: str | None = None
    trust_domain_aliases: list[str] | None = None
    extension_providers: list[dict[str, Any] | None] | None = None
    root_namespace: str | None = None
    discovery_selectors: list[RawSelector | None] | None = None
    service_entry_visibility: RawVisibility | None = None
    service_scope_configs: list[RawScope | None] | None = None
    access_log_file: str | None = None
    access_log_encoding: str | None = None
    access_log_format: str | None = None
    path_normalization: RawPathNormalization | None = None


_SELECTOR: Final = RawSelector()
_DEFAULTS: Final = MeshConfig()


def read_mesh_config(value: dict[str, Any]) -> MeshConfig:
    """Return the mesh configuration; raises RefusedFieldError naming the field."""
    raw = convert(value, RawMeshConfig)
    trust_domain = raw.trust_domain or _DEFAULTS.trust_domain
    if not _TRUST_DOMAIN.fullmatch(trust_domain):
        raise RefusedFieldError(("trustDomain",), f"{trust_domain!r} is not a trust domain")
    aliases = raw.trust_domain_aliases or ()
    for index, alias in enumerate(aliases):
        if not _TRUST_DOMAIN.fullmatch(alias):
            path: Path = ("trustDomainAliases", index)
            raise RefusedFieldError(path, f"{alias!r} is not a trust domain")
    root_namespace = raw.root_namespace or _DEFAULTS.root_namespace
    if not _NAMESPACE.fullmatch(root_namespace):
        raise RefusedFieldError(("rootNamespace",), f"{root_namespace!r} is not a namespace")
    return MeshConfig(
        trust_domain=trust_domain,
        trust_domain_aliases=tuple(dict.fromkeys(each for each in aliases if each != trust_domain)),
        root_namespace=root_namespace,
        discovery_selectors=tuple(
            read_selector(selector, ("discoverySelectors", index))
            for index, selector in enumerate(objects(raw.discovery_selectors, _SELECTOR))
        ),
        service_entry_visibility=_visibility(raw.service_entry_visibility),
        service_scopes=tuple(
            _scope(scope, ("serviceScopeConfigs", index))
            for index, scope in enumerate(objects(raw.service_scope_configs, RawScope()))
        ),
        access_log_file=raw.access_log_file,
        access_log_encoding=one_of(
            raw.access_log_encoding or "TEXT", _ENCODINGS, ("accessLogEncoding",)
        ),
        access_log_format=raw.access_log_format or "",
        path_normalization=_normalization(raw.path_normalization),
        authorization_providers=tuple(read_providers(raw.extension_providers)),
    )


def read_mesh_config_text(text: str, limits: Limits) -> MeshConfig:
    """Return the mesh configuration written as YAML text; raises RefusedFieldError.

    An empty text is a configuration of defaults.
    """
    steps = read_yaml(text, limits)
    try:
        while True:
            next(steps)
    except StopIteration as finished:
        documents = finished.value
    except UnreadableTextError as error:
        where = "" if error.line is None else f" (line {error.line} of the text)"
        raise RefusedFieldError((), f"{error.reason}{where}") from error
    filled = [document for document in documents if document.value is not None]
    if not filled:
        return _DEFAULTS
    document = filled[0]
    if len(filled) > 1 or not isinstance(document.value, dict):
        raise RefusedFieldError((), "the text must be one object")
    for fault in document.faults:
        raise RefusedFieldError(fault.path, fault.reason)
    return read_mesh_config(document.value)


def _normalization(raw: RawPathNormalization | None) -> str:
    written = raw.normalization if raw is not None else None
    if written in (None, "", "DEFAULT"):
        return _DEFAULTS.path_normalization
    return one_of(written, _NORMALIZATIONS, ("pathNormalization", "normalization"))


def _visibility(raw: RawVisibility | None) -> ServiceEntryVisibility | None:
    if raw is None:
        return None
    path: Path = ("serviceEntryVisibility",)
    return ServiceEntryVisibility(
        default=_visible(raw.default_visibility, (*path, "defaultVisibility")),
        policies=tuple(
            _visibility_policy(policy, (*path, "policies", index))
            for index, policy in enumerate(objects(raw.policies, RawVisibilityPolicy()))
        ),
    )


def _visible(value: str | None, path: Path) -> str:
    written = one_of(value or "UNSPECIFIED", _VISIBILITIES, path)
    return "PUBLIC" if written == "UNSPECIFIED" else written


def _visibility_policy(raw: RawVisibilityPolicy, path: Path) -> VisibilityPolicy:
    selectors = []
    unknown = False
    for index, rule in enumerate(objects(raw.matching_rules, {})):
        if set(rule) != {_NAMESPACE_MATCHER}:
            unknown = True
            continue
        place = (*path, "matchingRules", index, _NAMESPACE_MATCHER)
        try:
            selector = convert(rule[_NAMESPACE_MATCHER] or {}, RawSelector)
        except RefusedFieldError as error:
            raise RefusedFieldError((*place, *error.path), error.reason) from error
        selectors.append(read_selector(selector, place))
    return VisibilityPolicy(
        visibility=_visible(raw.visibility, (*path, "visibility")),
        selectors=tuple(selectors),
        unknown_matcher=unknown,
    )


def _scope(raw: RawScope, path: Path) -> ServiceScope:
    return ServiceScope(
        scope=one_of(raw.scope or "LOCAL", _SCOPES, (*path, "scope")),
        namespace_selector=_optional(raw.namespace_selector, (*path, "namespaceSelector")),
        service_selector=_optional(raw.services_selector, (*path, "servicesSelector")),
    )


def _optional(raw: RawSelector | None, path: Path) -> Any:
    return None if raw is None else read_selector(raw, path)

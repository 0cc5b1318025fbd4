"""The mesh configuration document (ConfigMap ``istio``, key ``mesh``, or ``meshconfig.yaml``)."""

import msgspec

from controlplane.model.authorization_provider import AuthorizationProvider
from controlplane.model.labels import LabelSelector


class VisibilityPolicy(msgspec.Struct, frozen=True):
    """Visibility for namespaces that every selector matches; an empty list matches all.

    ``unknown_matcher`` says that a rule used a matcher we do not know: it then never matches.
    """

    visibility: str
    selectors: tuple[LabelSelector, ...] = ()
    unknown_matcher: bool = False


class ServiceEntryVisibility(msgspec.Struct, frozen=True):
    """Who sees ServiceEntries: first matching policy wins, else the default."""

    default: str = "PUBLIC"
    policies: tuple[VisibilityPolicy, ...] = ()


class ServiceScope(msgspec.Struct, frozen=True):
    """One entry of ``serviceScopeConfigs``; a None selector matches everything."""

    scope: str
    namespace_selector: LabelSelector | None = None
    service_selector: LabelSelector | None = None


class WrittenProvider(msgspec.Struct, frozen=True):
    """Somebody who can be asked about requests, by what is written in ``field``, or its fault."""

    field: str
    name: str = ""
    provider: AuthorizationProvider | None = None
    fault: str = ""


class MeshConfig(msgspec.Struct, frozen=True):
    """What the mesh rules read of the mesh configuration.

    ``access_log_file`` is None where nothing is said, "" where nothing is to be logged.
    """

    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    root_namespace: str = "istio-system"
    discovery_selectors: tuple[LabelSelector, ...] = ()
    service_entry_visibility: ServiceEntryVisibility | None = None
    service_scopes: tuple[ServiceScope, ...] = ()
    access_log_file: str | None = None
    access_log_encoding: str = "TEXT"
    access_log_format: str = ""
    path_normalization: str = "BASE"
    authorization_providers: tuple[WrittenProvider, ...] = ()

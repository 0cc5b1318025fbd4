"""The mesh's own kinds, of networking.istio.io and security.istio.io."""

import msgspec

from controlplane.manifests.metadata import Manifest


class WorkloadSpec(msgspec.Struct, frozen=True):
    """A WorkloadEntry's spec, or one endpoint of a ServiceEntry."""

    address: str = ""
    ports: dict[str, int] = {}
    labels: dict[str, str] = {}
    network: str = ""
    locality: str = ""
    weight: int = 0
    service_account: str = ""


class WorkloadEntry(Manifest, frozen=True, kw_only=True):
    """A workload outside the cluster."""

    spec: WorkloadSpec = WorkloadSpec()


class ServiceEntryPort(msgspec.Struct, frozen=True, gc=False):
    """A port of a ServiceEntry; ``target_port`` 0 when absent."""

    number: int
    name: str = ""
    protocol: str = ""
    target_port: int = 0


class AllocatedAddress(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``status.addresses``."""

    value: str
    host: str = ""


class ServiceEntry(Manifest, frozen=True, kw_only=True):
    """A service outside the cluster; ``workload_selector`` None when absent."""

    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[ServiceEntryPort, ...] = ()
    location: str = ""
    resolution: str = "NONE"
    endpoints: tuple[WorkloadSpec, ...] = ()
    workload_selector: dict[str, str] | None = None
    subject_alt_names: tuple[str, ...] = ()
    status_addresses: tuple[AllocatedAddress, ...] = ()


class TargetReference(msgspec.Struct, frozen=True, gc=False):
    """What a policy attaches to; ``namespace`` "" means the policy's own."""

    kind: str
    name: str
    group: str = ""
    namespace: str = ""


class Source(msgspec.Struct, frozen=True):
    """Where a request comes from; every field is an OR of its values."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()
    not_trust_domains: tuple[str, ...] = ()


class Operation(msgspec.Struct, frozen=True):
    """What a request does."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class When(msgspec.Struct, frozen=True):
    """A further condition on one attribute."""

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class AuthorizationRule(msgspec.Struct, frozen=True):
    """One rule: sources AND operations AND every ``when``."""

    sources: tuple[Source, ...] = ()
    operations: tuple[Operation, ...] = ()
    when: tuple[When, ...] = ()


class AuthorizationPolicy(Manifest, frozen=True, kw_only=True):
    """An AuthorizationPolicy.

    ``selector`` is matchLabels, None when the selector is absent ({} selects everything in
    scope). ``target_references`` joins ``targetRefs`` and the older ``targetRef``. ``action`` is
    ALLOW, DENY, AUDIT or CUSTOM; ``provider`` is whom CUSTOM asks, "" when it is not said.
    """

    selector: dict[str, str] | None = None
    target_references: tuple[TargetReference, ...] = ()
    action: str = "ALLOW"
    rules: tuple[AuthorizationRule, ...] = ()
    provider: str = ""


class PeerAuthentication(Manifest, frozen=True, kw_only=True):
    """A PeerAuthentication; modes are UNSET, DISABLE, PERMISSIVE or STRICT."""

    selector: dict[str, str] | None = None
    mode: str = "UNSET"
    port_modes: dict[int, str] = {}


class TokenHeader(msgspec.Struct, frozen=True, gc=False):
    """A header that tokens come in, behind ``prefix``."""

    name: str
    prefix: str = ""


class ClaimHeader(msgspec.Struct, frozen=True, gc=False):
    """A header that is given the value of a claim."""

    header: str
    claim: str


class TokenIssuer(msgspec.Struct, frozen=True, kw_only=True):
    """One of ``jwtRules``: whose tokens are taken, by which keys, from where.

    ``keys`` is a key set as written and ``keys_uri`` where one is; both "" mean that the issuer
    tells. ``timeout`` is seconds, 0.0 when absent. Header names are as written.
    """

    issuer: str
    audiences: tuple[str, ...] = ()
    keys: str = ""
    keys_uri: str = ""
    headers: tuple[TokenHeader, ...] = ()
    parameters: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    forwards: bool = False
    payload_header: str = ""
    claim_headers: tuple[ClaimHeader, ...] = ()
    lists: tuple[str, ...] = ()
    timeout: float = 0.0


class RequestAuthentication(Manifest, frozen=True, kw_only=True):
    """A RequestAuthentication; ``issuers`` are its ``jwtRules``."""

    selector: dict[str, str] | None = None
    target_references: tuple[TargetReference, ...] = ()
    issuers: tuple[TokenIssuer, ...] = ()

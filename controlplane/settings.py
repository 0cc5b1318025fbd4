"""Every setting, read once: ``ISTIOD_LITE_*`` in the environment, or the names istio users know.

In: environment variables and what the command line overrides. Out: one frozen ``Settings`` value
that ``controlplane.app`` hands on in the small pieces each package asks for. docs/settings.md
lists them all.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_GO_DURATION = re.compile(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)

_NO_LAYERS = (
    "waypoints do not enforce policies without targetRefs (docs/protocol/http-policies.md HP-29): "
    "give them targetRefs and unset the variable"
)


def _seconds(value: object) -> object:
    """Return the seconds of a duration such as 24h0m0s; anything else is left to the validator."""
    match = _GO_DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if match is None:
        return value
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


Duration = Annotated[int, BeforeValidator(_seconds), Field(gt=0)]
"""Seconds, or hours, minutes and seconds as users of istiod write them."""


def _known_as(name: str) -> AliasChoices:
    """Accept the name users of istiod know beside our own."""
    return AliasChoices(f"ISTIOD_LITE_{name}", name)


class Settings(BaseSettings):
    """All settings. Times are seconds, sizes are bytes."""

    model_config = SettingsConfigDict(
        env_prefix="ISTIOD_LITE_", frozen=True, populate_by_name=True, extra="ignore"
    )

    files: Path = Field(
        default=Path("mesh"),
        description="Folder of manifests to watch; giving one means that no cluster is looked for.",
    )
    cluster: Literal["auto", "none", "required"] = Field(
        default="auto",
        description="Run in a cluster: where one is found, never, or not without one.",
    )
    kubeconfig: Path | None = Field(
        default=None,
        description="Kubeconfig of the cluster; the pod's own files, or KUBECONFIG, when unset.",
    )
    context: str | None = Field(
        default=None, description="Context of the kubeconfig; its current one when unset."
    )
    replicas: int = Field(
        default=1, gt=0, description="How many replicas there may be; SQLite serves one."
    )
    data_dir: Path = Field(
        default=Path(".istiod-lite"), description="Where keys and the database live."
    )
    bind_address: str | None = Field(
        default=None,
        description="Address ports listen on; loopback without a cluster, every one in it.",
    )
    xds_port: int = Field(default=15012, ge=0, le=65535, description="Discovery over TLS.")
    plaintext: bool = Field(default=False, description="Serve discovery in plaintext too.")
    plaintext_port: int = Field(
        default=15010, ge=0, le=65535, description="Plaintext discovery, loopback only."
    )
    admin_port: int = Field(
        default=15014, ge=0, le=65535, description="Health, metrics, the API and its page."
    )
    admin_trusts_loopback: bool = Field(
        default=True, description="Whoever asks from this machine may see everything."
    )
    admin_hosts: str = Field(
        default="",
        description="Names beside localhost that this machine is asked by, a comma list.",
    )
    admin_audiences: str = Field(
        default="",
        description="Audiences of tokens for the admin side; those of certificates when empty.",
    )
    health_port: int = Field(
        default=8080,
        ge=0,
        le=65535,
        description="Health and debug in a cluster, where istiod has them.",
    )
    webhook_port: int = Field(
        default=15017, ge=0, le=65535, description="Validating webhook in a cluster."
    )
    tls_certificate: Path | None = Field(
        default=None,
        description="PEM chain served on the TLS port; made in the data folder when unset.",
    )
    tls_key: Path | None = Field(default=None, description="PEM key of the serving certificate.")
    tls_root: Path | None = Field(
        default=None, description="PEM root that clients verify the serving certificate with."
    )

    cluster_id: str = Field(
        default="Kubernetes",
        validation_alias=_known_as("CLUSTER_ID"),
        description="Prefix of workload uids; may be empty.",
    )
    domain_suffix: str = Field(
        default="cluster.local", description="Domain of Kubernetes services."
    )
    revision: str = Field(
        default="",
        validation_alias=_known_as("REVISION"),
        description="Keep only configuration labelled with this istio.io/rev; empty keeps all.",
    )
    system_namespace: str = Field(
        default="istio-system",
        validation_alias=_known_as("POD_NAMESPACE"),
        description="Namespace the control plane lives in.",
    )
    service_entries_select_pods: bool = Field(
        default=True,
        validation_alias=_known_as("PILOT_ENABLE_SERVICEENTRY_SELECT_PODS"),
        description="ServiceEntry workload selectors select pods.",
    )
    services_select_workload_entries: bool = Field(
        default=True,
        validation_alias=_known_as("PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES"),
        description="Kubernetes Services select WorkloadEntries.",
    )
    allocates_addresses: bool = Field(
        default=True,
        validation_alias=_known_as("PILOT_ENABLE_IP_AUTOALLOCATE"),
        description="ServiceEntries without addresses are given some.",
    )
    allocated_ipv4_range: str = Field(
        default="240.240.0.0/16",
        validation_alias=_known_as("PILOT_IP_AUTOALLOCATE_IPV4_PREFIX"),
        description="Range of allocated IPv4 addresses.",
    )
    allocated_ipv6_range: str = Field(
        default="2001:2::/48",
        validation_alias=_known_as("PILOT_IP_AUTOALLOCATE_IPV6_PREFIX"),
        description="Range of allocated IPv6 addresses.",
    )
    allows_waypoints_implicitly: bool = Field(
        default=False,
        validation_alias=_known_as("PILOT_AUTO_ALLOW_WAYPOINT_POLICY"),
        description="Let nobody but its waypoint reach a workload, unless the Gateway decides it.",
    )
    sends_dry_run_policies: bool = Field(
        default=False,
        validation_alias=_known_as("AMBIENT_ENABLE_DRY_RUN_AUTHORIZATION_POLICY"),
        description="Send policies annotated istio.io/dry-run to ztunnels that know them.",
    )
    layers_waypoint_policies: bool = Field(
        default=False,
        validation_alias=_known_as("ENABLE_LAYERED_WAYPOINT_AUTHORIZATION_POLICIES"),
        description="Not supported: nothing starts with it. At waypoints, policies have targets.",
    )
    pod_range: str = Field(default="10.128.0.0/9", description="Addresses of expanded pods.")
    service_range: str = Field(
        default="10.96.0.0/12", description="Addresses of expanded services."
    )
    waypoints_listen_on_pods: bool = Field(
        default=False,
        description="Waypoints listen on the address of their one pod alone, not on every address:"
        " for pods that share a machine.",
    )

    @field_validator("layers_waypoint_policies")
    @classmethod
    def _is_not_layered(cls, value: bool) -> bool:  # noqa: FBT001 - called by pydantic
        if value:
            raise ValueError(_NO_LAYERS)
        return value

    trust_domain: str | None = Field(
        default=None,
        validation_alias=_known_as("TRUST_DOMAIN"),
        description="Trust domain of certificates; that of meshconfig.yaml when unset.",
    )
    token_audiences: str = Field(
        default="istio-ca",
        validation_alias=_known_as("TOKEN_AUDIENCES"),
        description="Audiences that tokens may be for, a comma list.",
    )
    trusted_node_accounts: str = Field(
        default="istio-system/ztunnel",
        validation_alias=_known_as("CA_TRUSTED_NODE_ACCOUNTS"),
        description="Service accounts of node proxies, a comma list of namespace/name.",
    )
    control_plane_account: str = Field(
        default="istiod",
        description="Our own service account: no node proxy is given its certificate.",
    )
    allows_unbound_tokens: bool = Field(
        default=False, description="Certify tokens that are bound to no pod."
    )
    default_certificate_ttl: Duration = Field(
        default=86_400,
        validation_alias=_known_as("DEFAULT_WORKLOAD_CERT_TTL"),
        description="Lifetime of a certificate that asks for none, such as 24h.",
    )
    max_certificate_ttl: Duration = Field(
        default=7_776_000,
        validation_alias=_known_as("MAX_WORKLOAD_CERT_TTL"),
        description="Asking for more is refused.",
    )
    issued_certificate_ttl: Duration = Field(
        default=86_400, description="No certificate lives longer, whatever it asks for."
    )
    cacerts_dir: Path = Field(
        default=Path("etc/cacerts"),
        validation_alias=_known_as("ROOT_CA_DIR"),
        description="Folder of a plugged-in authority; our own is used when it holds none.",
    )
    accepts_more_roots: bool = Field(
        default=False,
        validation_alias=_known_as("ISTIO_MULTIROOT_MESH"),
        description="Take up other plugged-in roots when one set holds the other.",
    )
    istio_ca_secret: Path | None = Field(
        default=None,
        description="Manifest or folder of an istio-ca-secret to sign with, to keep its root.",
    )
    replaces_lost_root: bool = Field(
        default=False,
        description="Make a new root although the mesh trusts one of ours whose keys are lost.",
    )
    authority_key_type: Literal["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"] = Field(
        default="P-256", description="Keys of the authorities we make."
    )
    key_passphrase_file: Path | None = Field(
        default=None,
        description="File with the passphrase of the authorities' keys; a key file when unset.",
    )
    replica_id: str = Field(
        default="local",
        validation_alias=_known_as("POD_NAME"),
        description="Name of this replica; two replicas must not share one.",
    )
    ledger_retention_days: int = Field(
        default=180, gt=0, description="Age at which whole segments of the ledger are dropped."
    )
    database_url: str | None = Field(
        default=None,
        description="sqlite:///FILE or postgresql://...; a file in the data folder when unset.",
    )
    migrates_database: bool = Field(
        default=False,
        description="At start move PostgreSQL up to the schema of this version, as SQLite is.",
    )
    ledger_key_file: Path | None = Field(
        default=None,
        description="File with the ledger's key, 32 bytes or more in hexadecimal; a Secret in a "
        "cluster, else a file in the data folder, when unset.",
    )
    ledger: Literal["batched", "strict"] = Field(
        default="batched",
        description="Write the ledger behind certificates, or before they leave.",
    )

    lease_name: str = Field(
        default="istiod-lite-ca", description="Lease by which one replica of a cluster leads."
    )
    lease_duration: float = Field(
        default=15.0, gt=0, description="Time others wait for a leader that says nothing."
    )
    lease_deadline: float = Field(
        default=10.0, gt=0, description="Time a leader leads without renewing its Lease."
    )
    lease_retry: float = Field(default=2.0, gt=0, description="Time between two looks at it.")
    respects_istiod: bool = Field(
        default=True,
        description="Write to a cluster only while no istiod does; off where there never was one.",
    )
    writes_status: bool = Field(
        default=True,
        validation_alias=_known_as("AMBIENT_ENABLE_STATUS"),
        description="Write conditions to the status of services and policies.",
    )
    deploys_waypoints: bool = Field(
        default=True,
        validation_alias=_known_as("PILOT_ENABLE_AMBIENT_WAYPOINTS"),
        description="Deploy waypoints for Gateways, and write the status of those.",
    )
    discovery_host: str | None = Field(
        default=None,
        description="Host waypoints find us at; the Service istiod of our namespace when unset.",
    )
    waypoint_listen_address: str = Field(
        default="0.0.0.0",  # noqa: S104 - kubelet and Prometheus come to the pod's address
        description="Where waypoints serve health and metrics; :: where pods have IPv6.",
    )
    waypoint_image: str = Field(
        default="envoyproxy/envoy:distroless-v1.40.0",
        description="Image of waypoints, a stock Envoy.",
    )
    waypoint_cpu_request: str = Field(default="100m", description="CPU a waypoint asks for.")
    waypoint_memory_request: str = Field(default="128Mi", description="Memory it asks for.")
    waypoint_cpu_limit: str = Field(default="2", description="CPU it may use.")
    waypoint_memory_limit: str = Field(default="1Gi", description="Memory it may use.")
    waypoint_drain_seconds: int = Field(
        default=20,
        ge=0,
        description="Time a waypoint serves after it was asked to end; 0 before Kubernetes 1.30.",
    )
    waypoint_binding_wait: float = Field(
        default=1.0,
        ge=0,
        description="Seconds that node proxies' addresses wait at most for waypoints to be ready.",
    )
    waypoint_lingering: float = Field(
        default=10.0,
        ge=0,
        description="Seconds that a waypoint goes on serving what is bound to it no more.",
    )
    webhook_address: str | None = Field(
        default=None,
        description="host:port the webhook is looked at by; our Service at 443 when unset.",
    )
    webhook_configuration: str | None = Field(
        default=None,
        description="ValidatingWebhookConfiguration to keep; named after our namespace when unset.",
    )
    key_set_refresh: Duration = Field(
        default=1200,
        validation_alias=_known_as("PILOT_JWT_PUB_KEY_REFRESH_INTERVAL"),
        description="Time between two looks at the keys of a token issuer, such as 20m0s.",
    )
    key_set_lifetime: Duration = Field(
        default=86_400,
        description="Time that keys are used while their issuer cannot be asked; then its tokens "
        "are refused.",
    )
    key_sets_on_this_machine: bool = Field(
        default=False,
        description="Ask for keys at loopback, link-local and cloud metadata addresses too.",
    )
    key_set_roots: Path | None = Field(
        default=None, description="PEM file of roots to trust token issuers by, too."
    )

    authorization_scope: Literal["node", "full"] = Field(
        default="node", description="Send each node the policies it needs, or all of them."
    )
    debounce_after: float = Field(default=0.010, ge=0, description="Quiet time before a commit.")
    debounce_max: float = Field(default=0.100, ge=0, description="Longest wait before a commit.")
    max_connection_age: float = Field(
        default=1800.0, gt=0, description="Age at which a stream is asked to reconnect, jittered."
    )
    acknowledgement_timeout: float = Field(
        default=60.0,
        gt=0,
        description="A client that acknowledges nothing for this long is closed.",
    )
    max_new_streams_per_second: float = Field(
        default=100.0, gt=0, description="Rate at which new streams are let in."
    )
    drain_timeout: float = Field(
        default=5.0, ge=0, description="Time streams get to end on SIGTERM."
    )
    max_file_bytes: int = Field(
        default=8 * 1024 * 1024, gt=0, description="Largest manifest file read."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        validation_alias=AliasChoices("ISTIOD_LITE_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="URL of a collector that takes OTLP over HTTP: a trace of each commit is sent.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="Console on a terminal, JSON elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )

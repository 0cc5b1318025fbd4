"""Metric definitions: one registry per process, made by ``app`` and read by ``/metrics``.

Names that mean the same as istiod's are istiod's, so that dashboards carry over; ours start with
``istiod_lite_``. Counts under istiod's names are gauges that only grow: the library would append
``_total`` to a counter's name.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
)

disable_created_metrics()  # type: ignore[no-untyped-call] # the library leaves it untyped

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
_BYTES = (1.0, 10_000.0, 1_000_000.0, 4_000_000.0, 10_000_000.0, 40_000_000.0)


class CertificateMetrics:
    """What is counted of certificates."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Gauge(
            "citadel_server_csr_count", "Requests for certificates.", registry=registry
        )
        self.issued = Gauge(
            "citadel_server_success_cert_issuance_count", "Certificates issued.", registry=registry
        )
        self.authentication_failures = Gauge(
            "citadel_server_authentication_failure_count",
            "Requests whose caller could not be told.",
            registry=registry,
        )
        self.unreadable_requests = Gauge(
            "citadel_server_csr_parsing_err_count", "CSRs that were refused.", registry=registry
        )
        self.signing_errors = Gauge(
            "citadel_server_csr_sign_err_count",
            "Requests that failed at signing.",
            ["error"],
            registry=registry,
        )
        self.root_expiry = Gauge(
            "citadel_server_root_cert_expiry_timestamp",
            "When the first trusted root ends, in Unix seconds.",
            registry=registry,
        )
        self.chain_expiry = Gauge(
            "citadel_server_cert_chain_expiry_timestamp",
            "When the signing certificate ends, in Unix seconds.",
            registry=registry,
        )
        self.root_left = Gauge(
            "citadel_server_root_cert_expiry_seconds",
            "Seconds until the first trusted root ends.",
            registry=registry,
        )
        self.chain_left = Gauge(
            "citadel_server_cert_chain_expiry_seconds",
            "Seconds until the signing certificate ends.",
            registry=registry,
        )
        self.unknown_identities = Gauge(
            "citadel_server_id_extraction_err_count",
            "Callers for whom no identity could be made.",
            registry=registry,
        )
        self.authority_state = Gauge(
            "istiod_lite_ca_authority_state",
            "1 for the state each authority is in.",
            ["tier", "slot", "state"],
            registry=registry,
        )
        self.bundle_version = Gauge(
            "istiod_lite_ca_bundle_version",
            "Version of the trusted roots that this replica has loaded.",
            ["replica"],
            registry=registry,
        )
        self.rotation_blocked = Gauge(
            "istiod_lite_ca_rotation_blocked_seconds",
            "How long a gate has held up a rotation.",
            ["reason"],
            registry=registry,
        )
        self.refused = Counter(
            "istiod_lite_ca_refused",
            "Requests refused, by reason.",
            ["reason"],
            registry=registry,
        )
        self.impersonation_denied = Counter(
            "istiod_lite_ca_impersonation_denied",
            "Node proxies that asked for an identity they may not have.",
            ["reason"],
            registry=registry,
        )
        self.issue_seconds = Histogram(
            "istiod_lite_ca_issue_seconds",
            "From request to certificate.",
            ["key_type"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.sign_seconds = Histogram(
            "istiod_lite_ca_sign_seconds", "One signature.", buckets=_SECONDS, registry=registry
        )
        self.review_seconds = Histogram(
            "istiod_lite_ca_tokenreview_seconds",
            "One token review.",
            ["result"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.review_cache = Counter(
            "istiod_lite_ca_tokenreview_cache",
            "Looks into the remembered reviews.",
            ["hit"],
            registry=registry,
        )
        self.names_differed = Counter(
            "istiod_lite_ca_csr_names_differed",
            "CSRs that named somebody else than their caller.",
            registry=registry,
        )
        self.signer_ignored = Counter(
            "istiod_lite_ca_signer_ignored",
            "Requests for a particular signer.",
            registry=registry,
        )
        self.keys_shared = Counter(
            "istiod_lite_ca_keys_shared",
            "Keys that were certified for two holders.",
            registry=registry,
        )
        self.ledger_rows = Gauge(
            "istiod_lite_ca_audit_queue", "Rows of the ledger that wait.", registry=registry
        )
        self.ledger_spooled = Gauge(
            "istiod_lite_ca_audit_spooled",
            "Bytes of the ledger that wait in a file.",
            registry=registry,
        )
        self.ledger_lost = Gauge(
            "istiod_lite_ca_audit_lost",
            "Rows that did not fit anywhere and are lost.",
            registry=registry,
        )


class ClusterMetrics:
    """What is counted of the cluster: what is read of it, who leads, what is written to it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.watch_lag = Histogram(
            "istiod_lite_watch_lag_seconds",
            "From an object's making, in whole seconds of the cluster's clock, to its arrival.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.watch_state = Gauge(
            "istiod_lite_watch_state",
            "1 for the state each kind is in: waiting, current, stale or absent.",
            ["kind", "state"],
            registry=registry,
        )
        self.watched_objects = Gauge(
            "istiod_lite_watch_objects", "Objects known.", ["kind"], registry=registry
        )
        self.stale_seconds = Gauge(
            "istiod_lite_watch_stale_seconds",
            "For how long a kind has not been read.",
            ["kind"],
            registry=registry,
        )
        self.leads = Gauge(
            "istiod_lite_leader", "1 while this replica leads.", ["election"], registry=registry
        )
        self.may_write = Gauge(
            "istiod_lite_may_write",
            "1 while this replica writes to the cluster.",
            registry=registry,
        )
        self.writes = Counter(
            "istiod_lite_writes",
            "Writes to the API server, by what came of them.",
            ["resource", "outcome"],
            registry=registry,
        )
        self.validations_passed = Gauge(
            "galley_validation_passed",
            "Objects the webhook allowed.",
            ["group", "resource"],
            registry=registry,
        )
        self.validations_failed = Gauge(
            "galley_validation_failed",
            "Objects it refused.",
            ["group", "resource", "reason"],
            registry=registry,
        )
        self.validation_errors = Gauge(
            "galley_validation_http_error",
            "Requests to it that got no verdict.",
            ["status"],
            registry=registry,
        )
        self.write_troubles = Gauge(
            "istiod_lite_write_troubles",
            "Objects that are not the way they should be.",
            ["controller", "outcome"],
            registry=registry,
        )


class Metrics:
    """Every metric this process keeps, on a registry of its own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self.certificates = CertificateMetrics(self.registry)
        self.cluster = ClusterMetrics(self.registry)
        self.build = Info("istiod_lite_build", "Version of this process.", registry=self.registry)
        self.build.info({"version": version})
        self.clients = Gauge(
            "pilot_xds", "Connected discovery clients.", ["version"], registry=self.registry
        )
        self.clients.labels(version=version).set(0)
        self.pushes = Gauge("pilot_xds_pushes", "Responses sent.", ["type"], registry=self.registry)
        self.response_bytes = Histogram(
            "pilot_xds_config_size_bytes",
            "Size of responses.",
            ["type"],
            buckets=_BYTES,
            registry=self.registry,
        )
        self.rejects = Gauge(
            "pilot_total_xds_rejects",
            "Responses a client refused.",
            ["type"],
            registry=self.registry,
        )
        self.convergence = Histogram(
            "istiod_lite_convergence_seconds",
            "From commit to acknowledgement by one client.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.commits = Counter(
            "istiod_lite_commits", "Commits of the graph.", registry=self.registry
        )
        self.rule_calls = Counter(
            "istiod_lite_rule_calls", "Rules evaluated.", registry=self.registry
        )
        self.resources = Gauge(
            "istiod_lite_resources", "Resources served.", ["type"], registry=self.registry
        )
        self.problems = Gauge(
            "istiod_lite_problems",
            "Problems found in the configuration.",
            ["severity"],
            registry=self.registry,
        )

"""Metrics of certificates: requests, signatures, reviews of tokens, authorities and the ledger."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controlplane.metrics.kinds import SECONDS, Count


class CertificateMetrics:
    """What is counted of certificates."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Count(
            "citadel_server_csr_count", "Requests for certificates.", registry=registry
        )
        self.issued = Count(
            "citadel_server_success_cert_issuance_count", "Certificates issued.", registry=registry
        )
        self.authentication_failures = Count(
            "citadel_server_authentication_failure_count",
            "Requests whose caller could not be told.",
            registry=registry,
        )
        self.unreadable_requests = Count(
            "citadel_server_csr_parsing_err_count", "CSRs that were refused.", registry=registry
        )
        self.signing_errors = Count(
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
        self.unknown_identities = Count(
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
            buckets=SECONDS,
            registry=registry,
        )
        self.sign_seconds = Histogram(
            "istiod_lite_ca_sign_seconds", "One signature.", buckets=SECONDS, registry=registry
        )
        self.review_seconds = Histogram(
            "istiod_lite_ca_tokenreview_seconds",
            "One token review.",
            ["result"],
            buckets=SECONDS,
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
        self.ledger_lost = Count(
            "istiod_lite_ca_audit_lost",
            "Rows that did not fit anywhere and are lost.",
            registry=registry,
        )
        self.ledger_written = Count(
            "istiod_lite_ca_audit_written", "Rows written to the ledger.", registry=registry
        )
        self.refusals_left_out = Count(
            "istiod_lite_ca_audit_left_out",
            "Refusals that came too fast to be written each.",
            registry=registry,
        )
        self.ledger_failing = Gauge(
            "istiod_lite_ca_audit_failing",
            "1 while the last write of the ledger failed.",
            registry=registry,
        )

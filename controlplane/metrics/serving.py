"""Metrics of serving: clients, what they are sent, accept and refuse, and what is there to send."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controlplane.metrics.kinds import BYTES, CONVERGENCE_SECONDS, RESOURCES, SECONDS, Count


class ServingMetrics:
    """What is counted of discovery."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.clients = Gauge(
            "pilot_xds",
            "Connected discovery clients, by the version they say they have.",
            ["version"],
            registry=registry,
        )
        self.sessions = Gauge(
            "istiod_lite_sessions",
            "Connected discovery clients, by what they say they are.",
            ["kind"],
            registry=registry,
        )
        self.sync = Gauge(
            "istiod_lite_connections",
            "Connected discovery clients, by the verdict proxy-status has on them.",
            ["state"],
            registry=registry,
        )
        self.refused = Counter(
            "istiod_lite_streams_refused",
            "Streams that ended with an error.",
            registry=registry,
        )
        self.pushes = Count("pilot_xds_pushes", "Responses sent.", ["type"], registry=registry)
        self.response_bytes = Histogram(
            "pilot_xds_config_size_bytes",
            "Size of responses.",
            ["type"],
            buckets=BYTES,
            registry=registry,
        )
        self.response_resources = Histogram(
            "istiod_lite_response_resources",
            "Resources in responses, updated and removed.",
            ["type"],
            buckets=RESOURCES,
            registry=registry,
        )
        self.rejects = Count(
            "pilot_total_xds_rejects",
            "Responses a client refused.",
            ["type"],
            registry=registry,
        )
        self.rejected_resources = Counter(
            "istiod_lite_rejected_resources",
            "Resources that clients refused by name, by the kind of the object they were made of.",
            ["type", "kind"],
            registry=registry,
        )
        self.acknowledgement = Histogram(
            "istiod_lite_acknowledgement_seconds",
            "From sending a response to its acknowledgement.",
            buckets=SECONDS,
            registry=registry,
        )
        self.event_to_acknowledgement = Histogram(
            "istiod_lite_event_to_ack_seconds",
            "From the arrival of the oldest change that a client lacked to its acknowledgement.",
            ["type"],
            buckets=SECONDS,
            registry=registry,
        )
        self.convergence = Histogram(
            "pilot_proxy_convergence_time",
            "The same for all types; istiod's ends when the response is sent.",
            buckets=CONVERGENCE_SECONDS,
            registry=registry,
        )
        self.addresses_held = Histogram(
            "istiod_lite_addresses_held_seconds",
            "How long addresses of a commit waited for waypoints to take in its listeners.",
            buckets=SECONDS,
            registry=registry,
        )
        self.resources = Gauge(
            "istiod_lite_resources", "Resources served.", ["type"], registry=registry
        )

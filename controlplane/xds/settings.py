"""Settings of the discovery server, with the defaults of a process without a cluster."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class XdsSettings:
    """Times are seconds. ``replica`` is the name of this process in the fleet.

    ``scopes_policies_to_nodes``: a client that names its node is sent the policies it needs only.
    ``authorization_wait``: how long a node proxy's first addresses wait for it to ask for policies.
    ``acknowledgement_timeout``: a client that leaves a response unacknowledged longer is closed.
    ``warming_wait``: how long listeners and routes of a waypoint wait for its clusters to be warm.
    ``binding_wait``: how long addresses wait for waypoints to take in listeners of their commit,
    ``elsewhere_wait`` for those of its pods that other replicas serve.
    ``connection_age``: a stream ends and is asked to come back after this, plus up to a third.
    ``new_streams_per_second`` and ``new_streams_at_once``: the bucket new streams pass.
    ``first_syncs_at_once``: large first responses built and sent at the same time.
    ``first_sync_hold``: how long one of them may keep others waiting.
    ``tick``: how often streams are looked over for the times above.
    """

    replica: str = ""
    scopes_policies_to_nodes: bool = True
    authorization_wait: float = 1.0
    acknowledgement_timeout: float = 60.0
    warming_wait: float = 5.0
    binding_wait: float = 1.0
    elsewhere_wait: float = 0.3
    connection_age: float = 1800.0
    new_streams_per_second: float = 100.0
    new_streams_at_once: int = 200
    first_syncs_at_once: int = 4
    first_sync_hold: float = 5.0
    tick: float = 0.1

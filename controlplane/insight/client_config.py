"""Connections as tools of the field read them: values in, bytes of Envoy's status messages out.

``istio.io/debug/syncz`` on a state-of-the-world stream answers with these (docs/protocol/fleet.md
FL-23 to FL-26). Pure.
"""

import json
from datetime import UTC, datetime
from typing import Final

from envoy.service.status.v3 import csds_pb2
from google.protobuf.any_pb2 import Any

from controlplane.insight.sync import SyncState, sync_verdict
from controlplane.model.connection import Connection

_STATUSES: Final = {
    SyncState.SYNCED: csds_pb2.SYNCED,
    SyncState.STALE: csds_pb2.STALE,
    SyncState.NOT_SENT: csds_pb2.NOT_SENT,
    SyncState.ERROR: csds_pb2.ERROR,
    SyncState.IGNORED: csds_pb2.UNKNOWN,
}


def client_config(connection: Connection, now: datetime) -> bytes:
    """Return one connection as an encoded ``Any`` of an ``envoy.service.status.v3.ClientConfig``.

    ``last_updated`` is since when a type is as it is, and missing where that is not known.
    """
    config = csds_pb2.ClientConfig()
    config.node.id = connection.name
    config.node.metadata.update(
        {
            "CLUSTER_ID": connection.cluster,
            "NAMESPACE": connection.namespace,
            "ISTIO_VERSION": connection.version,
            "NODE_NAME": connection.node,
        }
    )
    for progress in connection.types:
        verdict = sync_verdict(progress, now)
        generic = config.generic_xds_configs.add()
        generic.type_url = progress.type_url
        generic.version_info = progress.nonce_acknowledged.partition(".")[0]
        generic.config_status = _STATUSES[verdict.state]
        if verdict.since is not None:
            generic.last_updated.FromDatetime(verdict.since.astimezone(UTC))
        if progress.last_error:
            generic.error_state.details = progress.last_error
            if progress.last_error_at is not None:
                attempt = generic.error_state.last_update_attempt
                attempt.FromDatetime(progress.last_error_at.astimezone(UTC))
    packed = Any()
    packed.Pack(config, deterministic=True)
    return bytes(packed.SerializeToString(deterministic=True))


def control_plane_identifier(replica: str, version: str) -> str:
    """Return how a response names who made it, as tools print it in their ISTIOD column."""
    return json.dumps(
        {"Component": "istiod", "ID": replica, "Info": {"version": version}},
        separators=(",", ":"),
    )

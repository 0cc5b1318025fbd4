"""Bytes of a delta response in, values or named rejections out; ``session`` applies them.

A response that cannot be read breaks the stream; a resource that cannot be used is rejected by
itself and the rest of its response still counts (docs/protocol/ztunnel.md ZT-10 to ZT-18).
"""

from dataclasses import dataclass

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from controlplane.lab.ztunnel.authorization import Authorization
from controlplane.lab.ztunnel.decode_authorization import authorization_from_bytes
from controlplane.lab.ztunnel.decode_workload import address_from_bytes
from controlplane.lab.ztunnel.errors import (
    RejectedResourceError,
    RejectReason,
    UndecodableResponseError,
)
from controlplane.lab.ztunnel.service import Service
from controlplane.lab.ztunnel.workload import Workload

ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION_TYPE = "type.googleapis.com/istio.security.Authorization"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One usable resource; ``any_type`` is the type its wrapper claims."""

    name: str
    version: str
    any_type: str
    value: Workload | Service | Authorization


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """One refused resource."""

    name: str
    error: RejectedResourceError

    def __str__(self) -> str:
        return f"{self.name}: {self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One decoded response; updates, rejections and removals in the order of the wire."""

    type_url: str
    nonce: str
    updates: tuple[Update, ...]
    rejections: tuple[Rejection, ...]
    removed: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name the response speaks of: updated, rejected, then removed."""
        return (
            *(update.name for update in self.updates),
            *(rejection.name for rejection in self.rejections),
            *self.removed,
        )


def response_from_bytes(data: bytes) -> Response:
    """Return what a serialized DeltaDiscoveryResponse says.

    Resources of an unknown type are passed over, as they are nobody's. Raises
    ``UndecodableResponseError`` when the envelope itself cannot be read.
    """
    try:
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
    except DecodeError as error:
        raise UndecodableResponseError(f"The response cannot be decoded: {error}") from error
    updates: list[Update] = []
    rejections: list[Rejection] = []
    if message.type_url in (ADDRESS_TYPE, AUTHORIZATION_TYPE):
        for resource in message.resources:
            try:
                updates.append(_update(message.type_url, resource))
            except RejectedResourceError as error:
                rejections.append(Rejection(name=resource.name, error=error))
    return Response(
        type_url=message.type_url,
        nonce=message.nonce,
        updates=tuple(updates),
        rejections=tuple(rejections),
        removed=tuple(message.removed_resources),
    )


def _update(type_url: str, resource: discovery_pb2.Resource) -> Update:
    if not resource.HasField("resource"):
        raise RejectedResourceError(RejectReason.MISSING_RESOURCE)
    value: Workload | Service | Authorization
    if type_url == ADDRESS_TYPE:
        value = address_from_bytes(resource.resource.value)
    else:
        value = authorization_from_bytes(resource.resource.value)
    return Update(
        name=resource.name,
        version=resource.version,
        any_type=resource.resource.type_url,
        value=value,
    )

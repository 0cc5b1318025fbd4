"""Resources as documents: an encoded resource in, its protobuf JSON out, for people and tests."""

from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format

from controlplane.encode import cluster, listener, route, secret  # noqa: F401 - as below
from controlplane.encode.resource import Resource
from controlplane.pb import authorization_pb2, workload_pb2  # noqa: F401 - Any is read by them


def protobuf_json(resource: Resource) -> dict[str, Any]:
    """Return the message of ``resource`` as protobuf JSON: ``@type`` first, then sorted fields.

    Bytes are base64, enumerations are names, fields at their default are left out.
    """
    anything = discovery_pb2.Resource.FromString(resource.body).resource
    document: dict[str, Any] = _sorted(json_format.MessageToDict(anything))
    return document


def envoy_json(resource: Resource) -> dict[str, Any]:
    """Return the message of ``resource`` as an Envoy reads and shows it.

    The same as ``protobuf_json``, but fields have the names of the protos.
    """
    anything = discovery_pb2.Resource.FromString(resource.body).resource
    document: dict[str, Any] = _sorted(
        json_format.MessageToDict(anything, preserving_proto_field_name=True)
    )
    return document


def _sorted(value: Any) -> Any:
    match value:
        case dict():
            return {key: _sorted(value[key]) for key in sorted(value)}
        case list():
            return [_sorted(item) for item in value]
        case _:
            return value

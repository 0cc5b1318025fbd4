"""Forms: a resource as stored comes in, as some clients must see it goes out; None hides it."""

from functools import lru_cache

from controlplane.encode.resource import Resource
from controlplane.encode.workload import legacy_workload_body
from controlplane.pb import authorization_pb2

_DRY_RUN = b"\x30\x01"


def is_service_name(name: str) -> bool:
    """Return whether an Address resource of this name is a service: ``namespace/hostname``.

    Every workload uid has two slashes or more (docs/protocol/discovery.md ADR-2).
    """
    return name.count("/") == 1


def encoded_as_workload(resource: Resource) -> Resource | None:
    """Return a workload as istio.workload.Workload; None for services."""
    if is_service_name(resource.name):
        return None
    return Resource(
        resource.name,
        resource.version,
        legacy_workload_body(resource),
        resource.aliases,
        resource.node,
        resource.services,
    )


def understood_without_dry_run(resource: Resource) -> Resource | None:
    """Return a policy unless it is marked dry-run, which old clients would enforce."""
    if _DRY_RUN in resource.body and _is_dry_run(resource.body):
        return None
    return resource


@lru_cache(maxsize=1024)
def _is_dry_run(body: bytes) -> bool:
    from envoy.service.discovery.v3 import discovery_pb2

    message = authorization_pb2.Authorization()
    message.ParseFromString(discovery_pb2.Resource.FromString(body).resource.value)
    return message.dry_run

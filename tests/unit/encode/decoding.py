"""Resources read back through the generated classes, so that tests see what a client sees."""

from envoy.service.discovery.v3 import discovery_pb2

from controlplane.encode.resource import Resource
from controlplane.pb import authorization_pb2, workload_pb2


def unwrapped(body: bytes) -> discovery_pb2.Resource:
    return discovery_pb2.Resource.FromString(body)


def workload_of(resource: Resource) -> workload_pb2.Workload:
    content = unwrapped(resource.body).resource.value
    return workload_pb2.Address.FromString(content).workload


def service_of(resource: Resource) -> workload_pb2.Service:
    content = unwrapped(resource.body).resource.value
    return workload_pb2.Address.FromString(content).service


def authorization_of(resource: Resource) -> authorization_pb2.Authorization:
    return authorization_pb2.Authorization.FromString(unwrapped(resource.body).resource.value)

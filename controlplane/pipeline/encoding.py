"""The last rules of the graph: model values come in, resources for the tables go out.

A value that may not be sent becomes a Refusal instead of a resource, and so a Problem; nothing
else is held up by it. ``publication`` hands the resources to the catalog.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.encode.errors import EncodeError
from controlplane.encode.policy import encode_authorization
from controlplane.encode.resource import Resource
from controlplane.encode.service import encode_service
from controlplane.encode.workload import encode_workload
from controlplane.mesh.problems import ProblemKey
from controlplane.mesh.scopes import NodePolicy
from controlplane.mesh.world import World
from controlplane.model.names import Name, ObjectReference, ServiceName
from controlplane.model.policy import Action, Authorization, Group, Scope
from controlplane.model.problem import Problem
from controlplane.model.service import Service
from controlplane.model.workload import Workload
from controlplane.pipeline.refusals import (
    Refusal,
    Sent,
    attempt,
    refusal_problems,
    refusals,
)


class EncodedPolicy(NamedTuple):
    """A policy's resource, None when not even a stricter one can be sent, and its refusal."""

    resource: Resource | None
    is_global: bool
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """What clients are sent, and what they are not and why.

    ``node_authorizations`` holds the policies that are not global, by node and policy.
    """

    workloads: Collection[str, Sent]
    services: Collection[ServiceName, Sent]
    authorizations: Collection[Name, EncodedPolicy]
    node_authorizations: Collection[NodePolicy, Resource]
    problems: Collection[ProblemKey, Problem]


def build_encoded(graph: Graph, world: World) -> Encoded:
    """Declare the encoding of everything in ``world``: one rule call for each changed value."""
    authorizations = graph.derive("encoded policies", world.authorizations, _authorization)
    workloads: Collection[str, Sent] = graph.derive("encoded workloads", world.workloads, _workload)
    services: Collection[ServiceName, Sent] = graph.derive(
        "encoded services", world.services, _service
    )

    def policy_of_node(fetch: Fetch, policy: Name) -> Resource | None:
        encoded = fetch.one(authorizations, policy)
        return None if encoded is None or encoded.is_global else encoded.resource

    # Good values are in no bucket, so a mesh without refusals pays nothing for these.
    refused = (
        graph.distinct("refused policies", authorizations.index("policy refusals", _of_policy)),
        graph.distinct("refused workloads", workloads.index("workload refusals", refusals)),
        graph.distinct("refused services", services.index("service refusals", refusals)),
    )
    return Encoded(
        workloads=workloads,
        services=services,
        authorizations=authorizations,
        node_authorizations=graph.derive(
            "encoded policies of nodes", world.node_policies, policy_of_node
        ),
        problems=graph.derive_many(
            "encoding problems",
            graph.union("refusals", *refused),
            lambda _, refusal: refusal_problems(refusal),
        ),
    )


def _workload(_: Fetch, workload: Workload) -> Sent:
    try:
        return encode_workload(workload)
    except EncodeError as error:
        return Refusal(_object_of(workload), error.name, error.reason)


def _service(_: Fetch, service: Service) -> Sent:
    # A Service is called after its object; any other hostname somebody wrote into a ServiceEntry.
    is_called_after = service.hostname.startswith(f"{service.name}.{service.namespace}.svc.")
    kind = "Service" if is_called_after else "ServiceEntry"
    reference = ObjectReference(kind, service.namespace, service.name)
    return attempt(reference, lambda: encode_service(service))


def _authorization(_: Fetch, authorization: Authorization) -> EncodedPolicy:
    """Encode a policy; in place of one that may not be sent goes one that denies all it covers.

    Leaving it out would let through what a DENY forbids, and everything when an ALLOW was the only
    one.
    """
    is_global = authorization.scope is Scope.GLOBAL
    try:
        return EncodedPolicy(encode_authorization(authorization), is_global)
    except EncodeError as error:
        reference = ObjectReference("AuthorizationPolicy", *authorization.key)
        refusal = Refusal(reference, error.name, error.reason)
    # An ALLOW without groups matches nothing, a DENY with an empty group everything.
    groups = () if authorization.action is Action.ALLOW else (Group(),)
    try:
        stricter = encode_authorization(replace(authorization, groups=groups))
    except EncodeError:
        return EncodedPolicy(None, is_global, refusal)
    return EncodedPolicy(stricter, is_global, refusal)


def _object_of(workload: Workload) -> ObjectReference:
    """Return the object a workload comes from: uids read cluster/group/kind/namespace/name/..."""
    parts = workload.uid.split("/")
    if len(parts) >= 5:
        return ObjectReference(parts[2], parts[3], parts[4])
    return ObjectReference("Workload", workload.namespace, workload.name)


def _of_policy(encoded: EncodedPolicy) -> tuple[Refusal, ...]:
    return () if encoded.refusal is None else (encoded.refusal,)

"""What a cluster would have made of the manifests, where no cluster does it.

The inputs come in; the manifests that all other mesh rules read go out: the inputs as they are
when a cluster is the source, else joined with pods, Services and addresses that follow from them
by name alone, in whatever order they were loaded. Source: docs/protocol/expansion.md.
"""

from dataclasses import dataclass, replace
from typing import Final

import msgspec

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Namespace
from controlplane.mesh.expansion_addresses import range_from_text
from controlplane.mesh.expansion_pods import build_running_pods
from controlplane.mesh.expansion_service_entries import build_allocated_entries
from controlplane.mesh.expansion_services import build_addressed_services
from controlplane.mesh.expansion_templates import build_nodes, build_template_pods
from controlplane.mesh.expansion_waypoints import (
    build_programmed_gateways,
    build_waypoint_objects,
)
from controlplane.mesh.inputs import Inputs, Manifests
from controlplane.mesh.problems import ProblemKey
from controlplane.mesh.settings import MeshSettings
from controlplane.model.problem import Problem

NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What the mesh rules read, and what could not be expanded (in several collections)."""

    manifests: Manifests
    problems: tuple[Collection[ProblemKey, Problem], ...] = ()


def expand(graph: Graph, inputs: Inputs, settings: MeshSettings) -> Expansion:
    """Register the expansion of ``inputs`` on ``graph``; nothing when settings do not ask for it.

    Raises:
        ValueError: a range in ``settings`` is not a CIDR.
    """
    given = inputs.manifests()
    if not settings.expands:
        return Expansion(manifests=given)
    objects = build_waypoint_objects(graph, given.gateways, given.gateway_classes)
    nodes = build_nodes(graph, given.nodes)
    templates = graph.union(
        "templates and waypoint templates", inputs.workload_templates, objects.templates
    )
    made = build_template_pods(graph, templates, nodes)
    pods = build_running_pods(
        graph,
        graph.union("pods and template pods", given.pods, made.pods),
        given.namespaces,
        nodes,
        range_from_text(settings.pod_range),
    )
    services = build_addressed_services(
        graph,
        graph.union("services and waypoint services", given.services, objects.services),
        range_from_text(settings.service_range),
    )
    gateways = build_programmed_gateways(
        graph, given.gateways, given.gateway_classes, services.services, settings.domain_suffix
    )
    manifests = replace(
        given,
        namespaces=graph.derive("named namespaces", given.namespaces, _named),
        pods=pods.pods,
        services=services.services,
        gateways=gateways,
    )
    problems = (objects.problems, made.problems, pods.problems, services.problems)
    if not settings.allocates_addresses:
        return Expansion(manifests=manifests, problems=problems)
    ranges = (settings.allocated_ipv4_range, settings.allocated_ipv6_range)
    entries = build_allocated_entries(
        graph, given.service_entries, tuple(range_from_text(text) for text in ranges)
    )
    return Expansion(
        manifests=replace(manifests, service_entries=entries.service_entries),
        problems=(*problems, entries.problems),
    )


def _named(_: Fetch, namespace: Namespace) -> Namespace:
    """Return the namespace with the label that the API server puts on every namespace."""
    metadata = namespace.metadata
    labels = {NAMESPACE_NAME: metadata.name, **metadata.labels}
    if labels == metadata.labels:
        return namespace
    return msgspec.structs.replace(
        namespace, metadata=msgspec.structs.replace(metadata, labels=labels)
    )

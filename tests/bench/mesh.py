"""A large mesh of our own making: sizes in, manifests out.

Shaped like real ones: namespaces of a hundred services, deployments of ten pods that share their
labels, every policy of one namespace. Pods share what the reader of manifests lets them share.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from sys import intern

from controlplane.manifests.core import (
    ContainerPort,
    Namespace,
    Node,
    Pod,
    Service,
    ServicePort,
)
from controlplane.manifests.istio import (
    AuthorizationPolicy,
    AuthorizationRule,
    Operation,
    Source,
)
from controlplane.manifests.metadata import Manifest, Metadata, Owner
from controlplane.manifests.sharing import shared_mapping, shared_owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large a mesh is.

    A service selects ``pods / services`` pods; when there are fewer pods than services, the rest
    select none.
    """

    pods: int
    services: int = 10_000
    policies: int = 1_000
    namespaces: int = 100
    nodes: int = 1_000

    @property
    def replicas(self) -> int:
        """Return the pods of one deployment."""
        return max(1, self.pods // self.services)


def surroundings(sizes: Sizes) -> Iterator[Manifest]:
    """Yield everything but pods."""
    for number in range(sizes.namespaces):
        labels = {"istio.io/dataplane-mode": "ambient"}
        yield Namespace(metadata=Metadata(name=f"team-{number}", labels=labels))
    for number in range(sizes.nodes):
        zone = {
            "topology.kubernetes.io/region": "north",
            "topology.kubernetes.io/zone": f"north-{number % 3}",
        }
        yield Node(metadata=Metadata(name=f"node-{number}", labels=zone))
    for number in range(sizes.services):
        yield a_service(sizes, number)
    for number in range(sizes.policies):
        yield a_policy(sizes, number)


def pods(sizes: Sizes) -> Iterator[Pod]:
    """Yield every pod."""
    for number in range(sizes.pods):
        yield a_pod(sizes, number)


def a_pod(sizes: Sizes, number: int, *, ready: bool = True, note: str = "") -> Pod:
    """Return pod ``number``; ``note`` is an annotation that readers keep and no rule needs."""
    deployment = number // sizes.replicas
    namespace = f"team-{deployment % sizes.namespaces}"
    app = f"app-{deployment}"
    template = f"{deployment * 2654435761 % 2**32:08x}"
    annotations = {"ambient.istio.io/redirection": "enabled"}
    if note:
        annotations["istio.io/note"] = note
    return Pod(
        metadata=Metadata(
            name=f"{app}-{template}-{number % sizes.replicas:05x}",
            namespace=intern(namespace),
            labels=shared_mapping({"app": app, "version": "v1", "pod-template-hash": template}),
            annotations=shared_mapping(annotations),
            uid=f"{number:08x}-0000-4000-8000-{number:012x}",
            created=1_700_000_000.0 + number,
            generate_name=intern(f"{app}-{template}-"),
            owner=shared_owner(Owner("ReplicaSet", f"{app}-{template}")),
        ),
        phase="Running",
        ips=(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",),
        node=intern(f"node-{number % sizes.nodes}"),
        service_account=intern(app),
        ready=ready,
        container_ports=(ContainerPort("http", 8080),),
    )


def a_service(sizes: Sizes, number: int) -> Service:
    """Return service ``number``, which selects the deployment of the same number."""
    return Service(
        metadata=Metadata(name=f"svc-{number}", namespace=f"team-{number % sizes.namespaces}"),
        cluster_ips=(f"172.{16 + (number >> 16 & 15)}.{number >> 8 & 255}.{number & 255}",),
        selector={"app": f"app-{number}"},
        ports=(ServicePort(80, "http", target_port=8080),),
    )


def a_policy(sizes: Sizes, number: int) -> AuthorizationPolicy:
    """Return policy ``number``: nine of ten select one deployment, the tenth its namespace."""
    namespace = f"team-{number % sizes.namespaces}"
    is_wide = number // sizes.namespaces % 10 == 9
    return AuthorizationPolicy(
        metadata=Metadata(name=f"policy-{number}", namespace=namespace),
        selector=None if is_wide else {"app": f"app-{number}"},
        rules=(
            AuthorizationRule(
                sources=(Source(namespaces=(namespace,)), Source(principals=("*/sa/caller",))),
                operations=(Operation(ports=("8080",)),),
            ),
        ),
    )

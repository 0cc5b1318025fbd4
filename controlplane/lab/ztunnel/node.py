"""Who the node proxy says it is: facts of its pod in, the Node message of its requests out."""

from dataclasses import dataclass

from envoy.config.core.v3 import base_pb2

DEFAULT_ADDRESS = "1.1.1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """A ztunnel pod: its name, namespace and address, the node it runs on, and more metadata."""

    pod_name: str = "ztunnel"
    namespace: str = "istio-system"
    node_name: str = ""
    address: str = DEFAULT_ADDRESS
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """Return the id of four parts, separated by tildes (ZT-1)."""
        return (
            f"ztunnel~{self.address}~{self.pod_name}.{self.namespace}"
            f"~{self.namespace}.svc.cluster.local"
        )

    def message(self) -> base_pb2.Node:
        """Return the Node of a stream's first requests (Source: envoy.config.core.v3.Node)."""
        node = base_pb2.Node(id=self.id)
        node.metadata.update(
            {
                **dict(self.metadata),
                "NAME": self.pod_name,
                "NAMESPACE": self.namespace,
                "INSTANCE_IPS": self.address,
                "NODE_NAME": self.node_name,
            }
        )
        return node

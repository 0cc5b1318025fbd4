"""VirtualService and DestinationRule, as far as it takes to say what they would apply to."""

from controlplane.manifests.metadata import Manifest


class VirtualService(Manifest, frozen=True, kw_only=True):
    """A VirtualService: what it is for, not what it does.

    ``gateways`` without any stands for the mesh; ``visible_in`` is ``exportTo``, empty when absent.
    """

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    visible_in: tuple[str, ...] = ()


class DestinationRule(Manifest, frozen=True, kw_only=True):
    """A DestinationRule: what it is for, not what it does.

    ``workload_selector`` is matchLabels of the clients it is for; without any it is for all.
    """

    host: str = ""
    visible_in: tuple[str, ...] = ()
    workload_selector: dict[str, str] = {}

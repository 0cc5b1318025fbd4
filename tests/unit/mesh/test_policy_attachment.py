"""What policies are attached to."""

from controlplane.manifests.istio import TargetReference
from controlplane.mesh.policy_attachment import Target, targets_of
from tests.support.builders import an_authorization_policy
from tests.support.policy_targets import CLASS, GATEWAY, ROOT, SERVICE


def _targets(*references: TargetReference, root: str = ROOT) -> tuple[Target, ...]:
    return targets_of(an_authorization_policy("p", "shop", target_references=references), root)


def test_targets_come_once_and_classes_are_for_the_root_namespace() -> None:
    own = (Target("Service", "shop", "web"), Target("Gateway", "shop", "waypoint"))
    assert _targets(SERVICE, GATEWAY, CLASS, SERVICE) == own
    everywhere = Target("GatewayClass", "", "istio-waypoint")
    assert _targets(SERVICE, GATEWAY, CLASS, root="shop") == (*own, everywhere)
    assert _targets() == ()

from typing import Any

import pytest

from tests.support.builders import (
    a_peer_authentication,
    a_pod,
)
from tests.support.policies import PolicyRig

APP = {"app": "a"}
ROOT = "istio-system"
STATIC = f"{ROOT}/istio_converted_static_strict"
CONVERTED = "default/converted_peer_authentication_own"


def _pods() -> list[Any]:
    return [a_pod(labels=APP), a_pod("other", labels={"app": "b"}), a_pod("bare")]


@pytest.mark.proves("PA-4")
@pytest.mark.refutes("PA-4")
def test_the_static_policy_exists_while_any_peer_authentication_does() -> None:
    mesh = a_peer_authentication("mesh", ROOT, mode="PERMISSIVE")
    rig = PolicyRig(*_pods())
    assert rig.sent() == []
    rig.put(mesh)
    assert rig.sent() == [STATIC]
    assert rig.listed() == []
    strict = a_peer_authentication("all", mode="STRICT")
    rig.put(strict)
    assert [rig.listed(name) for name in ("pod", "other", "bare")] == [[STATIC]] * 3
    rig.remove(strict)
    assert (rig.listed(), rig.sent()) == ([], [STATIC])
    rig.remove(mesh)
    assert rig.sent() == []


@pytest.mark.proves("PA-6")
@pytest.mark.refutes("PA-6")
def test_a_workload_lists_the_static_policy_or_the_converted_one() -> None:
    def own(mode: str, **ports: str) -> Any:
        numbers = {int(port.removeprefix("p")): value for port, value in ports.items()}
        return a_peer_authentication("own", mode=mode, selector=APP, port_modes=numbers)

    rig = PolicyRig(*_pods(), a_peer_authentication("all", mode="STRICT"), own("PERMISSIVE"))
    assert (rig.listed(), rig.listed("other")) == ([], [STATIC])
    rig.put(own("PERMISSIVE", p80="STRICT"))
    assert rig.listed() == [CONVERTED]
    rig.put(own("PERMISSIVE", p80="PERMISSIVE"))
    assert rig.listed() == []
    rig.put(own("STRICT", p80="PERMISSIVE"))
    assert rig.listed() == [CONVERTED]
    rig.put(own("UNSET", p80="PERMISSIVE"))
    assert rig.listed() == [CONVERTED]
    rig.put(a_peer_authentication("all", mode="PERMISSIVE"))
    assert (rig.listed(), rig.sent()) == ([], [STATIC])


@pytest.mark.proves("PA-3")
@pytest.mark.refutes("PA-3")
def test_of_several_the_oldest_decides_on_every_level() -> None:
    def level(name: str, namespace: str, created: float, mode: str, **rest: Any) -> Any:
        return a_peer_authentication(name, namespace, created=created, mode=mode, **rest)

    rig = PolicyRig(
        *_pods(),
        level("a", ROOT, 2.0, "STRICT"),
        level("b", ROOT, 1.0, "DISABLE"),
    )
    assert rig.listed() == []
    rig.put(level("a", ROOT, 1.0, "STRICT"))
    assert rig.listed() == [STATIC]
    rig.put(level("b", "default", 2.0, "DISABLE"), level("a", "default", 2.0, "STRICT"))
    assert rig.listed() == [STATIC]
    rig.put(level("b", "default", 1.0, "DISABLE"))
    assert rig.listed() == []
    rig.put(
        level("x", "default", 5.0, "STRICT", selector=APP),
        level("y", "default", 4.0, "DISABLE", selector=APP),
    )
    assert rig.listed() == []
    rig.put(level("y", "default", 6.0, "DISABLE", selector=APP))
    assert rig.listed() == [STATIC]


@pytest.mark.proves("PA-2", "PA-7")
@pytest.mark.refutes("PA-2", "PA-7")
def test_an_empty_selector_covers_everything_and_root_labels_nothing() -> None:
    rig = PolicyRig(
        *_pods(),
        a_pod("system", ROOT, labels=APP),
        a_peer_authentication("root-labels", ROOT, mode="STRICT", selector=APP),
    )
    assert (rig.listed(), rig.listed("system", ROOT)) == ([], [])
    rig.put(a_peer_authentication("empty", mode="STRICT", selector={}))
    assert (rig.listed(), rig.listed("bare")) == ([STATIC], [STATIC])
    assert rig.listed("system", ROOT) == []
    rig.put(a_peer_authentication("mesh", ROOT, mode="STRICT", selector={}))
    assert rig.listed("system", ROOT) == [STATIC]

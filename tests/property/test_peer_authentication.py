"""Every combination of modes gives: port, else workload, else namespace, else mesh, else open."""

from itertools import product
from typing import Any

import pytest

from controlplane.model.names import Name
from tests.support.builders import a_peer_authentication, a_pod
from tests.support.policies import PolicyRig
from tests.support.policy_evaluation import Connection, allows

MODES = ("UNSET", "DISABLE", "PERMISSIVE", "STRICT")
LEVELS = (None, *MODES)
PORTS = (8080, 9090, 7070)
"""Two ports that may have a mode of their own, and one that never does."""

WORKLOADS = (None, *product(MODES, LEVELS, LEVELS))


def _expected(port_mode: str | None, *levels: str | None) -> bool:
    for mode in (port_mode, *levels):
        if mode not in {None, "UNSET"}:
            return mode == "STRICT"
    return False


def _manifests(index: int, namespace: str | None, workload: Any) -> list[Any]:
    name = f"n{index}"
    found: list[Any] = [a_pod("pod", name, labels={"app": "a"})]
    if namespace is not None:
        found.append(a_peer_authentication("own", name, mode=namespace))
    if workload is not None:
        mode, first, second = workload
        ports = {
            port: chosen
            for port, chosen in zip(PORTS, (first, second), strict=False)
            if chosen is not None
        }
        found.append(
            a_peer_authentication("some", name, mode=mode, selector={"app": "a"}, port_modes=ports)
        )
    return found


@pytest.mark.proves("PA-1", "PA-4", "PA-5", "PA-6", "PA-9")
@pytest.mark.refutes("PA-1", "PA-4", "PA-5", "PA-6", "PA-9")
@pytest.mark.parametrize("mesh", LEVELS)
def test_the_nearest_mode_decides_for_every_port(mesh: str | None) -> None:
    situations = list(enumerate(product(LEVELS, WORKLOADS)))
    rig = PolicyRig(
        *(() if mesh is None else (a_peer_authentication("mesh", "istio-system", mode=mesh),)),
        *(
            manifest
            for index, (namespace, workload) in situations
            for manifest in _manifests(index, namespace, workload)
        ),
    )
    authorizations = [policy for _, policy in rig.policies.authorizations.items()]
    by_key = {policy.key: policy for policy in authorizations}
    wrong = []
    for index, (namespace, workload) in situations:
        name = f"n{index}"
        listed = rig.lists.get(Name(name, "pod"))
        assert listed is not None
        assert set(listed) <= set(by_key), "a workload lists a policy that does not exist"
        assert len(listed) <= 1
        applicable = [by_key[key] for key in listed]
        mode, *port_modes = workload or (None, None, None)
        for port, port_mode in zip(PORTS, (*port_modes, None), strict=True):
            plaintext, authenticated = (
                allows(
                    applicable,
                    namespace=name,
                    listed=listed,
                    connection=Connection(identity=identity, port=port),
                )
                for identity in (None, "cluster.local/ns/other/sa/caller")
            )
            is_strict = _expected(port_mode, mode, namespace, mesh)
            if plaintext is is_strict or not authenticated:
                wrong.append((mesh, namespace, workload, port, plaintext, authenticated))
    assert wrong == []

"""A cluster in which something happens all the time: random changes of every kind that is read."""

import random
from typing import Any

from tests.support.kubernetes_objects import (
    DEFINITIONS,
    Json,
    Key,
    KubernetesObjects,
    custom_definitions,
)

NAMESPACES = ("shop", "bank", "post")
APPS = ("a", "b", "c", "d")
ROOT = "istio-system"
_NUMBERS = 12
_AMBIENT = {"istio.io/dataplane-mode": "ambient"}
_WAYPOINT = {"istio.io/use-waypoint": "waypoint"}


class History:
    """Changes ``objects``, each time as ``chance`` has it; the same seed makes the same history."""

    def __init__(self, objects: KubernetesObjects, chance: random.Random) -> None:
        self._objects = objects
        self._chance = chance
        self._definitions = {each["spec"]["names"]["plural"]: each for each in custom_definitions()}
        self._makers = {
            "pods": self._pod,
            "services": self._service,
            "endpointslices": self._slice,
            "serviceentries": self._service_entry,
            "workloadentries": self._workload_entry,
            "authorizationpolicies": self._policy,
            "peerauthentications": self._peer_authentication,
            "gateways": self._gateway,
            "nodes": self._node,
        }
        self._weights = {"pods": 10, "services": 4, "endpointslices": 4}

    def begin(self) -> None:
        """Make the definitions, the namespaces, and some objects of each kind."""
        self._objects.define_all()
        for name in (*NAMESPACES, ROOT):
            self._objects.write("namespaces", ("", name), {"metadata": {"labels": _AMBIENT}})
        for plural in self._makers:
            for number in range(_NUMBERS):
                self._put(plural, number)

    def change(self) -> None:
        """Make, change or delete one object; now and then a namespace or a definition."""
        roll = self._chance.random()
        if roll < 0.006:
            self._change_definition()
        elif roll < 0.02:
            self._change_namespace()
        else:
            names = list(self._makers)
            weights = [self._weights.get(name, 2) for name in names]
            (plural,) = self._chance.choices(names, weights)
            self._put_or_delete(plural, self._chance.randrange(_NUMBERS * 4))

    def restore(self) -> None:
        """Bring every definition back."""
        for plural, definition in self._definitions.items():
            self._define(plural, definition)

    def _put_or_delete(self, plural: str, number: int) -> None:
        if plural not in self._objects.held:
            return
        if self._chance.random() < 0.3:
            self._objects.delete(plural, self._key(plural, number))
        else:
            self._put(plural, number)

    def _put(self, plural: str, number: int) -> None:
        key = self._key(plural, number)
        if not key[0] or self._objects.get("namespaces", ("", key[0])) is not None:
            self._objects.write(plural, key, self._makers[plural](number))

    def _change_definition(self) -> None:
        plural = self._chance.choice([name for name in self._definitions if name in self._makers])
        definition = self._definitions[plural]
        if plural in self._objects.held:
            self._objects.delete(DEFINITIONS, ("", definition["metadata"]["name"]))
        else:
            self._define(plural, definition)

    def _define(self, plural: str, definition: Json) -> None:
        if plural not in self._objects.held:
            self._objects.write(DEFINITIONS, ("", definition["metadata"]["name"]), definition)

    def _change_namespace(self) -> None:
        name = self._chance.choice(NAMESPACES)
        if self._chance.random() < 0.2:
            self._objects.delete("namespaces", ("", name))
            return
        labels = self._chance.choice((_AMBIENT, _AMBIENT | _WAYPOINT, {}))
        self._objects.write("namespaces", ("", name), {"metadata": {"labels": labels}})

    def _key(self, plural: str, number: int) -> Key:
        name = f"{plural[:3]}-{number}"
        if plural == "nodes":
            return "", f"node-{number}"
        if plural == "gateways":
            name = "waypoint" if number % 2 else name
        is_wide = plural in ("authorizationpolicies", "peerauthentications") and number % 7 == 0
        return ROOT if is_wide else NAMESPACES[number % len(NAMESPACES)], name

    def _app(self) -> dict[str, str]:
        return {"app": self._chance.choice(APPS)}

    def _bound(self) -> dict[str, str]:
        return _WAYPOINT if self._chance.random() < 0.3 else {}

    def _pod(self, number: int) -> Json:
        ready = "True" if self._chance.random() < 0.8 else "False"
        phase = self._chance.choices(("Running", "Failed", "Pending"), (8, 1, 1))[0]
        redirection = {"ambient.istio.io/redirection": "enabled"}
        return {
            "metadata": {"labels": self._app() | self._bound(), "annotations": redirection},
            "spec": {
                "nodeName": f"node-{number % 5}",
                "serviceAccountName": self._chance.choice(APPS),
                "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}],
            },
            "status": {
                "phase": phase,
                "podIP": f"10.1.0.{number}",
                "podIPs": [{"ip": f"10.1.0.{number}"}],
                "conditions": [{"type": "Ready", "status": ready}],
            },
        }

    def _service(self, number: int) -> Json:
        return {
            "metadata": {"labels": self._bound()},
            "spec": {
                "selector": self._app(),
                "clusterIP": f"10.2.0.{number}",
                "clusterIPs": [f"10.2.0.{number}"],
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            },
        }

    def _slice(self, number: int) -> Json:
        service = f"ser-{number}"
        endpoints = [
            {"addresses": [f"10.3.0.{self._chance.randrange(250)}"], "conditions": {"ready": True}}
        ]
        return {
            "metadata": {"labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }

    def _service_entry(self, number: int) -> Json:
        spec: dict[str, Any] = {
            "hosts": [f"host-{self._chance.randrange(_NUMBERS)}.example.com"],
            "addresses": [f"10.4.0.{number}"],
            "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
            "resolution": "STATIC",
        }
        if self._chance.random() < 0.5:
            spec["workloadSelector"] = {"labels": self._app()}
        else:
            spec["endpoints"] = [{"address": f"10.5.0.{number}"}]
        return {"metadata": {"labels": self._bound()}, "spec": spec}

    def _workload_entry(self, number: int) -> Json:
        spec = {
            "address": f"10.6.0.{number}",
            "labels": self._app(),
            "serviceAccount": self._chance.choice(APPS),
        }
        return {"metadata": {"labels": spec["labels"]}, "spec": spec}

    def _policy(self, _: int) -> Json:
        source = {"source": {"namespaces": [self._chance.choice(NAMESPACES)]}}
        spec: dict[str, Any] = {
            "action": self._chance.choice(("ALLOW", "DENY")),
            "rules": [{"from": [source]}],
        }
        if self._chance.random() < 0.7:
            spec["selector"] = {"matchLabels": self._app()}
        return {"spec": spec}

    def _peer_authentication(self, _: int) -> Json:
        spec: dict[str, Any] = {"mtls": {"mode": self._chance.choice(("STRICT", "PERMISSIVE"))}}
        if self._chance.random() < 0.7:
            spec["selector"] = {"matchLabels": self._app()}
        return {"spec": spec}

    def _gateway(self, number: int) -> Json:
        address = {"type": "IPAddress", "value": f"10.7.0.{number}"}
        listener = {"name": "mesh", "port": 15008, "protocol": "HBONE"}
        return {
            "metadata": {
                "labels": {"istio.io/waypoint-for": self._chance.choice(("all", "service"))}
            },
            "spec": {"gatewayClassName": "istio-waypoint", "listeners": [listener]},
            "status": {"addresses": [address] if self._chance.random() < 0.8 else []},
        }

    def _node(self, _: int) -> Json:
        zone = f"zone-{self._chance.randrange(3)}"
        labels = {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": zone}
        return {"metadata": {"labels": labels}}

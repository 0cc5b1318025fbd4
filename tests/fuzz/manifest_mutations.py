"""Valid manifests, and ways to spoil them so that nothing usable is left.

Every mutation is structure-aware: it starts from an object whose every field is read, and breaks
exactly one thing. ``spoiled`` therefore promises a text without one readable object.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import yaml

SECURITY = "security.istio.io/v1"

CORPUS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"a": "b"}}},
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1", "labels": {"zone": "z"}}},
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": "n",
            "labels": {"app": "x", "version": "v1"},
            "annotations": {"ambient.istio.io/redirection": "enabled"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "controller": True}],
            "creationTimestamp": "2024-01-01T00:00:00Z",
        },
        "spec": {
            "nodeName": "node-1",
            "serviceAccountName": "sa",
            "hostNetwork": False,
            "containers": [{"ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}]}],
            "initContainers": [{"restartPolicy": "Always", "ports": [{"containerPort": 81}]}],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "n"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "10.1.0.1",
            "clusterIPs": ["10.1.0.1"],
            "selector": {"app": "x"},
            "ports": [{"port": 80, "name": "http", "protocol": "TCP", "appProtocol": "http"}],
            "ipFamilies": ["IPv4"],
            "trafficDistribution": "PreferClose",
            "publishNotReadyAddresses": True,
        },
    },
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "e", "namespace": "n"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    },
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n"},
        "spec": {
            "replicas": 2,
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"serviceAccountName": "sa", "containers": [{"ports": []}]},
            },
        },
    },
    {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "w", "namespace": "n"},
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
        "status": {"addresses": [{"type": "IPAddress", "value": "10.1.0.2"}]},
    },
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "se", "namespace": "n"},
        "spec": {
            "hosts": ["a.example.com"],
            "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
            "resolution": "STATIC",
            "endpoints": [{"address": "1.1.1.1", "weight": 1, "labels": {"a": "b"}}],
        },
    },
    {
        "apiVersion": SECURITY,
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "ap", "namespace": "n"},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "action": "DENY",
            "rules": [
                {
                    "from": [{"source": {"principals": ["a"], "notIpBlocks": ["10.0.0.0/8"]}}],
                    "to": [{"operation": {"ports": ["80"], "methods": ["GET"]}}],
                    "when": [{"key": "source.ip", "values": ["10.0.0.1"]}],
                }
            ],
        },
    },
    {
        "apiVersion": SECURITY,
        "kind": "PeerAuthentication",
        "metadata": {"name": "pa", "namespace": "n"},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "mtls": {"mode": "STRICT"},
            "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}},
        },
    },
]

WRONG: dict[type, list[Any]] = {
    str: [7, 1.5, True, [], ["x"], {}, {"x": "y"}],
    int: ["x", "80", 1.5, True, [], {}, -1, 2**64],
    bool: ["true", 1, [], {}],
    list: ["x", 7, True, {}, {"x": []}],
    dict: ["x", 7, True, [], [{}]],
}


def named(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a copy of ``value`` called ``name``."""
    renamed = copy.deepcopy(value)
    renamed["metadata"]["name"] = name
    return renamed


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    if isinstance(value, dict | list):
        for key, child in items:
            if isinstance(child, dict | list):
                yield from _paths(child, (*path, key))
            else:
                yield (*path, key)


def _wrong_type(value: dict[str, Any], random_: random.Random) -> str:
    path = random_.choice(list(_paths(value)))
    parent = value
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = random_.choice(WRONG[type(parent[path[-1]])])
    return _written(value, random_)


def _without_required(value: dict[str, Any], random_: random.Random) -> str:
    target, key = random_.choice(
        [(value, "kind"), (value, "apiVersion"), (value, "metadata"), (value["metadata"], "name")]
    )
    del target[key]
    return _written(value, random_)


def _misspelt(value: dict[str, Any], random_: random.Random) -> str:
    policy = copy.deepcopy(random_.choice(CORPUS[-2:]))
    policy["metadata"]["name"] = value["metadata"]["name"]
    inside = [path for path in _paths(policy["spec"]) if isinstance(path[-1], str)]
    inside = [path for path in inside if path[-2:-1] not in (("matchLabels",), ("portLevelMtls",))]
    path = random_.choice(inside)
    parent = policy["spec"]
    for step in path[:-1]:
        parent = parent[step]
    parent[f"{path[-1]}s1"] = parent.pop(path[-1])
    return _written(policy, random_)


def _duplicate_key(value: dict[str, Any], random_: random.Random) -> str:
    if random_.random() < 0.5:
        text = json.dumps(value)
        return text[:-1] + ', "kind": "Pod"}'
    return _written(value, random_, as_json=False) + "kind: Pod\n"


def _unknown_version(value: dict[str, Any], random_: random.Random) -> str:
    value["apiVersion"] += random_.choice(["x", "9", "beta"])
    return _written(value, random_)


def _impossible_name(value: dict[str, Any], random_: random.Random) -> str:
    bad = ["A", "a/b", "-a", "a-", "", "\u00e9", "a b", "x" * 300, "..", "a\n"]
    value["metadata"]["name"] = random_.choice(bad)
    return _written(value, random_)


def _half_written(value: dict[str, Any], random_: random.Random) -> str:
    text = json.dumps(value)
    return text[: random_.randrange(1, len(text) - 1)]


def _broken_syntax(value: dict[str, Any], random_: random.Random) -> str:
    text = _written(value, random_, as_json=False)
    tails = ["\tx: 1\n", "x: [\n", "x: {\n", "x: 'open\n", "*nowhere\n", "x: @y\n", "\x00", "- x\n"]
    return text + random_.choice(tails)


def _bomb(value: dict[str, Any], random_: random.Random) -> str:
    kind = random_.randrange(4)
    text = _written(value, random_, as_json=False)
    if kind == 0:
        levels = "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]\n" for n in range(1, 9))
        return f"{text}b0: &b0 [x]\n{levels}"
    if kind == 1:
        return f"{text}deep: {'[' * 500}{']' * 500}\n"
    if kind == 2:
        return f"{text}loop: &loop {{again: *loop}}\n"
    return text + "# " + "x" * 100_000


def _not_an_object(value: dict[str, Any], random_: random.Random) -> str:
    return random_.choice(["7\n", "text\n", "[1, 2]\n", '"x"\n', "true\n", json.dumps([value])])


Mutation = Callable[[dict[str, Any], random.Random], str]

MUTATIONS: list[Mutation] = [
    _wrong_type,
    _without_required,
    _misspelt,
    _duplicate_key,
    _unknown_version,
    _impossible_name,
    _half_written,
    _broken_syntax,
    _bomb,
    _not_an_object,
]


def _written(value: Any, random_: random.Random, *, as_json: bool | None = None) -> str:
    if as_json or (as_json is None and random_.random() < 0.4):
        return json.dumps(value)
    return yaml.safe_dump(value, allow_unicode=True)


def spoiled(random_: random.Random, name: str) -> str:
    """Return a text with one spoiled object, called ``name`` where it still has a name."""
    value = named(random_.choice(CORPUS), name)
    return random_.choice(MUTATIONS)(value, random_)

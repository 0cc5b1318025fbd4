"""What the codes of problems mean, and what to do about each: one table for commands and docs.

The short codes are stable: users write them into suppressions and pipelines. A code that is no
longer found keeps its number, and a new one takes the next of its block.
"""

from typing import Final, NamedTuple


class Explanation(NamedTuple):
    """One kind of finding: its short code, and what somebody who sees it should do."""

    short: str
    advice: str


EXPLANATIONS: Final[dict[str, Explanation]] = {
    # What is wrong with the text.
    "manifest.syntax": Explanation("IL0101", "Correct the YAML or JSON at the line named."),
    "manifest.invalid": Explanation(
        "IL0102", "Correct the field named; until then the last valid version stays in force."
    ),
    "manifest.unknown-kind": Explanation("IL0103", "Nothing to do: the mesh does not read it."),
    "manifest.too-large": Explanation("IL0104", "Split the file, or raise the limit on its size."),
    "manifest.too-deep": Explanation("IL0105", "Nest the document less deeply."),
    "manifest.too-many-documents": Explanation("IL0106", "Split the file."),
    "manifest.too-many-values": Explanation("IL0107", "Split the document."),
    "manifest.too-many-anchors": Explanation("IL0108", "Write repeated parts out."),
    "manifest.unsupported-kind": Explanation(
        "IL0109", "Do without it: access logs are said in the mesh configuration, routes by routes."
    ),
    # Where it comes from.
    "files.missing": Explanation("IL0201", "Make the folder or file, or name another."),
    "files.unreadable-folder": Explanation("IL0202", "Let the control plane read the folder."),
    "files.unreadable-file": Explanation("IL0203", "Let the control plane read the file."),
    "files.unreadable-name": Explanation("IL0204", "Rename the file to valid UTF-8."),
    "files.empty-file": Explanation(
        "IL0205", "Delete the file if that is meant; its objects stay in force until then."
    ),
    "files.duplicate-object": Explanation("IL0206", "Keep one of the files that say the object."),
    "kubernetes.unavailable": Explanation(
        "IL0211", "Look at the API server; what was read last stays in force."
    ),
    "kubernetes.refused": Explanation(
        "IL0212", "Grant the control plane list and watch on the kind, as the chart does."
    ),
    "kubernetes.not-understood": Explanation(
        "IL0213", "Look at what stands between us and the API server."
    ),
    "kubernetes.unknown-version": Explanation(
        "IL0214", "Install a CustomResourceDefinition that serves a version we read."
    ),
    # Workloads and services.
    "pod.invalid-address": Explanation("IL0301", "Look at who writes the pod's status."),
    "endpoint-slice.invalid-address": Explanation("IL0302", "Correct the endpoint's address."),
    "service.invalid-cluster-ip": Explanation("IL0303", "Correct or remove the cluster IP."),
    "service-entry.invalid-address": Explanation(
        "IL0304", "Write IP addresses or CIDR blocks; none of the entry's hosts is served."
    ),
    "service-entry.invalid-allocated-address": Explanation(
        "IL0305", "Remove the address from the status; it is allocated again."
    ),
    "service-entry.duplicate-endpoint": Explanation("IL0306", "Keep one of the equal endpoints."),
    "hostname.duplicate": Explanation(
        "IL0307", "Give the hostname to one object; the oldest is served."
    ),
    "network-gateway.no-hbone-listener": Explanation(
        "IL0311", "Add a listener with protocol HBONE to the gateway."
    ),
    "network-gateway.unusable-address": Explanation(
        "IL0312", "Give the gateway an address of type IPAddress or Hostname."
    ),
    "network-gateway.repeated-address": Explanation(
        "IL0313", "Name each address of a network once."
    ),
    # Manifests without a cluster.
    "expansion.address-collision": Explanation(
        "IL0321", "State an address, or widen the range addresses are taken from."
    ),
    "expansion.no-node": Explanation("IL0322", "Add a Node, or correct the node selector."),
    "expansion.too-many-replicas": Explanation("IL0323", "Ask for fewer replicas."),
    "expansion.invalid-name": Explanation("IL0324", "Use a name that a Service can have."),
    # Waypoints.
    "waypoint.refused": Explanation(
        "IL0401",
        "Look at the waypoint named: it has to be ready, for this traffic, and open to others.",
    ),
    "waypoint.canary-refused": Explanation(
        "IL0402", "Correct the canary's label or weight; the primary waypoint stays in use."
    ),
    "waypoint.unreadable-ingress-label": Explanation("IL0403", "Write true or false."),
    "waypoint.unknown-traffic-type": Explanation("IL0404", "Write service, workload, all or none."),
    "waypoint.invalid-binding": Explanation("IL0405", "Write NONE or PROXY, with a port or none."),
    "waypoint.unusable-address": Explanation(
        "IL0406", "Look at who writes the Gateway's status addresses."
    ),
    "waypoint.invalid-name": Explanation("IL0407", "Use a name that a Service can have."),
    "waypoint.invalid-service-type": Explanation(
        "IL0408", "Write ClusterIP, LoadBalancer or NodePort."
    ),
    "waypoint.unsupported-address": Explanation("IL0409", "Write an IP address, or none."),
    "waypoint.invalid-parameters": Explanation(
        "IL0410", "Correct the ConfigMap that the Gateway or its class refers to."
    ),
    "waypoint.hostname-taken": Explanation(
        "IL0411",
        "Use another hostname, or another waypoint: one waypoint serves a hostname for one object.",
    ),
    "waypoint.unsupported-rule": Explanation(
        "IL0412", "Say it with an HTTPRoute, or take the service named out of its hosts."
    ),
    "waypoint.can-be-bypassed": Explanation(
        "IL0413",
        "Annotate the waypoint istiod-lite.io/waypoint-guard=true, or allow only its identity.",
    ),
    "waypoint.unreadable-guard": Explanation("IL0414", "Write true or false."),
    "waypoint.nearness-not-applied": Explanation(
        "IL0417", "Nothing to do, or take the service off the waypoint if nearness matters more."
    ),
    "waypoint.wildcard-not-resolved": Explanation(
        "IL0418", "Name the hosts one by one, state endpoints, or use resolution NONE."
    ),
    "waypoint.leads-to-itself": Explanation(
        "IL0419", "Name an address of the network, or take the ServiceEntry off the waypoint."
    ),
    "waypoint.spoken-in-the-clear": Explanation(
        "IL0420", "State the addresses of the endpoints with resolution STATIC, not their names."
    ),
    # Routes.
    "route.unusable-match": Explanation(
        "IL0421", "Correct the match; until then all requests of its rule are answered 500."
    ),
    "route.unusable-filter": Explanation(
        "IL0422", "Correct or remove the filter; until then its rule or backend answers 500."
    ),
    "route.unusable-session": Explanation(
        "IL0423", "Use a cookie or header with a plain name, and no limits but a lifetime."
    ),
    "route.backend-not-usable": Explanation(
        "IL0424", "Name a Service, or a Hostname, and a TCP port it has; its share answers 500."
    ),
    "route.parent-not-accepted": Explanation(
        "IL0425", "Attach the route to a Service or ServiceEntry that is there, or a port it has."
    ),
    "route.no-waypoint": Explanation(
        "IL0426", "Bind the parent to a waypoint: nobody else applies routes to requests."
    ),
    "route.shadowed": Explanation(
        "IL0427", "Keep one route for the port: the oldest counts, and its first rule."
    ),
    "route.too-many-matches": Explanation(
        "IL0428", "Write fewer matches, or ask who runs the service for a route."
    ),
    "route.goes-around-policies": Explanation(
        "IL0429", "Target the policies at the service that requests are for, too."
    ),
    # TLS to backends.
    "backend-tls.conflict": Explanation(
        "IL0441", "Keep one policy for the port: the oldest counts."
    ),
    "backend-tls.not-in-force": Explanation(
        "IL0442", "Correct the policy; until then nothing is sent to the ports it is for."
    ),
    # Policies.
    "policy.unusable-value": Explanation(
        "IL0501", "Correct the value; the policy is enforced more strictly than written."
    ),
    "policy.http-attribute": Explanation(
        "IL0502", "Target a Service behind a waypoint: node proxies do not read HTTP."
    ),
    "policy.unsupported-action": Explanation("IL0503", "Use ALLOW or DENY without a waypoint."),
    "policy.unsupported-dry-run": Explanation(
        "IL0504", "Allow dry-run policies by setting; the policy is not in force."
    ),
    "policy.invalid-annotation": Explanation("IL0505", "Write true or false."),
    "policy.target-not-bound": Explanation(
        "IL0506", "Bind the target to a waypoint; the policy is not enforced there until then."
    ),
    "policy.unknown-provider": Explanation(
        "IL0507", "Name an extension provider of the mesh configuration."
    ),
    "policy.http-on-connections": Explanation(
        "IL0508", "Say that the port is HTTP, or target ports that are."
    ),
    "policy.unreachable-provider": Explanation(
        "IL0509", "Make the provider's service and port exist; until then what matches is denied."
    ),
    "policy.other-provider": Explanation(
        "IL0510", "Ask one provider about a service; what the others would decide is denied."
    ),
    "mesh.unusable-provider": Explanation(
        "IL0532", "Correct the extension provider of the mesh configuration; nobody is asked."
    ),
    "peer-authentication.invalid-port": Explanation("IL0511", "Write a port from 1 to 65535."),
    "peer-authentication.ignored-selector": Explanation(
        "IL0512", "Move the policy to the namespace of its workloads."
    ),
    "peer-authentication.ignored-ports": Explanation(
        "IL0513", "Add a selector: ports count only for selected workloads."
    ),
    # The mesh configuration.
    "token.no-targets": Explanation(
        "IL0521", "Name a waypoint, a Service or a ServiceEntry in targetRefs."
    ),
    "token.unusable-keys": Explanation(
        "IL0522", "Correct the key set, or its address, or look at who answers there."
    ),
    "token.keys-not-fetched": Explanation(
        "IL0523", "Nothing to do: only a control plane that runs fetches keys."
    ),
    "mesh.unusable-access-log": Explanation(
        "IL0591",
        "Correct the field named; waypoints log to the standard output in the usual format.",
    ),
    # What would not be sent.
    "encode.refused": Explanation("IL0601", "Correct the value named; the resource is not sent."),
}


def explanation_of(code: str) -> Explanation:
    """Return what ``code`` means; one of a code that is not in the table names the code itself."""
    return EXPLANATIONS.get(code) or Explanation("IL0000", f"No advice is written for {code}.")

"""The judge: a review in, a verdict out, with the reader and the rules that serve the mesh.

The object is read, compiled with the few committed objects it refers to in a pipeline of its own,
and what the reader and the rules say about it is sorted: what is written wrong refuses it,
everything else is a warning, so that the order in which objects are applied never
matters. The live graph is only read (docs/protocol/admission.md AD-5 to AD-13).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from controlplane.admission.advice import advice
from controlplane.admission.errors import MalformedReviewError
from controlplane.admission.review import ReviewRequest, Verdict
from controlplane.admission.surroundings import surroundings
from controlplane.manifests.istio import ServiceEntry
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import read_object
from controlplane.mesh.namespaces import REVISION_LABEL
from controlplane.mesh.networks import REMOTE_CLASS
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.waypoint_gateways import is_waypoint_class
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity
from controlplane.pipeline.assembly import Pipeline
from controlplane.pipeline.compilation import compile_manifests
from controlplane.pipeline.refusals import REFUSED

GATEWAY: Final = ("gateway.networking.k8s.io", "Gateway")
JUDGED: Final = {
    ("security.istio.io", "AuthorizationPolicy"): "authorizationpolicies",
    ("security.istio.io", "PeerAuthentication"): "peerauthentications",
    ("security.istio.io", "RequestAuthentication"): "requestauthentications",
    ("networking.istio.io", "ServiceEntry"): "serviceentries",
    ("networking.istio.io", "WorkloadEntry"): "workloadentries",
    GATEWAY: "gateways",
    ("gateway.networking.k8s.io", "HTTPRoute"): "httproutes",
    ("gateway.networking.k8s.io", "GRPCRoute"): "grpcroutes",
}
"""API group and kind of everything that is judged, and its resource; the rest is allowed."""

OF_OTHERS: Final = frozenset(
    {
        "hostname.duplicate",
        "policy.target-not-bound",
        "policy.unknown-provider",
        "route.backend-not-usable",
        "route.goes-around-policies",
        "route.no-waypoint",
        "route.parent-not-accepted",
        "route.shadowed",
        "route.too-many-matches",
        "waypoint.canary-refused",
        "waypoint.refused",
        "waypoint.unusable-address",
    }
)
"""Problems that other objects, or the status that a controller wrote, decide about."""

WITHOUT_EFFECT: Final = frozenset(
    {
        "policy.http-attribute",
        "policy.unsupported-action",
        "policy.unsupported-dry-run",
        "route.unusable-filter",
        "route.unusable-match",
        "route.unusable-session",
    }
)
"""Problems of what is well written, and which something else than we might enforce."""

WARNED: Final = OF_OTHERS | WITHOUT_EFFECT

_NOT_LOOKED_AT: Final = frozenset({"token.keys-not-fetched"})
"""Problems of a graph that is made for one object: it fetches nothing."""
_ROUTES: Final = frozenset({"HTTPRoute", "GRPCRoute"})
_PARENTS: Final = ("Service", "ServiceEntry")
_DUPLICATE: Final = "hostname.duplicate"
_JUDGED_OPERATIONS: Final = frozenset({"CREATE", "UPDATE"})
_ALLOWED: Final = Verdict(is_judged=False)
_LONGEST_PREFIX: Final = 240


class _Findings(NamedTuple):
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Judge:
    """Judges objects against the committed state of ``pipeline``."""

    def __init__(self, pipeline: Pipeline, settings: MeshSettings) -> None:
        self._pipeline = pipeline
        # What a cluster makes of an object must not be made up here.
        self._settings = replace(settings, expands=False)

    def judge(self, request: ReviewRequest) -> Verdict:
        """Return what is to be said about the object of ``request``.

        Raises:
            MalformedReviewError: there is no object where one belongs.
        """
        about = (request.kind.group, request.kind.kind)
        if about not in JUDGED or request.operation not in _JUDGED_OPERATIONS:
            return _ALLOWED
        if request.sub_resource:
            return _ALLOWED
        if request.object is None:
            raise MalformedReviewError(
                f"request.object: the field is required for {request.operation}"
            )
        if self._is_left_alone(request.object, about):
            return _ALLOWED
        found = self._findings(_named(request.object, request), request.kind.kind)
        if found.errors and _keeps_spec(request):
            found = self._without_old(found, request)
        return Verdict(errors=found.errors, warnings=found.warnings)

    def _is_left_alone(self, value: Mapping[str, Any], about: tuple[str, str]) -> bool:
        """Tell whether the object is on its way out, or somebody else's."""
        metadata = value.get("metadata")
        if isinstance(metadata, dict):
            if metadata.get("deletionTimestamp") is not None:
                return True
            labels = metadata.get("labels")
            asked = labels.get(REVISION_LABEL) if isinstance(labels, dict) else None
            ours = self._settings.revision
            if isinstance(asked, str) and ours and asked != ours:
                return True
        if about[1] in _ROUTES:
            return not _is_for_services(value)
        return about == GATEWAY and not self._is_our_gateway(value)

    def _is_our_gateway(self, value: Mapping[str, Any]) -> bool:
        spec = value.get("spec")
        name = spec.get("gatewayClassName") if isinstance(spec, dict) else None
        if not isinstance(name, str):
            return False
        found = self._pipeline.inputs.gateway_classes.get(Name("", name))
        return name == REMOTE_CLASS or is_waypoint_class(name, found)

    def _without_old(self, found: _Findings, request: ReviewRequest) -> _Findings:
        """Refuse nothing that was wrong before: a finalizer must come off a bad object too."""
        before = _named(request.old_object or {}, request)
        old = set(self._findings(before, request.kind.kind).errors)
        kept = tuple(error for error in found.errors if error in old)
        new = tuple(error for error in found.errors if error not in old)
        return _Findings(errors=new, warnings=kept + found.warnings)

    def _findings(self, value: Mapping[str, Any], kind: str) -> _Findings:
        manifest = read_object(value, system_namespace=self._settings.system_namespace)
        if isinstance(manifest, Problem):
            return _Findings(errors=(_sentence(manifest),))
        if not isinstance(manifest, Manifest) or manifest.kind != kind:
            return _Findings(errors=(f"kind: the object is no {kind}, as the request says",))
        return self._ruled(manifest)

    def _ruled(self, manifest: Manifest) -> _Findings:
        objects = (*surroundings(manifest, self._pipeline), manifest)
        compiled = compile_manifests([(each, None) for each in objects], self._settings)
        errors: list[str] = []
        warnings: list[str] = []
        for problem in compiled.problems:
            if not _is_about(problem, manifest) or problem.code in _NOT_LOOKED_AT:
                continue
            is_error = problem.severity is Severity.ERROR and problem.code not in WARNED
            (errors if is_error else warnings).append(_sentence(problem))
        warnings.extend(advice(manifest))
        return _Findings(tuple(dict.fromkeys(errors)), tuple(dict.fromkeys(warnings)))


def _is_for_services(route: Mapping[str, Any]) -> bool:
    """Tell whether a route has a parent that waypoints route for; others are not ours to judge."""
    spec = route.get("spec")
    parents = spec.get("parentRefs") if isinstance(spec, dict) else None
    return isinstance(parents, list) and any(
        isinstance(each, dict) and each.get("kind") in _PARENTS for each in parents
    )


def _is_about(problem: Problem, judged: Manifest) -> bool:
    if problem.code == _DUPLICATE or problem.object == judged.reference:
        return True
    # What a ServiceEntry is sent as goes by the name of a service.
    service = ObjectReference("Service", *judged.key)
    return (
        isinstance(judged, ServiceEntry) and problem.code == REFUSED and problem.object == service
    )


def _sentence(problem: Problem) -> str:
    return f"{problem.field}: {problem.message}" if problem.field else problem.message


def _keeps_spec(request: ReviewRequest) -> bool:
    old, new = request.old_object, request.object
    return (
        request.operation == "UPDATE"
        and old is not None
        and new is not None
        and old.get("spec") == new.get("spec")
    )


def _named(value: Mapping[str, Any], request: ReviewRequest) -> dict[str, Any]:
    """Return the object with the name and namespace it is about to have."""
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return dict(value)
    given = dict(metadata)
    prefix = given.get("generateName")
    if not given.get("name") and isinstance(prefix, str) and prefix:
        given["name"] = request.name or f"{prefix[:_LONGEST_PREFIX]}00000"
    if not given.get("namespace") and request.namespace:
        given["namespace"] = request.namespace
    return {**value, "metadata": given}

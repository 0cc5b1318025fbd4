"""The access log on the graph: the mesh configuration comes in, how waypoints log goes out.

What an Envoy would reject is a Problem, and the log is written all the same: where it should have
gone elsewhere to the standard output, in our own format where the format was unusable.
docs/protocol/waypoint-config.md WC-60 to WC-62.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.inputs import MESH
from controlplane.mesh.log_formats import json_fault, text_fault
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.model.access_log import AccessLog, LogOutput
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity

_DEFAULT = AccessLog()
_OUTPUTS = {output.value: output for output in LogOutput}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLogs:
    """How waypoints log, if the mesh is configured at all, and what cannot be logged so."""

    configured: Collection[Name, AccessLog]
    problems: Collection[ProblemKey, Problem]

    def of(self, fetch: Fetch) -> AccessLog:
        """Return how every waypoint of the mesh logs."""
        return fetch.one(self.configured, MESH) or _DEFAULT


def build_access_logs(graph: Graph, membership: Membership) -> AccessLogs:
    """Declare how waypoints log on ``graph``."""
    return AccessLogs(
        configured=graph.derive(
            "access log", membership.configured, lambda _, config: access_log(config)[0]
        ),
        problems=graph.derive_many(
            "problems of the access log",
            membership.configured,
            lambda _, config: _problems(config),
        ),
    )


def access_log(config: MeshConfig) -> tuple[AccessLog, Mapping[str, str]]:
    """Return how waypoints log and, by field, what of ``config`` cannot be done."""
    faults = {}
    written = config.access_log_file
    found = _DEFAULT
    if written is not None:
        output = _OUTPUTS.get(written)
        if output is None:
            faults["accessLogFile"] = (
                f"{written!r} is no file that a waypoint can write; the log goes to /dev/stdout"
            )
            output = LogOutput.STDOUT
        found = replace(found, output=output, only_failures=False)
    found = replace(found, is_json=config.access_log_encoding == "JSON")
    if config.access_log_format:
        read = _json if found.is_json else _text
        form, fault = read(config.access_log_format)
        found = replace(found, **form)
        if fault:
            faults["accessLogFormat"] = f"{fault}; the usual format is used"
    return found, faults


def _text(written: str) -> tuple[dict[str, Any], str | None]:
    fault = text_fault(written)
    if fault is not None:
        return {}, fault
    return {"text": written if written.endswith("\n") else f"{written}\n"}, None


def _json(written: str) -> tuple[dict[str, Any], str | None]:
    try:
        fields = json.loads(written, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return {}, f"it is no JSON: {error}"
    if not isinstance(fields, dict) or not fields:
        return {}, "with the encoding JSON a format is an object with members"
    fault = json_fault(fields)
    if fault is not None:
        return {}, fault
    return {"json": json.dumps(fields)}, None


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _problems(config: MeshConfig) -> Mapping[ProblemKey, Problem]:
    problems = [
        Problem(
            severity=Severity.WARNING,
            code="mesh.unusable-access-log",
            message=message,
            object=ObjectReference("MeshConfig", *MESH),
            field=field,
        )
        for field, message in access_log(config)[1].items()
    ]
    return {problem_key(problem): problem for problem in problems}

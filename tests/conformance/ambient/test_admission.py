"""The webhook and the mesh agree: what is an error in a mesh is not let in, the rest is."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.admission.judgement import JUDGED, WARNED
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import read_object
from controlplane.model.problem import Problem, Severity
from tests.support.admission import CommittedMesh
from tests.support.ambient import read_pair

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.yaml") if ".expected" not in path.name)
_STEP = re.compile(r"^# step:.*$", re.MULTILINE)


@pytest.mark.proves("AD-9", "AD-10")
@pytest.mark.refutes("AD-9", "AD-10")
@pytest.mark.parametrize("name", NAMES)
def test_an_object_with_an_error_of_its_own_is_refused_and_no_other(name: str) -> None:
    refused = {about for about, errors, _ in _judged(name) if errors}
    wrong = {about for about, _, is_wrong in _judged(name) if is_wrong}
    assert refused == wrong


def test_the_pairs_hold_objects_of_both_sorts() -> None:
    verdicts = [verdict for name in NAMES for verdict in _judged(name)]
    refused = {about[1].partition(" ")[0] for about, errors, _ in verdicts if errors}
    allowed = {about[1].partition(" ")[0] for about, errors, _ in verdicts if not errors}
    assert {"AuthorizationPolicy", "PeerAuthentication"} <= refused & allowed


def _judged(name: str) -> list[tuple[tuple[int, str], tuple[str, ...], bool]]:
    """Every object of a pair: step and name, errors of the webhook, whether the mesh has one."""
    path = HERE / f"{name}.yaml"
    pair = read_pair(path)
    mesh = CommittedMesh(pair.settings)
    verdicts = []
    texts = _STEP.split(path.read_text())
    for number, (step, text) in enumerate(zip(pair.steps, texts, strict=True)):
        mesh.put_all(step.manifests)
        wrong = {str(each.object) for each in (*_errors(mesh), *step.problems) if _is_own(each)}
        for judged in filter(_is_judged, yaml.safe_load_all(text)):
            found = read_object(judged)
            assert isinstance(found, Problem | Manifest)
            about = str(found.object if isinstance(found, Problem) else found.reference)
            verdicts.append(((number, about), mesh.of(judged).errors, about in wrong))
    return verdicts


def _errors(mesh: CommittedMesh) -> list[Problem]:
    return [problem for _, problem in mesh.pipeline.problems.items()]


def _is_own(problem: Problem) -> bool:
    # What is made up where there is no cluster is no matter of a webhook.
    return (
        problem.severity is Severity.ERROR
        and problem.code not in WARNED
        and not problem.code.startswith("expansion.")
    )


def _is_judged(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    group = str(document.get("apiVersion")).rpartition("/")[0]
    return (group, document.get("kind")) in JUDGED

"""The Helm chart as it is kept: its values, what it renders to, and helm where there is one."""

import os
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

CHART = Path(__file__).parents[2] / "charts" / "istiod-lite"
CASES = Path(__file__).parents[1] / "conformance" / "chart"
NAMESPACE = "istio-system"


def cases() -> list[str]:
    """Return the names of the sets of values whose manifests are kept."""
    return sorted(path.stem for path in (CASES / "values").glob("*.yaml"))


@cache
def documents(case: str) -> tuple[Json, ...]:
    """Return the manifests that are kept for a set of values."""
    text = (CASES / "expected" / f"{case}.yaml").read_text()
    return tuple(each for each in yaml.safe_load_all(text) if each)


def of_kind(case: str, kind: str) -> list[Json]:
    return [each for each in documents(case) if each["kind"] == kind]


def only(case: str, kind: str) -> Json:
    (found,) = of_kind(case, kind)
    return found


def container(case: str) -> Json:
    (found,) = only(case, "Deployment")["spec"]["template"]["spec"]["containers"]
    return found


def environment(case: str) -> dict[str, str]:
    """Return the variables of the container; those of a Secret or of the pod say where from."""
    return {
        each["name"]: each["value"] if "value" in each else str(each["valueFrom"])
        for each in container(case)["env"]
    }


def with_defaults(values: Mapping[str, Any]) -> Json:
    """Return values as helm lays them over those of the chart: objects by field, all else whole."""
    return _merged(yaml.safe_load((CHART / "values.yaml").read_text()), values)


def helm() -> str | None:
    """Return the helm to run: HELM, else the one on the PATH; None where there is none."""
    return shutil.which(os.environ.get("HELM") or "helm")


def _merged(under: Any, over: Any) -> Any:
    if not isinstance(under, dict) or not isinstance(over, Mapping):
        return over
    return under | {key: _merged(under.get(key), value) for key, value in over.items()}

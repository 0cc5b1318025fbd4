"""Render the chart with every set of values that tests compare; with --check, compare instead.

HELM in the environment says which helm; the one on the PATH otherwise.
"""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
CHART = ROOT / "charts" / "istiod-lite"
CASES = ROOT / "tests" / "conformance" / "chart"
KUBERNETES = "1.30.0"


def render(values: Path) -> str:
    """Return the manifests that ``values`` give.

    Raises:
        subprocess.CalledProcessError: helm refuses them; ``stderr`` says why.
    """
    command = [
        os.environ.get("HELM") or "helm",
        "template",
        "istiod-lite",
        str(CHART),
        "--namespace=istio-system",
        f"--kube-version={KUBERNETES}",
        f"--values={values}",
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603


def expected_of(values: Path) -> Path:
    """Return where the rendered manifests of ``values`` are kept."""
    return CASES / "expected" / values.name


def main() -> int:
    """Write what is rendered, or compare it and return 1 when it differs."""
    differing = []
    for values in sorted((CASES / "values").glob("*.yaml")):
        found, kept = render(values), expected_of(values)
        if "--check" not in sys.argv[1:]:
            kept.write_text(found)
        elif list(yaml.safe_load_all(found)) != list(yaml.safe_load_all(kept.read_text())):
            differing.append(kept.name)
    if differing:
        sys.stderr.write(f"the chart gives something else: {differing}; run make chart\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

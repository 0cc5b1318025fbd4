"""What helm makes of the chart is what is kept, and values that make no sense are refused."""

import asyncio
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from tests.support.chart import CASES, CHART, NAMESPACE, helm, only
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import put_document
from tests.support.replicas import a_kubeconfig

RENDER = Path(__file__).parents[3] / "scripts" / "render_chart.py"
REFUSED = sorted((CASES / "refused").glob("*.yaml"))
HELM = helm() or ""

if not HELM:
    pytest.skip(
        "helm is not installed: the chart is not rendered, what is kept of it is checked",
        allow_module_level=True,
    )


@pytest.mark.timeout(60)
def test_the_chart_renders_to_what_is_kept() -> None:
    found = subprocess.run(
        [sys.executable, RENDER, "--check"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "HELM": HELM},
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_the_chart_passes_the_lint_of_helm() -> None:
    command = [HELM, "lint", "--strict", str(CHART)]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("values", REFUSED, ids=lambda path: path.stem)
def test_values_that_do_not_go_together_are_refused_in_words(values: Path) -> None:
    head, *_ = values.read_text().splitlines()
    command = [
        HELM,
        "template",
        "istiod-lite",
        str(CHART),
        f"--namespace={NAMESPACE}",
        "--kube-version=1.30.0",
        f"--values={values}",
    ]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode != 0
    assert head.removeprefix("# expected: ") in found.stderr


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_an_upgrade_leaves_what_the_leader_has_decided(tmp_path: Path, policy: str) -> None:
    live = deepcopy(only("default", "ValidatingWebhookConfiguration"))
    live["webhooks"][0]["failurePolicy"] = policy
    async with KubernetesApi() as api:
        put_document(api.objects, live)
        process = await asyncio.create_subprocess_exec(
            HELM,
            "template",
            "istiod-lite",
            str(CHART),
            f"--namespace={NAMESPACE}",
            "--kube-version=1.30.0",
            "--dry-run=server",
            f"--kubeconfig={a_kubeconfig(tmp_path, api)}",
            "--show-only=templates/validatingwebhook.yaml",
            stdout=subprocess.PIPE,
        )
        rendered, _ = await process.communicate()
    (entry,) = yaml.safe_load(rendered)["webhooks"]
    assert entry["failurePolicy"] == policy
    assert "caBundle" not in entry["clientConfig"]

"""Keys that an issuer publishes, rotates and loses, while an Envoy serves."""

import asyncio
from pathlib import Path

import pytest

from controlplane.lab.mesh import Lab
from tests.support.issuer_server import an_issuer_server
from tests.support.lab_mesh import (
    a_cluster,
    a_document,
    a_lab,
    a_service,
    a_waypoint,
    an_application,
    write,
)
from tests.support.tokens import ISSUER, a_token, key_set

pytestmark = pytest.mark.timeout(90)
SETTINGS = {"key_sets_on_this_machine": True, "key_set_refresh": 1, "key_set_lifetime": 4}


async def _status(mesh: Lab, token: str | None) -> int:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    answer = await mesh.request("sleep", "http://web/", headers=headers)
    assert not answer.failure
    return answer.status


async def _until(mesh: Lab, token: str, status: int) -> None:
    async with asyncio.timeout(30):
        while await _status(mesh, token) != status:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)


@pytest.mark.proves("RA-7", "RA-12", "RA-24", "RA-25")
@pytest.mark.refutes("RA-10")
async def test_keys_rotate_and_expire_under_a_running_envoy(tmp_path: Path) -> None:
    async with an_issuer_server() as issuer:
        rule = {"issuer": ISSUER, "jwksUri": f"{issuer.url}/keys"}
        target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
        policy = a_document(
            "RequestAuthentication", "tokens", spec={"targetRefs": [target], "jwtRules": [rule]}
        )
        documents = [
            *a_cluster("shop"),
            a_waypoint(),
            *an_application("web"),
            a_service("web", waypoint="waypoint"),
            *an_application("sleep"),
        ]
        async with a_lab(tmp_path, *documents, settings=SETTINGS) as (mesh, folder):
            first, second = a_token(key="one"), a_token(key="two")
            assert await _status(mesh, "garbage") == 200
            write(folder, "tokens.yaml", policy)
            await _until(mesh, "garbage", 401)
            await _until(mesh, first, 200)
            assert await _status(mesh, second) == 401
            issuer.answers["/keys"] = key_set("one", "two")
            await _until(mesh, second, 200)
            assert await _status(mesh, first) == 200
            issuer.answers["/keys"] = key_set("two")
            await _until(mesh, first, 401)
            assert await _status(mesh, second) == 200
            # Away for longer than keys are good for.
            del issuer.answers["/keys"]
            await asyncio.sleep(1.5)
            assert await _status(mesh, second) == 200
            await _until(mesh, second, 401)
            assert await _status(mesh, None) == 200
            issuer.answers["/keys"] = key_set("two")
            await _until(mesh, second, 200)

"""Who may change how much is logged, and how."""

import httpx
import pytest

from tests.support.admin import ADMIN_TOKEN, AdminRig, a_client

PATH = "/api/v1/log-level"


async def put(rig: AdminRig, body: object, token: str = ADMIN_TOKEN) -> httpx.Response:
    async with a_client(rig.application(), token=token, peer="10.0.0.1") as client:
        return await client.put(PATH, json=body)


@pytest.mark.proves("AM-26")
async def test_who_sees_everything_changes_the_level() -> None:
    rig = AdminRig()
    answer = await put(rig, {"level": "debug"}, "istio-system/operator")
    assert (answer.status_code, answer.json()) == (200, {"level": "debug"})
    assert rig.log_level.told == [("debug", "service account istio-system/operator")]
    async with a_client(rig.application()) as client:
        assert (await client.get(PATH)).json() == {"level": "debug"}


@pytest.mark.refutes("AM-26")
@pytest.mark.parametrize(
    ("token", "body", "status"),
    [
        ("shop/someone", {"level": "debug"}, 403),
        ("", {"level": "debug"}, 401),
        (ADMIN_TOKEN, {"level": "trace"}, 422),
        (ADMIN_TOKEN, {"level": "debug", "for": "ever"}, 422),
        (ADMIN_TOKEN, {}, 422),
    ],
)
async def test_nobody_else_does_and_to_no_other_level(
    token: str, body: object, status: int
) -> None:
    rig = AdminRig()
    answer = await put(rig, body, token)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert rig.log_level.told == []


async def test_a_form_of_a_web_page_changes_nothing() -> None:
    rig = AdminRig()
    async with a_client(rig.application()) as client:
        answer = await client.put(
            PATH, content=b'{"level": "error"}', headers={"content-type": "text/plain"}
        )
    assert answer.status_code == 415
    assert rig.log_level.told == []

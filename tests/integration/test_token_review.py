"""TokenReview over HTTP, against a double of the API on loopback."""

import asyncio
import logging
from pathlib import Path

import pytest

from controlplane.authentication.errors import AuthenticationError
from controlplane.authentication.review import ReviewError
from controlplane.authentication.review_client import HttpTokenReviews
from controlplane.clock import SystemClock
from tests.support.authentication import (
    AUDIENCES,
    PEER,
    a_reviewer,
    a_status,
    token_review_api,
)


async def test_a_review_names_the_token_and_our_audiences() -> None:
    async with token_review_api(t=a_status()) as api:
        reviews = HttpTokenReviews(api.url)
        assert await reviews.review("t", ["b", "a"]) == a_status()
        await reviews.close()
        assert api.asked == [
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "spec": {"token": "t", "audiences": ["a", "b"]},
            }
        ]
        assert api.credentials == [""]


async def test_our_own_token_is_read_again_for_every_review(tmp_path: Path) -> None:
    own = tmp_path / "token"
    async with token_review_api(t=a_status()) as api:
        reviews = HttpTokenReviews(api.url, token_file=own)
        for content in ("one\n", "two"):
            own.write_text(content)
            await reviews.review("t", AUDIENCES)
        own.unlink()
        with pytest.raises(ReviewError):
            await reviews.review("t", AUDIENCES)
        await reviews.close()
        assert api.credentials == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"[" * 100_000, b" " * 300_000 + b"{}"])
async def test_an_answer_that_is_no_review_is_a_failure(body: bytes) -> None:
    async with token_review_api() as api:
        api.body = body
        reviews = HttpTokenReviews(api.url)
        with pytest.raises(ReviewError):
            await reviews.review("t", AUDIENCES)
        await reviews.close()


@pytest.mark.proves("AU-36")
async def test_tokens_are_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    async with token_review_api(**{"canary-good": a_status()}) as api:
        reviews = HttpTokenReviews(api.url)
        reviewer = a_reviewer(reviews, SystemClock(), timeout=2.0)  # the last one gets no answer
        await reviewer.caller("canary-good", peer=PEER, expires_at=None)
        for number, (code, answers) in enumerate(((201, True), (500, True), (201, False))):
            api.code, api.answers = code, answers
            with pytest.raises(AuthenticationError) as caught:
                await reviewer.caller(f"canary-{number}", peer=PEER, expires_at=None)
            error: BaseException | None = caught.value
            while error is not None:
                said.append(repr((error, error.args)))
                error = error.__cause__
        await reviews.close()
    assert len(said) >= 3
    assert caplog.text
    assert "canary" not in caplog.text + "".join(said)


@pytest.mark.proves("AU-32")
async def test_a_burst_of_one_node_is_one_review() -> None:
    async with token_review_api(t=a_status()) as api:
        reviews = HttpTokenReviews(api.url)
        reviewer = a_reviewer(reviews, SystemClock())
        asking = (reviewer.caller("t", peer=PEER, expires_at=None) for _ in range(100))
        assert len({each.pod_uid for each in await asyncio.gather(*asking)}) == 1
        await reviews.close()
        assert len(api.asked) == 1

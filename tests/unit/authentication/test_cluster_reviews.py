import json

import pytest

from controlplane.authentication.cluster_reviews import ClusterTokenReviews
from controlplane.authentication.review import ReviewError, TokenReviews
from controlplane.cluster.client import Answer
from controlplane.cluster.errors import ClusterUnavailableError
from tests.support.authentication import a_status
from tests.support.cluster_memory import ClusterMemory, a_refusal


async def test_a_review_names_the_token_and_our_audiences() -> None:
    cluster = ClusterMemory()
    cluster.fail("POST", Answer(201, json.dumps({"status": a_status()}).encode()))
    reviews: TokenReviews = ClusterTokenReviews(cluster)
    assert await reviews.review("t", ["b", "a"]) == a_status()
    (asked,) = cluster.asked
    assert asked.path == "/apis/authentication.k8s.io/v1/tokenreviews"
    assert asked.body is not None
    assert json.loads(asked.body)["spec"] == {"token": "t", "audiences": ["a", "b"]}


@pytest.mark.proves("AU-36")
@pytest.mark.parametrize(
    "fault",
    [
        ClusterUnavailableError("token=secret-token"),
        a_refusal(403, "Forbidden", message="secret-token"),
        Answer(201, b"secret-token"),
        Answer(201, b'{"status": "secret-token"}'),
    ],
)
async def test_no_answer_is_a_failure_without_the_token(fault: Answer | Exception) -> None:
    cluster = ClusterMemory()
    cluster.fail("POST", fault)
    with pytest.raises(ReviewError) as caught:
        await ClusterTokenReviews(cluster).review("secret-token", ["a"])
    assert "secret-token" not in str(caught.value)
    assert caught.value.__cause__ is None

"""The cluster of a caller."""

import pytest

from controlplane.authentication.clusters import Clusters, claimed_cluster
from controlplane.authentication.errors import (
    MalformedCredentialsError,
    Reason,
    UnauthenticatedError,
)

CLUSTERS = Clusters(primary="one", others=frozenset({"two"}), aliases={"uno": "one", "due": "two"})


@pytest.mark.proves("AU-10")
@pytest.mark.parametrize(
    ("claimed", "cluster"),
    [("", "one"), ("one", "one"), ("uno", "one"), ("two", "two"), ("due", "two")],
)
def test_clusters_are_known_by_id_and_alias(claimed: str, cluster: str) -> None:
    assert CLUSTERS.resolve(claimed) == cluster


@pytest.mark.proves("AU-12")
@pytest.mark.refutes("AU-10")
@pytest.mark.parametrize("claimed", ["three", "One", "one ", "tre"])
def test_other_clusters_are_not_known(claimed: str) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        CLUSTERS.resolve(claimed)
    assert caught.value.reason is Reason.UNKNOWN_CLUSTER


@pytest.mark.proves("AU-10")
def test_a_request_may_say_nothing_or_one_thing() -> None:
    assert claimed_cluster({}) == ""
    assert claimed_cluster({"clusterid": ("",)}) == ""
    assert claimed_cluster({"clusterid": ("two",)}) == "two"
    assert claimed_cluster({"clusterid": "two"}) == "two"


@pytest.mark.proves("AU-11")
def test_a_request_may_not_say_two_things() -> None:
    with pytest.raises(MalformedCredentialsError) as caught:
        claimed_cluster({"clusterid": ("one", "one")})
    assert caught.value.reason is Reason.SEVERAL_CLUSTERS

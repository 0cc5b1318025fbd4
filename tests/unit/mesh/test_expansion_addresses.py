from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.mesh.expansion_addresses import (
    pod_suffix,
    preferred,
    range_from_text,
    template_hash,
)

NAMES = st.text(min_size=1, max_size=20)


@pytest.mark.proves("EX-1")
@pytest.mark.refutes("EX-1")
@given(NAMES, st.sampled_from(["10.0.0.0/30", "10.244.0.0/16", "2001:2::/48", "fd00::/126"]))
def test_an_address_is_inside_the_range_and_not_at_its_ends(name: str, text: str) -> None:
    address = ip_address(range_from_text(text).address(name))
    network = ip_network(text)
    assert address in network
    assert address not in {network.network_address, network.broadcast_address}


@pytest.mark.proves("EX-1")
def test_the_same_name_leads_to_the_same_address_everywhere() -> None:
    assert range_from_text("10.244.0.0/16").address("default/pod") == bytes([10, 244, 139, 64])
    assert range_from_text("10.0.0.7/32").address("anything") == bytes([10, 0, 0, 7])


def test_a_range_is_a_cidr() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        range_from_text("nonsense")


def test_suffixes_of_one_owner_differ() -> None:
    suffixes = {pod_suffix("owner", position) for position in range(20_000)}
    assert len(suffixes) == 20_000
    assert all(len(suffix) == 5 for suffix in suffixes)


def test_template_hashes_follow_from_content() -> None:
    assert template_hash(b"a") == template_hash(b"a") != template_hash(b"b")
    assert len(template_hash(b"a")) == 10


@given(st.lists(NAMES, min_size=2, max_size=6, unique=True), NAMES)
def test_taking_another_name_away_changes_no_preference(names: list[str], subject: str) -> None:
    chosen = preferred(tuple(names), subject)
    for name in names:
        if name != chosen:
            left = tuple(other for other in names if other != name)
            assert preferred(left, subject) == chosen

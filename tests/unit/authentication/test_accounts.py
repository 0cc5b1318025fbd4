"""The list of trusted node accounts."""

import pytest

from controlplane.authentication.accounts import read_accounts
from controlplane.model.names import Name


@pytest.mark.proves("NA-2")
def test_accounts_are_separated_by_commas() -> None:
    read = read_accounts("istio-system/ztunnel, kube-system/node.proxy,,istio-system/ztunnel")
    assert read.accounts == {Name("istio-system", "ztunnel"), Name("kube-system", "node.proxy")}
    assert read.malformed == ()


@pytest.mark.refutes("NA-2")
@pytest.mark.parametrize(
    "entry",
    ["ztunnel", "a/b/c", "/b", "a/", "A/b", "a/*", "a.b/c", "a/b\n/", f"{'a' * 64}/b"],
)
def test_entries_that_name_no_account_are_left_out_and_told(entry: str) -> None:
    read = read_accounts(f"{entry},istio-system/ztunnel")
    assert read.accounts == {Name("istio-system", "ztunnel")}
    assert read.malformed == (entry,)


@pytest.mark.proves("NA-2")
def test_an_empty_list_trusts_nobody() -> None:
    assert read_accounts("  ").accounts == frozenset()

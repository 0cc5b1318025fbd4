from collections.abc import Callable
from typing import Any

import grpc
import pytest

from controlplane.xds.tls import HotCertificate
from tests.integration.test_xds_server import a_certificate


@pytest.fixture
def fetchers(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    """Collects what gRPC is given to ask at every handshake."""
    given: list[Callable[[], Any]] = []
    monkeypatch.setattr(
        grpc, "dynamic_ssl_server_credentials", lambda _, fetcher: given.append(fetcher)
    )
    return given


def test_an_unchanged_certificate_is_not_handed_over_again(
    fetchers: list[Callable[[], Any]],
) -> None:
    pair = a_certificate()
    HotCertificate(pair.chain, pair.key).credentials()
    assert [fetchers[0]() for _ in range(3)] == [None, None, None]


def test_a_replaced_certificate_is_handed_over_once_to_each_port(
    fetchers: list[Callable[[], Any]],
) -> None:
    old, new = a_certificate("old"), a_certificate("new")
    certificate = HotCertificate(old.chain, old.key)
    certificate.credentials()
    certificate.credentials()
    certificate.replace(new.chain, new.key)
    for fetcher in fetchers:
        assert fetcher() is not None
        assert fetcher() is None

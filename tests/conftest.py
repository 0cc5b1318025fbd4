"""What suites of several kinds share: the real API server, and how properties are searched."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import kubernetes_server

# How long an example takes says something about the machine, nothing about the property.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

_TESTS = Path(__file__).parent

# Whole processes, real Envoys, searches of many examples: a busy machine takes its time for them.
# What hangs still ends, and tests that need longer say so themselves.
_SECONDS = {"e2e": 60, "integration": 60, "fuzz": 120, "property": 120}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the suites of some folders longer than a unit test may take."""
    for item in items:
        for folder, seconds in _SECONDS.items():
            is_there = item.path.is_relative_to(_TESTS / folder)
            if is_there and item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(seconds))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test with the marker where there is no real API server, all in one line."""
    if item.get_closest_marker("kube") is not None:
        asked_for = "kube" in str(item.config.getoption("markexpr"))
        reason = kubernetes_server.why_there_is_none(is_asked_for=asked_for)
        if reason:
            pytest.skip(reason)


@pytest.fixture(scope="session")
def real_kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the kubeconfig of a real API server, one for all tests that have the marker."""
    with kubernetes_server.real_kubeconfig(tmp_path_factory.mktemp("kubernetes")) as path:
        yield path

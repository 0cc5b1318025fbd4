"""What end-to-end tests share: they run whole meshes, for which a busy machine takes its time."""

import pytest

_SECONDS = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each of them longer than a unit test may take, unless it says how long itself."""
    for item in items:
        if "e2e" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_SECONDS))

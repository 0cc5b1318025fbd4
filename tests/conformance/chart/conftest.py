import pytest

from tests.support.chart import helm as helm_program


@pytest.fixture
def helm() -> str:
    """The helm to run; where there is none, only what is kept is looked at."""
    found = helm_program()
    if found is None:
        pytest.skip("helm is not installed: the chart is not rendered, kept manifests are checked")
    return found

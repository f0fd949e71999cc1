import pytest


@pytest.fixture(scope="module", autouse=True)
def _offline():
    """An engine that is told to be offline says so to the whole process, in which other tests run later."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield

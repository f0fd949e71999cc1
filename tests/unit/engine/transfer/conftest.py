import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The tiny model's folder."""
    pytest.importorskip("torch", reason="the diffusers engine's libraries are an extra")
    pytest.importorskip("diffusers", reason="the diffusers engine's libraries are an extra")
    import tiny_model  # noqa: PLC0415 - only where torch is

    return tiny_model.build(tmp_path_factory.mktemp("tiny"))

"""What holds of the tests themselves."""

from support.deferred import COLLECTED


def test_collecting_imports_no_torch(pytestconfig):
    """Each process of the suite would do so, for seconds: see support/deferred.py."""
    assert not {"torch", "torchvision", "diffusers", "transformers"} & pytestconfig.stash[COLLECTED]

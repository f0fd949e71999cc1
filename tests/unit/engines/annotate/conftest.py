from pathlib import Path

import pytest
from support.clips import make_clip

from povwatch.media.info import Prepared


@pytest.fixture
def annotators(tiny, monkeypatch):
    """The tiny models are where the real ones would be."""
    from support import tiny_model  # noqa: F401, PLC0415 - makes torchvision importable; not every test here has torch

    monkeypatch.setenv("HF_HOME", str(tiny.parent / "annotators"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """Makes a working copy in the current folder, which is the test's own."""
    monkeypatch.chdir(tmp_path)

    def clip(frames=5, size=(64, 48), **more):
        make_clip(Path("working.mp4"), frames=frames, size=size, **more)
        shape = {"frames": frames, "width": size[0], "height": size[1], "pad": (0, 0, 0, 0)}
        rate = {"fps_num": 30, "fps_den": 1, "rate": "30/1", "constant": True}
        return Prepared("working.mp4", **shape, **rate, copied=True, times="times", time_base="1/30")

    return clip


@pytest.fixture
def one_thread():
    """torch computes in one thread: tiny sums take longer in several."""
    import torch  # noqa: PLC0415 - not every test here has it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

"""Model files that somebody else may change are not loaded. For pickles see unit/engines/transfer/test_weights.py."""

from __future__ import annotations

import os

import pytest

from povwatch.engines import trust
from povwatch.engines.needs import VAE
from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer import weights
from povwatch.engines.upstream import facts
from povwatch.engines.upstream.settings import Settings


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "model" / "a.safetensors"
    made.parent.mkdir(mode=0o755)
    made.write_bytes(b"x")
    return made


def refused(file):
    with pytest.raises(EngineFailure) as caught:
        trust.check_owners([file])
    assert caught.value.kind == "invalid"
    return f"{caught.value.message} {caught.value.todo}"


def test_own_files_and_links_are_taken(file, tmp_path):
    """Our own model files are taken, and a link to one."""
    trust.check_owners([file])
    (tmp_path / "link").symlink_to(file)
    trust.check_owners([tmp_path / "link"])


def test_world_writable_is_refused(file):
    """A file that everybody may write, or in such a folder, is refused."""
    file.chmod(0o666)
    assert f"Everybody may write to {file}" in refused(file)
    file.chmod(0o644)
    file.parent.chmod(0o777)
    assert f"Everybody may write to {file.parent}" in refused(file)


@pytest.mark.skipif(os.getuid() != 0, reason="makes files of another user, which takes root")
def test_foreign_files_are_refused(file, tmp_path):
    """A file, or its folder, that belongs to another user is refused with the command that helps."""
    os.chown(file, 65534, 65534)
    (tmp_path / "link").symlink_to(file)
    said = refused(tmp_path / "link")
    assert "belongs to the user nobody" in said
    assert f"chown root {file}" in said
    os.chown(file, 54321, 54321)
    assert "unknown here (54321)" in refused(file)
    os.chown(file, 0, 0)
    os.chown(file.parent, 65534, 65534)
    assert f"{file.parent}, of the model, belongs to" in refused(file)


def test_every_loaded_file_is_checked(tmp_path, monkeypatch):
    """Both real engines check the owner of every file that they load."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    folder = tmp_path / "hub" / f"models--{VAE.repository.replace('/', '--')}" / "snapshots" / VAE.revision
    folder.mkdir(parents=True)
    (folder / "tokenizer.pth").write_bytes(b"x")
    settings = Settings.parse({"controls": ["edge"], "output_dir": str(tmp_path / "out")})
    assert [present.path for present in facts.present(settings)] == [folder / "tokenizer.pth"]

    part = tmp_path / "part"
    part.mkdir()
    (part / "config.json").write_text("{}")
    (part / "a.safetensors").write_bytes(b"x")
    (part / "a.safetensors").chmod(0o666)
    model = weights.Files(tmp_path / "base", {"edge": part}, {})
    monkeypatch.setattr(weights, "COMPONENTS", ())
    with pytest.raises(EngineFailure, match="Everybody may write"):
        weights.check_owners(model)

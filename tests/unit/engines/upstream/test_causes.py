import subprocess
import sys

import pytest
from support.cosmos_jobs import job

from povwatch.engines.port import Context, EngineFailure
from povwatch.engines.upstream import causes, downloads
from povwatch.engines.upstream.gate import Alone
from povwatch.engines.upstream.progress import Meter


class OutOfMemoryError(RuntimeError):
    pass


class GatedRepoError(Exception):
    pass


class LocalEntryNotFoundError(Exception):
    pass


class RepositoryNotFoundError(Exception):
    repo_id = "nvidia/Cosmos-Reason1-7B"


def at(*, chunks=0, done=0):
    """A meter in a chunk, or after the last one."""
    meter = Meter(Context("/w", "/c"), Alone(), 2, 2)
    if chunks:
        meter.planned(chunks)
        for _ in range(done):
            meter.chunk_begins()
            meter.chunk_ends()
            meter.decoded()
        if done < chunks:
            meter.chunk_begins()
    return meter


def of_job(error, meter=None, **spec):
    return causes.of_job(error, job("/c.mp4", **spec), meter or at())


@pytest.mark.parametrize(
    ("error", "spec", "kind", "words"),
    [
        (IndexError("list index out of range"), {"seg": {}}, "invalid", "the first 128 words of the prompt"),
        (IndexError("list index out of range"), {"seg": {"control_prompt": "cup"}}, "invalid", "nothing like 'cup'"),
        (TypeError("'NoneType' object is not subscriptable"), {"depth": {}}, "error", "depth could not be computed"),
        (KeyError("721"), {"resolution": "721"}, "invalid", "resolution is '721'"),
        (AssertionError("... by state_t."), {"num_video_frames_per_chunk": 8}, "invalid", "per_chunk is 8"),
        (ValueError("No input frames; cannot pad."), {}, "invalid", "shorter than the clip"),
    ],
)
def test_bare_exceptions_get_words(error, spec, kind, words):
    """Upstream's bare exceptions become a kind, a sentence and advice."""
    found = of_job(error, **spec)
    assert (found.kind, words in found.message, bool(found.todo)) == (kind, True, True)


@pytest.mark.parametrize(
    ("error", "spec"),
    [
        (IndexError("x"), {}),
        (IndexError("x"), {"seg": {"control_path": "/s.mp4"}}),
        (TypeError("'NoneType' object is not subscriptable"), {}),
        (KeyError("video"), {}),
        (AssertionError("shapes differ"), {}),
        (ValueError("no such thing"), {}),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), {}),
    ],
)
def test_unknown_exception_goes_on(error, spec):
    assert of_job(error, **spec) is None


def test_out_of_memory_says_where():
    """Out of memory says in which chunk and stage, and advice fits the end."""
    error = OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
    assert "before chunk 1 (read)" in of_job(error).message
    assert "in chunk 2 of 3 (encode)" in of_job(error, at(chunks=3, done=1)).message
    at_the_end = of_job(error, at(chunks=3, done=3))
    assert ("at the very end" in at_the_end.message, "keep_input_resolution" in at_the_end.todo) == (True, True)
    assert "at the very end" not in of_job(error, at(chunks=3, done=3), keep_input_resolution=False).message


def test_out_of_memory_behind_another_error():
    """Out of memory is known behind another error that it caused."""
    error = RuntimeError("failed")
    error.__cause__ = OutOfMemoryError("CUDA out of memory.")
    assert of_job(error).kind == "out-of-memory"


@pytest.mark.parametrize(
    ("error", "message", "todo"),
    [
        (
            GatedRepoError("403 Client Error. Cannot access gated repo for url https://huggingface.co/nvidia/Guard1/x"),
            "nvidia/Guard1 is gated",
            "Accept the licence",
        ),
        (
            LocalEntryNotFoundError("Cannot find the requested files in the disk cache for nvidia/Predict-2B and"),
            "nvidia/Predict-2B is not on this machine",
            "povwatch prefetch",
        ),
        (RepositoryNotFoundError("404"), "nvidia/Cosmos-Reason1-7B could not be fetched", "povwatch prefetch"),
        (GatedRepoError("403"), "A model file is gated", "povwatch prefetch"),
        (ModuleNotFoundError("x", name="cosmos_oss"), "The engine's interpreter has no cosmos_oss.", "script/cosmos"),
        (
            ModuleNotFoundError("x", name="cosmos_oss.init"),
            "This version of Cosmos-Transfer2.5 has no",
            "script/cosmos",
        ),
        (FileNotFoundError(2, "No such file", "uvx"), "uvx, which is not on", "script/cosmos"),
        (
            RuntimeError("PytorchStreamReader failed reading zip archive"),
            "damaged or was cut short",
            "povwatch prefetch",
        ),
        (
            RuntimeError("Error(s) in loading state_dict for Net:\n\tsize mismatch for x: copying [4]\n\tmore"),
            "of another model: Error(s) in loading state_dict for Net: size mismatch for x: copying [4]",
            "verifies every model file",
        ),
    ],
)
def test_load_that_fails(error, message, todo):
    """A failed load names the model, file or package and what to do."""
    wrapped = RuntimeError("loading failed")
    wrapped.__cause__ = error
    found = causes.of_load(wrapped)
    assert (message in found.message, todo in found.todo) == (True, True), found


def test_repository_behind_another_error():
    """Where a file is missing in a repository that is there, only the error behind it has the address."""
    error = LocalEntryNotFoundError("we cannot find the requested files in the local cache.")
    error.__cause__ = RuntimeError("Cannot reach https://huggingface.co/facebook/sam2/resolve/main/sam2.pt: offline")
    assert downloads.cause(error).message.startswith("facebook/sam2 is not on this machine")


def test_our_own_word_stands():
    """A failure that we raised ourselves stays as it is."""
    failure = EngineFailure("gpu-busy", "held")
    assert causes.of_load(failure) is failure


@pytest.mark.parametrize("error", [RuntimeError("x"), OSError(5, "x")])
def test_unknown_load_failure_goes_on(error):
    error.__context__ = ModuleNotFoundError("x", name="flash_attn")  # which upstream did without
    assert causes.of_load(error) is None


def test_misfits():
    """A weight that upstream left out, since it has another shape, fails the load; a checkpoint without one passes."""
    causes.check_shapes(["])"])
    with pytest.raises(EngineFailure, match=r"'net\.a', \(3, 5\), \(64, 72\)\. Run .* prefetch"):
        causes.check_shapes(["])", "('net.a', (3, 5), (64, 72)), ('net.b', (1,), (2,))])"])


def test_missing_package():
    """A package that upstream cannot do without is named."""
    found = causes.of_load(ModuleNotFoundError("x", name="xattr"))
    assert "has no xattr" in found.message
    assert "script/cosmos" in found.todo


def command(*operands, code):
    return subprocess.CalledProcessError(1, [sys.executable, "-c", code, "download", *operands])


def test_failed_download_is_asked_once_more():
    """A failed download is tried once more to hear its reason."""
    error = command(
        "nvidia/X", "--repo-type", "model", "--revision", "abc", "a/b.pt", code="raise SystemExit('401 Unauthorized')"
    )
    found = downloads.cause(error)
    assert found.message == "nvidia/X (a/b.pt) is gated, and access was refused: 401 Unauthorized"


def test_whole_repository_that_now_works():
    """A download that works the second time still has its failure told."""
    found = downloads.cause(command("nvidia/X", "--include", "*", code=""))
    assert found.message == "nvidia/X could not be fetched: exit status 1; the log has its words"


def test_other_commands_are_ignored():
    """A failed command that is no download has no cause."""
    assert downloads.cause(subprocess.CalledProcessError(1, ["ffmpeg"])) is None

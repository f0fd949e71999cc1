"""Compiling is for speed alone: where it fails, the same result comes out without."""

import os

import pytest
from support import tiny_needs
from support.deferred import Deferred
from support.forked_ranks import run_together

tiny_needs.skip_without()

torch = Deferred("torch")
compiling = Deferred("povwatch.engines.transfer.compiling")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """No variable of a cache, and nothing compiled, is left behind."""
    for name in compiling.CACHES:
        monkeypatch.setenv(name, "")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def function(x):
    return x * 2 + 1


def broken(monkeypatch, problem):
    """torch.compile, with a compiler that fails."""
    real = torch.compile

    def backend(_graph, _inputs):
        raise problem

    monkeypatch.setattr("torch.compile", lambda function: real(function, backend=backend))


@pytest.mark.parametrize(
    "problem",
    [
        lambda: RuntimeError("Failed to find C compiler"),
        lambda: torch.OutOfMemoryError("out of memory"),
        lambda: OSError(28, "full"),
    ],
)
def test_failure_costs_speed_alone(monkeypatch, problem) -> None:
    """The result is right, the sentence says what happened and what to do, and nothing is compiled again."""
    problem = problem()
    broken(monkeypatch, problem)
    compiler = compiling.Compiler(None)
    call = compiler(function)
    assert torch.equal(call(torch.ones(3)), torch.full((3,), 3.0))
    assert not compiler.on
    [note] = compiler.notes
    assert note.startswith("Compiling failed, and steps take about an eighth longer without: ")
    assert str(problem).splitlines()[0] in note
    assert "apt install gcc" in note
    monkeypatch.setattr("torch.compile", lambda _: pytest.fail("it was compiled"))
    assert torch.equal(call(torch.zeros(4)), torch.ones(4))
    assert len(compiler.notes) == 1


def test_failure_of_one_leaves_another(monkeypatch) -> None:
    """Where one compiler fails, another one goes on; each says what its failure costs."""
    steps, norms = compiling.Compiler(None), compiling.Compiler(None, "decoding takes longer")
    broken(monkeypatch, RuntimeError("never"))
    norms(function)(torch.ones(2))
    assert norms.notes[0].startswith("Compiling failed, and decoding takes longer without: ")
    assert (steps.on, steps.notes) == (True, [])


def test_own_failure_is_not_the_compilers(monkeypatch) -> None:
    """An exception that the plain function raises, too, comes out."""
    broken(monkeypatch, RuntimeError("never"))
    compiler = compiling.Compiler(None)

    def fails(_x):
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        compiler(fails)(torch.ones(2))
    assert compiler.on


def test_progress_has_the_seconds_left(tmp_path) -> None:
    """The second start, which has a cache, expects fewer."""
    told = []
    for _ in range(2):
        compiler = compiling.Compiler(str(tmp_path))
        compiler.run([lambda: None] * 2, lambda stage, fraction: told.append((stage, fraction)))
    assert told == [
        ("compiling, about 20 s left", 0.0),
        ("compiling, about 10 s left", 0.5),
        ("compiling, about 6 s left", 0.0),
        ("compiling, about 3 s left", 0.5),
    ]


def test_cache_needs_no_processes(tmp_path) -> None:
    """With a cache the compiler starts no processes, whose start the load would have to wait for."""
    threads = []
    for _ in range(2):
        compiler = compiling.Compiler(str(tmp_path))
        compiler.run([lambda: threads.append(compiling.inductor.compile_threads)], lambda *_: None)
    assert threads == [compiling.inductor.compile_threads, 1]


def test_cache_is_below_the_folder(tmp_path) -> None:
    """Both compilers keep what they made there, and nobody else may read it."""
    folder = tmp_path / "compiled"
    assert compiling.Compiler(str(folder)).notes == []
    for name in compiling.CACHES:
        assert os.environ[name].startswith(f"{folder}/torch-{torch.__version__}/")
    assert folder.stat().st_mode & 0o077 == 0


def test_cache_of_another_version(tmp_path) -> None:
    """What another version of torch left is deleted, and a sentence says so."""
    (tmp_path / "torch-2.1.0").mkdir()
    (tmp_path / "torch-2.1.0" / "kernel.so").touch()
    tmp_path.chmod(0o700)
    assert compiling.Compiler(str(tmp_path)).notes == [
        "The compiler's cache of torch-2.1.0 was deleted, and is made anew."
    ]
    assert [path.name for path in tmp_path.iterdir()] == [f"torch-{torch.__version__}"]


@pytest.mark.parametrize("spoil", ["writable", "link", "file"])
def test_cache_for_others_is_not_used(tmp_path, spoil) -> None:
    """What is in it would be run."""
    folder = tmp_path / "compiled"
    if spoil == "writable":
        folder.mkdir()
        folder.chmod(0o777)
    elif spoil == "link":
        folder.symlink_to(tmp_path)
    else:
        folder.touch()
    compiler = compiling.Compiler(str(folder))
    assert len(compiler.notes) == 1
    assert str(folder) in compiler.notes[0]
    assert compiler.on
    assert not os.environ[compiling.CACHES[0]]


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's compiler itself uses it
def test_missing_c_compiler_is_named() -> None:
    """torch's own compiler, in a process of its own: without a C++ compiler the result comes out all the same."""
    run_together(1, compiles_without_compiler)


def compiles_without_compiler(_rank):
    torch._inductor.config.cpp.cxx = (None, "/no/such/compiler")  # what torch makes of CXX as it is imported
    compiler = compiling.Compiler(None)
    call = compiler(lambda x: x * 2 + 1)
    assert torch.equal(call(torch.ones(3)), torch.full((3,), 3.0))
    assert not compiler.on
    assert "No working C++ compiler" in str(compiler.notes)

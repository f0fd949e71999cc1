"""Several ranks together compute what one computes alone, in float32, but for rounding."""

import functools
import json

import pytest
from support import tiny_needs
from support.deferred import Deferred
from support.forked_ranks import run_together

tiny_needs.skip_without()

torch = Deferred("torch")
tiny_model = Deferred("support.tiny_model")
tiny_steps = Deferred("support.tiny_steps")
own_step = Deferred("povwatch.engines.transfer.step")
split = Deferred("povwatch.engines.transfer.split")

TOLERANCE = 1e-5
"""Relative error, |together - alone| / |alone|, in float32."""

SIZES = [(3, 8, 12), (2, 6, 10), (1, 4, 6), (2, 2, 2)]
"""Frames, height and width in latents: 24, 15, 6 and 1 tokens in a frame. Some ranks have more than others, or none."""

CASES = [(size, prompts, given) for size in SIZES for prompts, given in ((1, 0), (2, 0), (1, 1), (2, 1))]
"""Sizes; one prompt without guidance, two with it; given frames in later chunks, none in the first."""

HEADS = {"num_attention_heads": 4}


def test_weights_of_tokens_are_divided(tmp_path) -> None:
    """Two control nets, one of them with a weight for each token, as masks make them, and an odd number of tokens."""
    nets = (*tiny_steps.built(**HEADS), tiny_steps.built(1, **HEADS)[1])
    size, _, _ = case = ((2, 6, 10), 1, 1)
    tokens = (1, 1, size[0], size[1] // 2, size[2] // 2)
    weights = [0.4, torch.rand(tokens, generator=torch.Generator().manual_seed(3))]
    assert measured(2, tmp_path, nets, [case], weights=weights)[0] < TOLERANCE


@pytest.mark.parametrize("ranks", [2, 4])
def test_equals_one_rank(ranks, tmp_path) -> None:
    """Any number of ranks that divides the heads, and any number of tokens."""
    nets = tiny_steps.built(**HEADS)
    errors = measured(ranks, tmp_path, nets, CASES)
    assert len(errors) == len(CASES)
    assert max(errors) < TOLERANCE


def test_exchange_matters(tmp_path, monkeypatch) -> None:
    """Else the comparison above would not notice that ranks see their own tokens alone."""
    monkeypatch.setattr(split.Part, "attended", lambda _, q, k, v, attend: attend(q, k, v))
    assert measured(2, tmp_path, tiny_steps.built(**HEADS), CASES[:1])[0] > 1e-2


def test_compiled_as_it_is(tmp_path) -> None:
    """The exchange is one operator for the compiler, and no rank compiles more than another."""
    run_together(2, compiled, str(tmp_path / "meeting"), tiny_steps.built(**HEADS))


def test_exchange_that_fails_is_told(tmp_path) -> None:
    """GPUs whose exchange mixes numbers up are told of as they meet."""
    run_together(2, mixed_up, str(tmp_path / "meeting"))


def measured(ranks, folder, nets, cases, **asked):
    """The error of each case's velocities."""
    run_together(ranks, functools.partial(compare, **asked), ranks, folder, nets, cases)
    return json.loads((folder / "errors").read_text())


def met(rank, ranks, file):
    part = split.Part(rank, ranks, file)
    part.meet(torch.device("cpu"))
    return part


def compare(rank, ranks, folder, nets, cases, **more):
    """Write down the errors, in rank 0."""
    together = own_step.Step(nets[0], tiny_steps.plain, part=met(rank, ranks, str(folder / "meeting")))
    errors = []
    for size, prompts, given in cases:
        asked = {"size": size, "prompts": prompts, "given": given, **more}
        velocities = tiny_steps.velocities(together, *nets[1:], **asked)
        if rank == 0:
            alone = tiny_steps.velocities(own_step.Step(nets[0], tiny_steps.plain), *nets[1:], **asked)
            errors.append(max(map(tiny_steps.error, velocities, alone)))
    if rank == 0:
        (folder / "errors").write_text(json.dumps(errors))


def compiled(rank, file, nets):
    graphs = []

    def prepared(function):
        return torch.compile(function, backend=lambda graph, _: graphs.append(graph) or graph.forward, fullgraph=True)

    step = own_step.Step(nets[0], tiny_steps.plain, prepared, part=met(rank, 2, file))
    with torch.no_grad():
        for trial in step.trials((1, 16, 3, 6, 10), torch.randn(1, 7, tiny_model.LAYERS * tiny_model.HIDDEN)):
            trial()
    assert len(graphs) == 3
    asked = {"size": (3, 6, 10), "prompts": 2, "given": 1}
    ours = tiny_steps.velocities(step, nets[1], **asked)
    assert len(graphs) == 3
    if rank == 0:
        alone = tiny_steps.velocities(own_step.Step(nets[0], tiny_steps.plain), nets[1], **asked)
        assert tiny_steps.error(ours[0], alone[0]) < TOLERANCE


def mixed_up(rank, file):
    whole = split.dist.all_to_all_single

    def exchange(arriving, *arguments):
        whole(arriving, *arguments)
        arriving[:7] += 1

    split.dist.all_to_all_single = exchange
    with pytest.raises(split.EngineFailure, match="7 of 2001 numbers arrived wrong") as failure:
        met(rank, 2, file)
    assert "NCCL_P2P_DISABLE" in failure.value.todo

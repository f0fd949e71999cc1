"""Which seeds are tried, and which result is the best."""

from __future__ import annotations

import pytest

from povwatch.core.quality import Plan, Rule, Tries, Try, another, best, described, failed, passed, seed_of, verdict

EDGES = Rule("edge_f1", 0.6, at_least=True)
STEADY = Rule("temporal_residual", 2.0, at_least=False)


def tried(number, run=None, **scores):
    return Try(seed=number, run_id=run or f"r{number}", spec_hash="s", source_hash="c", scores=scores, attempt={"x": 1})


def tries(*over):
    return Tries(tuple(over))


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ({"edge_f1": 0.6, "temporal_residual": 2.0}, True),
        ({"edge_f1": 0.59, "temporal_residual": 1.0}, False),
        ({"edge_f1": 0.7, "temporal_residual": 2.1}, False),
        ({"edge_f1": 0.7}, True),
        ({"blur_ssim": 0.1}, None),
    ],
)
def test_passes(scores, wanted):
    """A score without a number is not judged."""
    assert passed(Plan((EDGES, STEADY), 3), scores) is wanted


def test_gate_tries_until_one_passes():
    plan = Plan((EDGES,), most=3)
    assert another(plan, tries(tried(0, edge_f1=0.3)))
    assert not another(plan, tries(tried(0, edge_f1=0.3), tried(1, edge_f1=0.7)))
    assert not another(plan, tries(*(tried(k, edge_f1=0.3) for k in range(3))))


def test_missing_score_starts_no_try():
    assert not another(Plan((EDGES,), most=3), tries(tried(0)))


def test_best_of_tries_all():
    plan = Plan((EDGES,), most=2, every=True)
    assert another(plan, tries(tried(0, edge_f1=1.0)))
    assert not another(plan, tries(tried(0, edge_f1=1.0), tried(1, edge_f1=1.0)))


def test_nothing_judged_is_one_try():
    assert not Plan().judges
    assert not another(Plan(), tries(tried(0, edge_f1=0.0)))


def test_ended_tries_stay_ended():
    assert not another(Plan((EDGES,), most=3), Tries((tried(0, edge_f1=0.1),), ended="a seed failed"))


def test_best_passes_the_most_rules():
    both, one = tried(0, edge_f1=0.59, temporal_residual=2.1), tried(1, edge_f1=0.4, temporal_residual=1.0)
    assert best(Plan((EDGES, STEADY), 2), [both, one]) is one


def test_best_by_the_scores_direction():
    low, high = tried(0, edge_f1=0.4, colour_drift=1.0), tried(1, edge_f1=0.5, colour_drift=9.0)
    assert best(Plan(most=2, every=True), [low, high]) is high
    assert best(Plan(most=2, every=True, by="colour_drift"), [high, low]) is low
    assert best(Plan((Rule("colour_drift", 0.5, at_least=False),), 2), [high, low]) is low


def test_best_has_a_number_or_is_first():
    assert best(Plan((EDGES,), 2), [tried(0, edge_f1=0.5), tried(1)]).seed == 0
    assert best(Plan(most=2, every=True), [tried(0), tried(1, edge_f1=0.0)]).seed == 1
    assert best(Plan(most=2, every=True), [tried(0, edge_f1=0.5), tried(1, edge_f1=0.5)]).seed == 0


def test_tries_in_the_journal():
    found = Tries((tried(0, edge_f1=0.5), tried(1)), ended="why")
    assert Tries.from_json(found.to_json()) == found
    assert found.run_ids == ["r0", "r1"]
    told = found.published(Plan((EDGES,), 2), "r0")
    assert (told.run_ids, told.passed, told.verdict) == ([], False, "edge_f1 0.500 is not at least 0.6")
    assert Tries.from_json(told.to_json()) == told
    for damaged in (None, "", "{", "[]", '{"over": [{"no": 1}], "ended": ""}'):
        assert Tries.from_json(damaged) == Tries()


def test_other_json_or_clip_begins_anew():
    found = tries(tried(0))
    assert found.of("s", "c") is found
    assert found.of("another", "c") == found.of("s", "another") == Tries()


def test_try_finished_twice_counts_once():
    again = tries(tried(0, edge_f1=0.1)).with_try(tried(0, edge_f1=0.2))
    assert [one.scores for one in again.over] == [{"edge_f1": 0.2}]


def test_seeds_follow_each_other():
    assert [seed_of(7, k) for k in range(3)] == [7, 8, 9]
    assert seed_of(2**63 - 1, 1) == 0


def test_verdicts_in_words():
    plan = Plan((EDGES,), 2)
    assert verdict(plan, tried(0, edge_f1=0.41)) == "edge_f1 0.410 is not at least 0.6"
    assert verdict(plan, tried(0, edge_f1=0.7)) == "passes, edge_f1 0.700"
    assert verdict(plan, tried(0)) == "has no edge_f1"
    assert [rule.words for rule in failed(plan, {"edge_f1": 0.1})] == ["edge_f1 at least 0.6"]


def test_manifest_has_all_figures():
    plan = Plan((EDGES,), 2)
    told = described(plan, tries(tried(0, edge_f1=0.3), tried(1, edge_f1=0.5)), "r1")
    assert (told["passed"], told["rules"], told["by"]) == (False, {"edge_f1": {"at_least": 0.6}}, "edge_f1")
    assert [(one["seed"], one["published"], one["scores"]) for one in told["tries"]] == [
        (0, False, {"edge_f1": 0.3}),
        (1, True, {"edge_f1": 0.5}),
    ]

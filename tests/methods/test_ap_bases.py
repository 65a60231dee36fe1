"""What AP wraps: every base, the base's rewinding, the controls, and the dead-neuron rates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autoprune.core.config import TrialConfig
from autoprune.core.errors import ConfigError, TaskError
from autoprune.core.records import Job
from autoprune.methods.base import METHODS, Parts, PlanRequest, complete
from autoprune.methods.plans import cycle_of, dense_run, init, prune_step, retrain
from autoprune.stages.base import Stage, closure
from autoprune.stages.prune import Rewind
from autoprune.testing.methods import TOP
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import check_fit, make_plan
from autoprune.trial.run import run_job
from tests.methods.support import TOTAL, assert_equal, job, labelled, of_kind, plan, state


def _wraps(name: str) -> bool:
    return METHODS.get(name).parts is not None and METHODS.get(name).kind == "weights"


BASES = [name for name in METHODS if _wraps(name)]
OTHERS = [name for name in METHODS if not _wraps(name)]


def parts_of(name: str) -> Parts:
    parts = METHODS.get(name).parts
    assert parts is not None
    return parts


def own_rewind(name: str) -> str:
    return parts_of(name).rewind(METHODS.get(name).params())


def request_of(job: Job) -> PlanRequest:
    params = METHODS.get(job.config.method).params(**job.config.params)
    return PlanRequest(
        config=job.config, params=params, epochs=job.epochs, top_epochs=TOP, seed=job.seed
    )


def keys(stages: tuple[Stage, ...], context: WorkerContext) -> list[str]:
    return [stage.key(context.keys) for stage in stages]


def test_the_bases_are_all_there() -> None:
    assert {"magnitude", "random", "imp", "snip"} <= set(BASES)
    assert {"rigl", "dropnet", "lrpet", "movement", "ap", "dense"} <= set(OTHERS)


@pytest.mark.parametrize("base", OTHERS)
def test_what_cannot_be_wrapped_is_refused_by_name(base: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        complete(TrialConfig(method="ap", params={"base": base}))
    assert refusal.value.place == "trial.ap.base"
    assert refusal.value.value == base
    assert "must score, prune and retrain" in str(refusal.value)
    assert all(name in refusal.value.remedy for name in BASES)


@pytest.mark.parametrize("variant", ["lite", "pro"])
@pytest.mark.parametrize("base", BASES)
def test_every_base_is_wrapped(base: str, variant: str, digits_context: WorkerContext) -> None:
    # .05 of the 50,200 and then of the 22,450 alive weights: 2,510 and 1,122 or 1,123 by rounding.
    trial = job("ap", base=base, variant=variant, rounds=2, share=0.05)
    found = run_job(trial, digits_context)
    assert found.error == ""
    assert found.status == "ok"
    assert round((1 - found.metrics["sparsity"]) * TOTAL) == TOTAL - round(0.8 * TOTAL)
    assert found.metrics["log/ap_removed"] == pytest.approx(1_122.5, abs=1)
    assert found.metrics["log/ap_left_to_base"] == 0
    last = plan(trial)[-1]
    scored = of_kind(last, "mask_rounds") or of_kind(last, "score")
    assert [s.score for s in scored] == [parts_of(base).score] * 2  # type: ignore[attr-defined]
    before = [s.parents[0] for s in scored]
    assert [s.label for s in before] == [  # type: ignore[attr-defined]
        "dense",
        "retrain/1" if variant == "lite" else "first/2",
    ]


def test_a_base_that_needs_gradients_gets_them_on_the_trained_weights(
    digits_context: WorkerContext,
) -> None:
    found = run_job(job("ap", base="snip", rounds=2, share=0.05), digits_context)
    assert found.metrics["log/score_passes"] == 2
    free = run_job(job("ap", rounds=2, share=0.05), digits_context)
    assert free.metrics["log/score_passes"] == 0
    assert found.mask_sha256 != free.mask_sha256


class Fussy:
    """A base with wishes of its own, as a plug-in may be."""

    @staticmethod
    def method() -> Any:
        def fits(info: Any, config: TrialConfig, params: Any) -> None:
            raise TaskError("the model", "must be fussy for method 'magnitude'")

        base = METHODS.get("magnitude")
        return replace(base, fits=fits, reaches=lambda params: (0.0, 0.6))


def test_a_base_s_own_limits_hold(
    monkeypatch: pytest.MonkeyPatch, digits_context: WorkerContext
) -> None:
    trial = job("ap", sparsity=0.7)
    monkeypatch.setitem(METHODS._loaded, "magnitude", Fussy.method())
    with pytest.raises(ConfigError, match=r"sparsity must lie in \[0, 0\.6\] for method 'ap'"):
        complete(trial.config)
    with pytest.raises(TaskError, match="must be fussy"):
        check_fit(trial.config, digits_context.task.info)


# --- without a share ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "rounds", "own"),
    [
        ("magnitude", 1, {}),
        ("random", 1, {}),
        ("imp", 3, {"rounds": 3}),
        ("lottery_ticket", 2, {"rounds": 2}),
        ("nnrelief", 2, {"rounds": 2}),
        ("lq_adaptive", 2, {"rounds": 2}),
    ],
)
def test_lite_without_a_share_is_the_base_to_the_bit(
    base: str, rounds: int, own: dict[str, Any], digits_context: WorkerContext
) -> None:
    # Card ap (f)4. The stages are the same, so a store trains none of them twice.
    wrapped = plan(job("ap", base=base, rounds=rounds, share=0.0))
    alone = plan(job(base, **own))
    assert keys(wrapped, digits_context) == keys(alone, digits_context)
    for one, other in zip(wrapped, alone, strict=True):
        mine, theirs = state(one, digits_context), state(other, digits_context)
        assert_equal(mine.weights, theirs.weights)
        assert_equal(mine.masks, theirs.masks)


@pytest.mark.parametrize("rewind", ["none", "init", "reinit", "step:0.1"])
def test_lite_rewinds_as_it_is_told(rewind: str, digits_context: WorkerContext) -> None:
    wrapped = plan(job("ap", rounds=2, share=0.0, rewind=rewind))
    alone = plan(job("imp", rounds=2, rewind=rewind))
    assert keys(wrapped, digits_context) == keys(alone, digits_context)
    with_share = plan(job("ap", rounds=2, share=0.05, rewind=rewind))[-1]
    first, second = of_kind(with_share, "activate")
    # Movement is counted from what the round trained from: the dense run from init, or, where
    # rounds go back to an early step, from there; round 2 from the rewound weights.
    start = first.parents[2]
    assert start.kind == ("train" if rewind == "step:0.1" else "init")
    assert start.label == ("dense" if rewind == "step:0.1" else "init")  # type: ignore[attr-defined]
    assert second.parents[2].kind == ("activate" if rewind == "none" else "rewind")
    assert second.parents[1].parents[0] is second.parents[2]


def test_the_share_at_zero_is_an_identity_by_computation(digits_context: WorkerContext) -> None:
    # Without the short cut: the stage itself, asked for no more than the base has done.
    (own,) = of_kind(plan(job("ap", rounds=1, share=0.05))[-1], "activate")
    masked = state(own.parents[0], digits_context)
    reached = 1 - sum(int(m.sum()) for m in masked.masks.values()) / TOTAL
    found = state(replace(own, sparsity=reached), digits_context)  # type: ignore[call-arg]
    assert found.log["ap_removed"] == 0
    assert_equal(found.weights, masked.weights)
    assert_equal(found.masks, masked.masks)


@pytest.mark.parametrize("rewind", ["none", "init"])
def test_pro_without_a_share_is_the_doubled_training_control(
    rewind: str, digits_context: WorkerContext
) -> None:
    # Built by hand: the base removes all of the budget; every round trains, prunes, goes back to
    # where it started, and trains again. S = .75 in two rounds is .5 and .75.
    trial = job("ap", rounds=2, share=0.0, variant="pro", sparsity=0.75, rewind=rewind)
    request, parts = request_of(trial), parts_of("magnitude")
    start = init(request)
    one = Rewind(parents=(prune_step(request, parts, dense_run(request), 0.5, 1), start))
    half = cycle_of(request, 1, 2, 0.5)
    first = retrain(request, one, length=1.5, cycle=half, label="retrain/1")
    again = first if rewind == "none" else Rewind(parents=(first, start))
    held = cycle_of(request, 2, 2, 0.5)
    trained = retrain(request, again, length=0.75, cycle=held, label="first/2")
    two = Rewind(parents=(prune_step(request, parts, trained, 0.75, 2), again))
    full = cycle_of(request, 2, 2, 0.75)
    second = retrain(request, two, length=0.75, cycle=full, label="retrain/2")
    found = plan(trial)
    assert keys(found, digits_context) == keys((first, second), digits_context)
    for mine, other in zip(found, (first, second), strict=True):
        assert_equal(state(mine, digits_context).weights, state(other, digits_context).weights)
        assert_equal(state(mine, digits_context).masks, state(other, digits_context).masks)


def test_the_control_trains_and_rewinds_as_pro_does() -> None:
    pro, control = (
        closure(plan(job("ap", rounds=3, share=share, variant="pro"))[-1]) for share in (0.05, 0.0)
    )
    trained = [[s.epochs for s in stages if s.epochs] for stages in (pro, control)]
    assert trained[0] == trained[1]
    kinds = [[s.kind for s in stages if s.kind != "activate"] for stages in (pro, control)]
    assert kinds[0] == kinds[1]
    assert sum(s.kind == "activate" for s in pro) == 3
    assert sum(s.kind == "activate" for s in control) == 0


# --- rewinding, steps, given weights --------------------------------------------------------


def test_a_base_s_own_rewinding_is_kept_and_can_be_replaced() -> None:
    assert own_rewind("imp") == "none"
    policy = own_rewind("lottery_ticket")
    assert policy.startswith("step:")
    ticket = plan(job("ap", base="lottery_ticket", rounds=2))[-1]
    back: list[Any] = [s.parents[1] for s in of_kind(ticket, "rewind")]
    assert [s.stop for s in back] == [float(policy.removeprefix("step:"))] * 2
    kept = plan(job("ap", base="lottery_ticket", rounds=2, rewind="none"))[-1]
    assert of_kind(kept, "rewind") == []


def test_pro_starts_each_round_from_the_rewound_weights() -> None:
    last = plan(job("ap", rounds=2, variant="pro", rewind="init"))[-1]
    (first,) = labelled(last, "first")
    (start,) = first.parents
    assert (start.kind, start.parents[0].label, start.parents[1].kind) == (
        "rewind",
        "retrain/1",
        "init",
    )
    own = of_kind(last, "activate")[1]
    assert own.parents[1:] == (first, start)
    assert last.parents[0].parents == (own, start)


def test_a_rewind_policy_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trial\.ap\.rewind must be none, init, reinit or step"):
        job("ap", rewind="dense")


@pytest.mark.parametrize("variant", ["lite", "pro"])
def test_given_weights_have_no_start(variant: str) -> None:
    trial = job("ap", rounds=2, share=0.05, variant=variant)
    last = make_plan(trial, TOP, pretrained=True)[-1]
    first, second = of_kind(last, "activate")
    assert len(first.parents) == 2
    assert len(second.parents) == 3
    assert of_kind(last, "init") == []
    assert len(of_kind(last, "rewind")) == (1 if variant == "pro" else 0)


def test_every_training_gets_ten_steps() -> None:
    least = METHODS.get("ap").min_steps
    params = METHODS.get("ap").params
    assert least(params(rounds=5)) == 50
    assert least(params(rounds=5, variant="pro")) == 100  # two trainings a round
    assert least(params(rounds=1, variant="pro")) == 10  # the first one is the dense run


# --- dead neurons ---------------------------------------------------------------------------

RATES = ("dnr_start", "dnr_end", "dnr_static", "dnr_dynamic", "dead_all")


@pytest.mark.parametrize("variant", ["lite", "pro"])
def test_measuring_changes_nothing_and_trains_nothing(
    variant: str, digits_context: WorkerContext
) -> None:
    given: dict[str, Any] = {"rounds": 2, "share": 0.05, "variant": variant}
    bare = run_job(job("ap", **given), digits_context)
    found = run_job(job("ap", **given, measure_dnr=True), digits_context)
    assert found.epochs_trained == 0
    assert found.mask_sha256 == bare.mask_sha256
    rates = {f"log/{name}" for name in RATES}
    assert {n: v for n, v in found.metrics.items() if n not in rates} == bare.metrics
    assert rates <= found.metrics.keys()
    for one, other in zip(
        plan(job("ap", **given)), plan(job("ap", **given, measure_dnr=True)), strict=True
    ):
        assert_equal(state(one, digits_context).weights, state(other, digits_context).weights)


def test_rates_are_those_of_the_round(digits_context: WorkerContext) -> None:
    found = run_job(job("ap", rounds=2, share=0.05, measure_dnr=True), digits_context)
    rounds = [*(r.metrics for r in found.rounds), found.metrics]
    assert len(rounds) == 2
    for metrics in rounds:
        rate = {name: metrics[f"log/{name}"] for name in RATES}
        # Card ap (f)8.
        assert 0.0 < rate["dead_all"] < rate["dnr_end"] < 1.0
        assert rate["dnr_static"] == rate["dnr_start"]
        assert rate["dnr_static"] + rate["dnr_dynamic"] == pytest.approx(rate["dnr_end"], abs=1e-12)
    assert rounds[0]["log/dnr_start"] != rounds[1]["log/dnr_start"]


def test_ap_wakes_neurons(digits_context: WorkerContext) -> None:
    # Card ap (f)10: right after pruning fewer units are dead than after the base alone, at equal
    # sparsity, from the same trained weights.
    rates = []
    for share in (0.0, 0.1):
        trial = job("ap", sparsity=0.7, rounds=1, share=share, measure_dnr=True)
        rates.append(run_job(trial, digits_context).metrics["log/dnr_start"])
    assert rates[1] < rates[0] - 0.01

"""Schedules that read the dense run's rates: card imp (c) and (f)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.config import parse
from autoprune.core.errors import ConfigError
from autoprune.stages.state import TrialState
from autoprune.stages.support import damage
from autoprune.training.lr.allr import AdaptiveRestart
from autoprune.training.lr.base import CycleInfo, Need
from autoprune.training.lr.clr import CyclicRestart
from autoprune.training.lr.ft import FineTuning
from autoprune.training.lr.linear import Linear
from autoprune.training.lr.llr import LinearRestart
from autoprune.training.lr.lrw import LRRewinding
from autoprune.training.lr.one_cycle import OneCycle
from autoprune.training.lr.slr import ScaledRestart

RENDA = [0.1] * 91 + [0.01] * 45 + [0.001] * 46  # card imp (d): drops at 91 and 136 of 182
LE = [0.1] * 80 + [0.01] * 40 + [0.001] * 40  # and at 80 and 120 of 160
WARMED = [0.0, 0.05, *LE]  # two steps of a warm-up of its own
RESTARTS = [ScaledRestart, CyclicRestart, LinearRestart, AdaptiveRestart]


def cycle(num_steps: int, dense: list[float] = LE, **changes: float) -> CycleInfo:
    """A cycle of so many steps, as long as the dense run for its length ratio."""
    ratio = num_steps / len(dense)
    info = CycleInfo(dense_curve=dense, length_ratio=ratio, num_steps=num_steps)
    return replace(info, **changes)


def rates(schedule, info):
    return [schedule(step / info.num_steps, info) for step in range(info.num_steps)]


def test_fine_tuning_keeps_the_last_rate_of_a_stepped_run():
    assert set(rates(FineTuning(), cycle(90, RENDA))) == {0.001}


def test_fine_tuning_takes_the_least_rate_after_the_dense_warm_up():
    assert set(rates(FineTuning(), cycle(20, WARMED))) == {0.001}


@pytest.mark.parametrize("num_steps", [1, 20, 46])
def test_rewinding_into_the_last_stage_is_fine_tuning(num_steps):
    info = cycle(num_steps, RENDA)
    assert rates(LRRewinding(), info) == rates(FineTuning(), info)


@given(num_steps=st.integers(1, 182))
def test_rewinding_ends_where_the_dense_run_ended(num_steps):
    assert rates(LRRewinding(), cycle(num_steps, RENDA))[-1] == RENDA[-1]


@pytest.mark.parametrize(
    ("num_steps", "dense", "warm", "first", "second"),
    [
        # W = 4, then 36 steps: (j - 4) 160/36 reaches 80 at j - 4 = 18 and 120 at 27.
        (40, LE, 4, 22, 31),
        # W = 18, then 164: 182/164 (j - 18) reaches 91 at j - 18 = 82, 136 at 123 (122.55).
        (182, RENDA, 18, 100, 141),
        # W = 1, then 16: 10 (j - 1) reaches 80 at j = 9 and 120 at j = 13.
        (17, LE, 1, 9, 13),
        # No warm-up below ten steps: 160/8 j reaches 80 at j = 4 and 120 at j = 6.
        (8, LE, 0, 4, 6),
    ],
)
def test_slr_plays_the_dense_schedule_at_another_speed(num_steps, dense, warm, first, second):
    got = rates(ScaledRestart(), cycle(num_steps, dense))
    assert set(got[warm:first]) == {0.1}
    assert set(got[first:second]) == {0.01}
    assert set(got[second:]) == {0.001}


def test_slr_fills_the_dense_warm_up_with_the_greatest_rate():
    # 162 steps: W = 16, then 146; the first two dense steps stand for the peak.
    got = rates(ScaledRestart(), cycle(162, WARMED))
    assert set(got[16:]) == {0.1, 0.01, 0.001}
    assert got[16:20] == [0.1] * 4
    assert got[16:] == sorted(got[16:], reverse=True)


@given(total=st.integers(1, 300), num_steps=st.integers(1, 300))
def test_slr_takes_the_step_of_whole_number_arithmetic(total, num_steps):
    dense = [float(total - step) for step in range(total)]
    warm = num_steps // 10
    got = rates(ScaledRestart(), cycle(num_steps, dense))
    assert got[warm:] == [
        dense[(step - warm) * total // (num_steps - warm)] for step in range(warm, num_steps)
    ]


def test_clr_at_its_boundaries():
    # n = 20, W = 2, R = 18. Step 1: half the peak. Step 11: the midpoint, (.1 + .001) / 2.
    # Step 19: .001 + .099 (1 - cos(pi / 18)) / 2 = .001 + .099 x .0075961235.
    got = rates(CyclicRestart(), cycle(20))
    assert got[:3] == pytest.approx([0.0, 0.05, 0.1], abs=1e-15)
    assert got[11] == pytest.approx(0.0505, rel=1e-12)
    assert got[19] == pytest.approx(0.00175201622, rel=1e-8)


def test_the_retraining_studys_own_clr_is_one_cycle():
    # Card imp (f) 7.
    schedule = OneCycle(peak=0.1, pct=0.1, div=100, final_div=100)
    got = rates(schedule, CycleInfo(num_steps=1000))
    assert [got[0], got[99], got[999]] == pytest.approx([0.001, 0.1, 1e-5], rel=1e-9)
    assert max(got) == got[99]


@pytest.mark.parametrize(
    ("num_steps", "warm", "half"),
    [(40, 4, 22), (20, 2, 11), (17, 1, 9), (18, 1, None), (8, 0, 4)],
)
def test_llr_at_its_boundaries(num_steps, warm, half):
    # The peak at W = n // 10, half of it half-way through the rest R, peak / R at the last step.
    got = rates(LinearRestart(), cycle(num_steps))
    assert got[warm] == max(got) == 0.1
    assert got.index(max(got)) == warm
    if half:
        assert got[half] == pytest.approx(0.05, rel=1e-12)
    assert got[-1] == pytest.approx(0.1 / (num_steps - warm), rel=1e-12)


def test_llr_is_linear_with_the_dense_peak():
    info = cycle(50)
    assert rates(LinearRestart(), info) == rates(Linear(peak=0.1, warmup=0.1), info)


@pytest.mark.parametrize("kind", RESTARTS)
def test_restarts_warm_up_along_a_cosine_for_a_tenth(kind):
    # n = 40: W = 4, so half the peak at step 2 and the peak first at step 4.
    info = cycle(40, norm_lost=0.4, round_share=0.5)
    got = rates(kind(), info)
    peak = max(got)
    assert got[0] == 0.0
    assert got[1] == pytest.approx(peak * (1 - math.cos(math.pi / 4)) / 2, rel=1e-12)
    assert got[2] == pytest.approx(peak / 2, rel=1e-12)
    assert got.index(peak) == 4


@pytest.mark.parametrize("kind", RESTARTS)
def test_a_warm_up_takes_whole_steps_and_may_be_left_out(kind):
    # .29 of 100 is 28.999... in floating point.
    assert (
        rates(kind(warmup=0.29), cycle(100)).index(max(rates(kind(warmup=0.29), cycle(100)))) == 29
    )
    assert rates(kind(), cycle(9))[0] == max(rates(kind(), cycle(9))) > 0
    assert rates(kind(warmup=0.0), cycle(100))[0] > 0


@pytest.mark.parametrize("kind", RESTARTS)
def test_without_a_number_of_steps_the_warm_up_is_a_share(kind):
    info = replace(cycle(100), num_steps=None)
    assert kind()(0.05, info) == pytest.approx(kind()(0.1, info) / 2, rel=1e-12)


ALLR = AdaptiveRestart()


def test_allr_by_hand():
    # d1 = .36 / sqrt(.36) = .6 beats d2 = 40/160; then .6 x .1. With .12 lost d1 = .2 does not.
    assert ALLR.peak(cycle(40, norm_lost=0.36, round_share=0.36)) == pytest.approx(0.06)
    assert ALLR.peak(cycle(40, norm_lost=0.12, round_share=0.36)) == pytest.approx(0.025)
    # W = 4, R = 36: the last step has the peak over 36.
    got = rates(ALLR, cycle(40, norm_lost=0.36, round_share=0.36))
    assert got[4] == pytest.approx(0.06)
    assert got[39] == pytest.approx(0.06 / 36)


def test_allr_takes_the_share_that_was_measured_where_there_is_one():
    info = cycle(16, norm_lost=0.3, round_share=0.81, share_lost=0.25)
    assert ALLR.peak(info) == pytest.approx(0.06)  # .3 / .5
    assert ALLR.peak(replace(info, share_lost=None)) == pytest.approx(0.1 / 3)  # .3 / .9


@given(
    lost=st.floats(0, 1),
    share=st.floats(0, 0.999),
    ratio=st.floats(0.001, 3),
    variant=st.sampled_from(["final", "v2", "lcn"]),
    index=st.integers(1, 5),
)
def test_allr_stays_between_the_length_ratio_and_the_dense_peak(lost, share, ratio, variant, index):
    info = CycleInfo(
        index=index,
        count=5,
        norm_lost=lost,
        share_lost=share,
        length_ratio=ratio,
        dense_curve=LE,
    )
    peak = AdaptiveRestart(variant=variant).peak(info)
    assert 0.1 * min(ratio, 1) * (1 - 1e-12) <= peak <= 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {"length_ratio": 1.0},
        {"length_ratio": 2.5, "norm_lost": 0.1, "round_share": 0.5},
        # All weights equally large: the share of the squared norm is that of the weights.
        {"norm_lost": math.sqrt(0.7), "round_share": 0.7},
    ],
)
def test_allr_is_llr_at_full_length_or_full_damage(changes):
    info = cycle(40, **changes)
    assert rates(ALLR, info) == pytest.approx(rates(LinearRestart(), info), rel=1e-12)


def test_allr_after_harmless_pruning_is_the_length_ratio():
    assert ALLR.peak(cycle(40, norm_lost=0.0, round_share=0.5)) == pytest.approx(0.025)
    assert ALLR.peak(cycle(40, norm_lost=0.0, round_share=0.0)) == pytest.approx(0.025)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.2, 0.1456), (0.5, 0.3777), (0.7, 0.5564), (0.8, 0.6616), (0.9, 0.7893), (0.98, 0.9346)],
)
@pytest.mark.parametrize("scale", [1.0, 250.0])
def test_allr_on_gaussian_weights(share, expected, scale):
    # Card imp (f) 4, on the quantiles of a normal distribution: pruned by magnitude.
    quantiles = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    weights = (scale * math.sqrt(2) * torch.erfinv(2 * quantiles - 1)).reshape(100, 1000)
    order = weights.abs().flatten().argsort(descending=True)
    mask = torch.zeros(weights.numel(), dtype=torch.bool)
    mask[order[: round((1 - share) * weights.numel())]] = True
    mask = mask.reshape(weights.shape)
    taken = damage(TrialState({"w": weights}), TrialState({"w": weights * mask}, {"w": mask}))
    info = CycleInfo(length_ratio=0.01, dense_curve=LE, **taken)
    # Four digits in the card, and the grid's own error is of their size.
    assert ALLR.peak(info) / 0.1 == pytest.approx(expected, abs=2e-4)


def test_the_earlier_variants_of_allr():
    # Cycle k of 4 with d1 = .2 and cycles of a tenth of the dense run.
    infos = [
        CycleInfo(
            index=k, count=4, norm_lost=0.1, share_lost=0.25, length_ratio=0.1, dense_curve=LE
        )
        for k in range(1, 5)
    ]

    def peaks(variant):
        return [AdaptiveRestart(variant=variant).peak(info) for info in infos]

    assert peaks("final") == pytest.approx([0.02] * 4)
    assert peaks("v2") == pytest.approx([0.1, 0.1, 0.1, 0.02])
    # All cycles left: .4, .3, .2 of the dense run; in the last, d1 = .2 beats .1.
    assert peaks("lcn") == pytest.approx([0.04, 0.03, 0.02, 0.02])


@pytest.mark.parametrize("kind", [FineTuning, LRRewinding, *RESTARTS])
def test_without_a_dense_run_they_say_why(kind):
    assert Need.DENSE_CURVE in kind.needs
    with pytest.raises(ConfigError, match="pretrained weights") as caught:
        kind()(0.0, CycleInfo())
    assert caught.value.remedy


@pytest.mark.parametrize("kind", RESTARTS)
def test_a_warm_up_of_most_of_the_cycle_is_refused(kind):
    with pytest.raises(ConfigError) as caught:
        parse(kind, {"warmup": 0.6}, "lr.any")
    assert caught.value.place == "lr.any.warmup"

"""Schedules with a peak of their own: boundary steps, and the rules of cards silo and imp."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.config import parse
from autoprune.core.errors import ConfigError
from autoprune.training.lr.base import CycleInfo
from autoprune.training.lr.cosine import Cosine
from autoprune.training.lr.cyclical import Cyclical
from autoprune.training.lr.fixed_peak import FixedPeak
from autoprune.training.lr.linear import Linear
from autoprune.training.lr.one_cycle import OneCycle
from autoprune.training.lr.silo import PRESETS, Silo
from autoprune.training.lr.warmup import Warmup


def rates(schedule, num_steps, **changes):
    info = CycleInfo(num_steps=num_steps, **changes)
    return [schedule(step / num_steps, info) for step in range(num_steps)]


def test_cyclical_is_a_triangle():
    # n = 8: half-way is step 4; a quarter of the way is half-way up.
    got = rates(Cyclical(peak=0.5, low=0.1), 8)
    assert got == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.3, 0.2])


def test_cyclical_repeats_its_triangle():
    # Three triangles of 4 steps each: low, half, peak, half.
    got = rates(Cyclical(peak=0.3, low=0.1, periods=3), 12)
    assert got == pytest.approx([0.1, 0.2, 0.3, 0.2] * 3)


@given(
    step=st.integers(0, 199),
    half=st.sampled_from([5, 10, 20, 25, 50, 100]),
    low=st.floats(0, 0.05),
)
def test_cyclical_is_the_papers_triangular_policy(step, half, low):
    # Card silo (c): low + (peak - low) max(0, 1 - |t/s - 2 floor(1 + t/(2s)) + 1|).
    place = abs(step / half - 2 * math.floor(1 + step / (2 * half)) + 1)
    expected = low + (0.1 - low) * max(0.0, 1 - place)
    schedule = Cyclical(peak=0.1, low=low, periods=100 // half)
    assert schedule(step / 200, CycleInfo()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("low", [0.1, 0.2])
def test_cyclical_without_a_rise_is_refused(low):
    with pytest.raises(ConfigError, match=r"low must be below peak = 0\.1, not 0\.") as caught:
        parse(Cyclical, {"low": low, "peak": 0.1}, "lr.cyclical")
    assert caught.value.place == "lr.cyclical"


def test_one_cycle_at_its_boundaries():
    # N = 10, pct = .3: a = 2. Steps 0 and 2 are the foot and the peak, 1 and 5.5 their midpoints
    # (step 5 or 6), 9 the end: .1 / 25 / 1e4 by torch's defaults.
    got = rates(OneCycle(peak=0.1), 10)
    assert got[:3] == pytest.approx([0.004, 0.052, 0.1])
    assert (got[5] + got[6]) / 2 == pytest.approx((0.1 + 4e-7) / 2)
    assert got[9] == pytest.approx(4e-7, rel=1e-9)


@pytest.mark.parametrize("num_steps", [3, 7, 17, 153, 1000])
@pytest.mark.parametrize("pct", [0.05, 0.3, 0.9])
def test_one_cycle_is_torchs(num_steps, pct):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.4, total_steps=num_steps, pct_start=pct, cycle_momentum=False
    )
    expected = []
    for _ in range(num_steps):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        if len(expected) < num_steps:
            theirs.step()
    got = rates(OneCycle(peak=0.4, pct=pct), num_steps)
    assert got == pytest.approx(expected, rel=1e-9)


def test_one_cycle_too_short_to_rise_only_falls():
    got = rates(OneCycle(peak=0.1, pct=0.1), 10)  # a = 0: the peak is the first step
    assert got[0] == pytest.approx(0.1)
    assert got == sorted(got, reverse=True)


def test_one_cycle_without_a_number_of_steps_is_its_limit():
    schedule = OneCycle(peak=0.1, pct=0.25, div=10)
    got = [schedule(x, CycleInfo()) for x in (0.0, 0.25, 0.625)]
    assert got == pytest.approx([0.01, 0.1, (0.1 + 1e-6) / 2])


def test_warmup_rises_and_stays():
    # W = 4 of 20 steps: a quarter of the peak at the first, all of it at the fourth.
    got = rates(Warmup(peak=0.4, warmup=0.2), 20)
    assert got[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert set(got[4:]) == {0.4}
    # Half a cosine of 1/4, 1/2, 3/4 and 1.
    got = rates(Warmup(peak=0.4, warmup=0.2, shape="cosine"), 20)
    assert got[:4] == pytest.approx([0.0585786438, 0.2, 0.3414213562, 0.4])
    assert set(got[4:]) == {0.4}


def test_warmup_of_nothing_is_constant_and_of_all_ends_at_the_peak():
    assert set(rates(Warmup(peak=0.2, warmup=0.0), 10)) == {0.2}
    got = rates(Warmup(peak=0.2, warmup=1.0), 10)
    assert got == pytest.approx([0.02 * step for step in range(1, 11)])


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_a_rise_takes_whole_steps(kind):
    # .25 of 10 steps is two whole ones: half the peak at step 1, the peak at step 2.
    got = rates(kind(peak=0.4, warmup=0.25), 10)
    assert got[:3] == pytest.approx([0.0, 0.2, 0.4])
    assert rates(kind(peak=0.4, warmup=0.25), 3)[0] == 0.4


def test_silos_first_step_is_one_up_the_ramp():
    # Card silo (f) 4: 80 steps, N_w = 8, drops at 40 and 60; cycle 4 of p = .2.
    schedule = Silo(low=0.03, rise=0.04, warmup=0.1)
    for index in (0, 4, 24):
        peak = schedule.peak(CycleInfo(index=index, round_share=0.2))
        got = rates(schedule, 80, index=index, round_share=0.2)
        assert got[:8] == pytest.approx([peak * t / 8 for t in range(1, 9)], rel=1e-12)
        assert set(got[8:40]) == {peak}
        assert set(got[40:60]) == {peak * 0.1}
        assert set(got[60:]) == {peak * 0.01}
        assert max(got) <= peak


@pytest.mark.parametrize(
    ("preset", "peaks", "boundaries"),
    [
        # Card silo (d) and (f) 3: N_w, D1, D2 of 400 steps, and the peaks of cycles 1, 4 and 24.
        ("resnet20", [0.03, 0.047611, 0.07], (200, 200, 256)),
        ("vgg19", [0.04, 0.066416, 0.1], (35, 200, 300)),
    ],
)
def test_silos_presets(preset, peaks, boundaries):
    schedule = Silo(preset=preset)
    cycles = [CycleInfo(index=m, round_share=0.2) for m in (1, 4, 24)]
    assert [schedule.peak(c) for c in cycles] == pytest.approx(peaks, abs=1e-6)
    ramp, first, second = boundaries
    got = [rate / 0.1 for rate in rates(Silo(preset=preset, low=0.1, rise=0.0), 400)]
    assert got[0] == pytest.approx(1 / ramp)
    assert got[ramp - 1 : first] == pytest.approx([1.0] * (first - ramp + 1))
    assert got[first:second] == pytest.approx([0.1] * (second - first))
    assert got[second:] == pytest.approx([0.01] * (400 - second))


def test_a_preset_fills_in_only_what_is_not_given():
    schedule = parse(Silo, {"preset": "resnet20", "rise": 0.2, "second": 0.9}, "lr.silo")
    assert (schedule.low, schedule.rise, schedule.first, schedule.second) == (0.03, 0.2, 0.5, 0.9)
    assert parse(Silo, asdict(schedule), "lr.silo") == schedule
    assert Silo() == Silo(preset="vgg19", **PRESETS["vgg19"])


def test_an_unknown_preset_is_refused():
    with pytest.raises(ConfigError) as caught:
        parse(Silo, {"preset": "resnet50"}, "lr.silo")
    assert caught.value.place == "lr.silo.preset"


def test_no_rise_is_the_same_peak_in_every_cycle():
    schedule = Silo(low=0.05, rise=0.0)
    assert {schedule.peak(CycleInfo(index=m, round_share=0.2)) for m in range(25)} == {0.05}
    info = {"index": 9, "round_share": 0.2}
    assert rates(schedule, 40, **info) == rates(FixedPeak(peak=0.05), 40, **info)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Cyclical, {"periods": 0}),
        (Cyclical, {"low": -0.1}),
        (OneCycle, {"pct": 1.0}),
        (OneCycle, {"div": 0.5}),
        (OneCycle, {"final_div": 0.0}),
        (Warmup, {"warmup": 1.1}),
        (Warmup, {"shape": "square"}),
    ],
)
def test_values_out_of_range_are_refused_with_their_path(kind, values):
    (name,) = values
    with pytest.raises(ConfigError) as caught:
        parse(kind, values, "lr.any")
    assert caught.value.place == f"lr.any.{name}"

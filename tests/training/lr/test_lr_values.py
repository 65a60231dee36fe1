"""Learning rates worked out in the cards silo (f) and imp (f)."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.config import parse
from autoprune.core.errors import ConfigError
from autoprune.training.lr.base import CycleInfo
from autoprune.training.lr.constant import Constant
from autoprune.training.lr.cosine import Cosine
from autoprune.training.lr.fixed_peak import FixedPeak
from autoprune.training.lr.linear import Linear
from autoprune.training.lr.lrw import LRRewinding
from autoprune.training.lr.silo import Silo, s_curve
from autoprune.training.lr.step import Step

ANY = CycleInfo()


def rates(schedule, num_steps, cycle=ANY):
    return [schedule(step / num_steps, cycle) for step in range(num_steps)]


def test_constant():
    assert set(rates(Constant(peak=0.03), 10)) == {0.03}


def test_step_drops_at_its_two_steps():
    got = rates(Step(peak=1.0, drop=0.5, first=0.5, second=0.75), 8)
    assert got == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_linear_without_warmup():
    # Peak times 1 - j/n.
    assert rates(Linear(peak=0.4), 4) == pytest.approx([0.4, 0.3, 0.2, 0.1], rel=1e-12)


def test_linear_with_the_papers_warmup():
    # n = 20, W = 2: 0, half the peak, the peak, then a line over 18 steps that ends at peak/18.
    got = rates(Linear(peak=0.9, warmup=0.1), 20)
    assert got[:3] == pytest.approx([0.0, 0.45, 0.9], abs=1e-12)
    assert got[11] == pytest.approx(0.45, rel=1e-12)  # 1 - 9/18
    assert got[19] == pytest.approx(0.05, rel=1e-12)
    assert max(got) == got[2]


def test_cosine_at_its_quarters():
    # (1 + cos(pi x)) / 2 at 0, 1/4, 1/2, 3/4.
    got = rates(Cosine(peak=0.2), 4)
    assert got == pytest.approx([0.2, 0.1707106781, 0.1, 0.0292893219], rel=1e-9)


def test_cosine_with_a_warmup():
    # n = 10, W = 2: 0, half, peak; the midpoint of the remaining 8 is step 6.
    got = rates(Cosine(peak=0.2, warmup=0.2), 10)
    assert got[:3] == pytest.approx([0.0, 0.1, 0.2], abs=1e-12)
    assert got[6] == pytest.approx(0.1, rel=1e-12)


DENSE = [0.1] * 91 + [0.01] * 45 + [0.001] * 46  # card imp (d): drops at 91 and 136 of 182


@pytest.mark.parametrize("length", [1, 17, 46, 47, 91, 181, 182])
def test_lrw_replays_the_end_of_the_dense_run_exactly(length):
    cycle = CycleInfo(dense_curve=DENSE, length_ratio=length / 182)
    assert rates(LRRewinding(), length, cycle) == DENSE[182 - length :]


@given(total=st.integers(1, 400), data=st.data())
def test_lrw_takes_every_step_of_any_length(total, data):
    length = data.draw(st.integers(1, total))
    curve = [float(step) for step in range(total)]
    cycle = CycleInfo(dense_curve=curve, length_ratio=length / total)
    assert rates(LRRewinding(), length, cycle) == curve[total - length :]


def test_lrw_without_a_dense_run_says_why():
    with pytest.raises(ConfigError, match="pretrained weights") as caught:
        LRRewinding()(0.0, CycleInfo())
    assert caught.value.remedy


def test_lrw_longer_than_the_dense_run_is_refused():
    with pytest.raises(ConfigError, match=r"no longer than the dense run.*1\.5"):
        LRRewinding()(0.0, CycleInfo(dense_curve=DENSE, length_ratio=1.5))


@pytest.mark.parametrize("beta", [1, 5, 10])
def test_the_s_curve_is_safe_and_symmetric(beta):
    assert [s_curve(x, beta) for x in (0, 0.5, 1)] == [0, 0.5, 1]
    assert s_curve(0.3, beta) + s_curve(0.7, beta) == pytest.approx(1, rel=1e-12)
    slope = (s_curve(0.5 + 1e-6, beta) - s_curve(0.5 - 1e-6, beta)) / 2e-6
    assert slope == pytest.approx(beta, rel=1e-6)


def test_the_s_curve_of_one_is_a_line():
    assert s_curve(0.37, 1) == pytest.approx(0.37, rel=1e-12)


SILO = [
    (0, 0.030000, 0.040000),
    (1, 0.030000, 0.040000),
    (2, 0.030039, 0.040059),
    (3, 0.032132, 0.043199),
    (4, 0.047611, 0.066416),
    (5, 0.064461, 0.091692),
    (6, 0.068929, 0.098394),
    (7, 0.069775, 0.099662),
    (10, 0.069996, 0.099995),
    (24, 0.070000, 0.100000),
]


@pytest.mark.parametrize(("cycle", "resnet20", "vgg19"), SILO)
def test_silo_peaks(cycle, resnet20, vgg19):
    info = CycleInfo(index=cycle, round_share=0.2)
    assert Silo(low=0.03, rise=0.04).peak(info) == pytest.approx(resnet20, abs=1e-6)
    assert Silo(low=0.04, rise=0.06).peak(info) == pytest.approx(vgg19, abs=1e-6)


@given(
    low=st.floats(0.001, 0.1),
    rise=st.floats(0, 0.3),
    beta=st.floats(0.5, 20),
    delay=st.integers(0, 3),
    share=st.floats(0, 0.99),
)
def test_silo_never_falls_with_the_cycle_and_keeps_its_range(low, rise, beta, delay, share):
    schedule = Silo(low=low, rise=rise, beta=beta, delay=delay)
    peaks = [schedule.peak(CycleInfo(index=m, round_share=share)) for m in range(26)]
    assert peaks[: delay + 1] == [low] * (delay + 1)
    for early, late in pairwise(peaks):
        assert early <= late * (1 + 1e-15)  # one rounding
    assert peaks[-1] <= (low + rise) * (1 + 1e-15)


def test_silo_profile():
    # 80 steps: ramp over .1 of them is 8 steps, drops at steps 40 and 60.
    schedule = Silo(low=0.04, rise=0.06, warmup=0.1)
    cycle = CycleInfo(index=5, round_share=0.2)
    peak = schedule.peak(cycle)
    got = rates(schedule, 80, cycle)
    assert got[:9] == pytest.approx([peak * j / 8 for j in range(9)], rel=1e-12)
    assert set(got[8:40]) == {peak}
    assert set(got[40:60]) == {peak * 0.1}
    assert set(got[60:]) == {peak * 0.01}


def test_a_drop_overrides_a_ramp_that_has_not_ended():
    # The authors' ResNet-20 script as it ran: the ramp would end after the first drop.
    got = rates(FixedPeak(peak=1.0, warmup=0.6, first=0.5, second=0.64), 50)
    assert max(got) == got[24] == pytest.approx(24 / 30)
    assert got[25:32] == [0.1] * 7
    assert got[32:] == [0.01] * 18


def test_fixed_peak_is_silo_without_a_rise():
    cycle = CycleInfo(index=7, round_share=0.2)
    assert rates(FixedPeak(peak=0.05), 40, cycle) == rates(Silo(low=0.05, rise=0), 40, cycle)


def test_defaults_are_the_vgg19_profile():
    schedule = Silo()
    assert (schedule.warmup, schedule.first, schedule.second) == (0.0875, 0.5, 0.75)


@pytest.mark.parametrize("kind", [Step, Silo, FixedPeak])
def test_drops_in_the_wrong_order_are_refused(kind):
    with pytest.raises(ConfigError, match="first must be <= second") as caught:
        parse(kind, {"first": 0.8, "second": 0.7}, "lr.any")
    assert caught.value.place == "lr.any"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Constant, {"peak": 0.0}),
        (Step, {"drop": 1.0}),
        (Cosine, {"warmup": 0.6}),
        (Linear, {"peak": -0.1}),
        (Silo, {"delay": -1}),
        (Silo, {"rise": -0.1}),
        (FixedPeak, {"warmup": 1.1}),
    ],
)
def test_values_out_of_range_are_refused_with_their_path(kind, values):
    (name,) = values
    with pytest.raises(ConfigError) as caught:
        parse(kind, values, "lr.any")
    assert caught.value.place == f"lr.any.{name}"


def test_schedules_need_no_torch():
    code = (
        "import sys; from autoprune.training.registry import LR_SCHEDULES as r;"
        "[r.get(name)() for name in r.names()]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

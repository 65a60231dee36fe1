from __future__ import annotations

from typing import Any

import pytest

from autoprune.core.errors import ConfigError
from autoprune.search.pick import Limits, knee, pick
from autoprune.search.profile import profile

DENSE = {"val_accuracy": 0.95, "macs": 1000}


def entry(sparsity: float, accuracy: float, **rest: Any) -> dict[str, Any]:
    base = {"trial": f"t{sparsity}", "macs": 1000 * (1 - sparsity), "seeds": 3}
    base |= {"test_accuracy": accuracy - 0.01, "reduction": sparsity}
    return {**base, "sparsity": sparsity, "val_accuracy": accuracy, **rest}


FRONT = [entry(0.5, 0.95), entry(0.8, 0.945), entry(0.9, 0.93), entry(0.98, 0.7)]


def test_the_default_is_the_knee() -> None:
    # Scaled: (0, 1), (.625, .98), (.833, .92), (1, 0). The chord runs from (0, 1) to (1, 0), so
    # the height above it goes with x + y - 1: 0, .605, .753, 0.
    assert pick(FRONT, DENSE)["sparsity"] == 0.9
    assert knee(FRONT[::-1])["sparsity"] == 0.9


def test_a_knee_of_one_or_equal_points() -> None:
    assert knee([FRONT[0]]) is FRONT[0]
    assert knee([entry(0.5, 0.9), entry(0.9, 0.9)])["sparsity"] == 0.9


def test_a_front_without_a_knee_gives_its_most_accurate_point() -> None:
    assert knee([entry(0.6, 0.98), entry(0.63, 0.68)])["sparsity"] == 0.6
    # (0.5, 0.8) lies under the chord from (0, 1) to (1, 0) after scaling: 0.25 + 0.5 - 1 < 0.
    assert knee([entry(0.4, 0.9), entry(0.5, 0.8), entry(0.8, 0.7)])["sparsity"] == 0.4


def test_the_picks_axis_is_the_second_objective() -> None:
    # Accuracy against MACs: the sparsest point is the one that saves the fewest MACs.
    front = [
        entry(0.9, 0.95, reduction=0.0),
        entry(0.5, 0.94, reduction=0.5),
        entry(0.6, 0.6, reduction=0.6),
    ]
    assert pick(front, DENSE)["reduction"] == 0.5
    assert pick(front, DENSE, Limits(max_drop=0.02))["reduction"] == 0.5


@pytest.mark.parametrize(
    ("limits", "sparsity"),
    [
        (Limits(max_drop=0.01), 0.8),  # 0.95 - 0.945 = 0.005; 0.02 would be too much
        (Limits(max_drop=0.02), 0.9),
        (Limits(max_drop=0.0), 0.5),
        (Limits(min_accuracy=0.93), 0.9),
        (Limits(min_sparsity=0.85), 0.9),
        (Limits(min_sparsity=0.90005), 0.9),  # reached to the nearest weight
        (Limits(max_macs=0.25), 0.8),
        (Limits(max_macs=0.15, max_drop=0.1), 0.9),
        (Limits(min_sparsity=0.5, min_accuracy=0.6), 0.9),  # both sides: the knee
    ],
)
def test_limits(limits: Limits, sparsity: float) -> None:
    assert pick(FRONT, DENSE, limits)["sparsity"] == sparsity


def test_no_point_within_the_limits_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"no point within.*'max_drop': 0\.001.*0\.9400"):
        pick([entry(0.5, 0.94)], DENSE, Limits(max_drop=0.001))
    with pytest.raises(ConfigError, match="is empty"):
        pick([], DENSE)


def test_a_limit_on_what_is_not_searched_for_is_refused() -> None:
    Limits(max_macs=0.5).check(["accuracy", "sparsity"], least_macs=0.5)
    with pytest.raises(ConfigError, match=r"--max-macs must be at least 0\.501.*got 0\.5"):
        Limits(max_macs=0.5).check(["accuracy", "sparsity"], least_macs=0.501)
    with pytest.raises(ConfigError, match="above 0"):
        Limits(max_macs=0.0)
    Limits(max_latency_ms=1.0).check(["accuracy", "latency_ms"])
    with pytest.raises(ConfigError, match="add --objectives accuracy,macs,latency_ms"):
        Limits(max_latency_ms=1.0).check(["accuracy", "macs"])
    with pytest.raises(ConfigError, match="above 0; got 0"):
        Limits(max_latency_ms=0.0)


def test_latency_must_have_been_measured() -> None:
    with pytest.raises(ConfigError, match="--max-latency-ms needs a study that measured"):
        pick(FRONT, DENSE, Limits(max_latency_ms=1.0))
    timed = [entry(0.5, 0.95, latency_ms=2.0), entry(0.8, 0.9, latency_ms=0.5)]
    assert pick(timed, DENSE, Limits(max_latency_ms=1.0))["sparsity"] == 0.8


def test_the_profile_takes_the_best_at_or_above_each_band() -> None:
    odd = [*FRONT, entry(0.85, 0.97)]  # above a less sparse point: bands look upwards
    found = {row["band"]: row["sparsity"] for row in profile(odd)}
    assert found == {0.5: 0.85, 0.7: 0.85, 0.8: 0.85, 0.9: 0.9, 0.95: 0.98, 0.98: 0.98}
    assert profile([entry(0.4, 0.9)]) == []
    # A target of 0.9 reached to the nearest weight.
    assert [row["band"] for row in profile([entry(0.89996, 0.9)])][-1] == 0.9
    assert profile(FRONT)[0] == {
        "band": 0.5,
        "trial": "t0.5",
        "test_accuracy": 0.94,
        "sparsity": 0.5,
    }

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autoprune.core.canonical import plain
from autoprune.core.config import TaskConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import METHODS
from autoprune.space import Space, list_spaces, load_space, parse_space


@pytest.fixture(scope="module", params=list_spaces())
def space(request: pytest.FixtureRequest) -> Space:
    return load_space(request.param)


def proposals(space: Space, count: int = 150) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        flat = space.random(rng)
        found += [flat, space.mutate(flat, rng)]
    return found  # type: ignore[return-value] # wider value type


def test_a_configuration_gives_back_its_proposal(space: Space) -> None:
    for flat in proposals(space):
        low, high = space.reaches(flat)  # type: ignore[arg-type] # narrower in the space
        config = space.config(flat, min(max(0.6, low), high))  # type: ignore[arg-type] # as above
        assert space.flatten(config) == flat


def test_encodings_are_of_one_width_and_tell_proposals_apart(space: Space) -> None:
    rows: dict[tuple[float, ...], object] = {}
    for flat in proposals(space):
        row = tuple(space.encode(flat))  # type: ignore[arg-type] # as above
        assert len(row) == space.width
        assert min(row) >= -1.0
        assert max(row) <= 1.0
        assert rows.setdefault(row, flat) == flat


def test_conditional_dimensions_exist_only_under_their_condition(space: Space) -> None:
    for flat in proposals(space):
        for path in flat:
            section, *middle = path.split(".")
            if section == "method" and middle:
                assert middle[0] == flat["method"]
            if section == "lr" and middle:
                assert middle[0] == flat["lr"]
        assert flat["lr"] in space.schedules[str(flat["method"])]


def test_random_and_mutation_keep_to_the_methods_asked_for() -> None:
    space, rng = load_space("digits"), np.random.default_rng(1)
    wanted = ("snip", "dropnet")
    for _ in range(50):
        flat = space.random(rng, wanted)
        assert flat["method"] in wanted
        assert space.mutate(flat, rng, wanted)["method"] in wanted
        assert space.mutate(space.random(rng), rng, ("rigl",))["method"] == "rigl"


def test_mutation_changes_something_but_not_everything() -> None:
    space, rng = load_space("digits"), np.random.default_rng(2)
    flat = space.random(rng, ("imp",))
    changes = [
        sum(flat.get(key) != value for key, value in space.mutate(flat, rng, ("imp",)).items())
        for _ in range(200)
    ]
    assert np.mean([change > 0 for change in changes]) > 0.9
    assert np.mean(changes) < len(flat) / 2


def test_every_value_of_every_choice_is_drawn() -> None:
    space, rng = load_space("digits"), np.random.default_rng(3)
    seen: dict[str, set[object]] = {}
    for _ in range(1500):
        for path, value in space.random(rng).items():
            seen.setdefault(path, set()).add(value)
    assert set(seen) == {dimension.path for dimension in space.dimensions}
    for dimension in space.dimensions:
        if hasattr(dimension, "values"):
            assert seen[dimension.path] == set(dimension.values)


def test_configurations_are_completed() -> None:
    space = parse_space(
        {
            "task": {"data": "digits", "model": "mlp"},
            "train": {"lr": {"low": 0.05, "high": 0.2}, "batch_size": 32},
            "method": {"imp": {"rounds": 2}},
            "recipe": {"distill": [0.0, 0.5], "label_smoothing": 0.1},
        }
    )
    flat = {"method": "imp", "lr": "linear", "lr.linear.peak": 0.3, "train.lr": 0.07}
    config = space.config({**flat, "recipe.distill": 0.5}, 0.8)
    assert config.params["rounds"] == 2
    assert config.params["allocation"] == "global"
    assert config.lr.params["peak"] == 0.3
    assert (config.train.lr, config.train.batch_size, config.train.epochs) == (0.07, 32, 20)
    assert (config.recipe.distill, config.recipe.label_smoothing) == (0.5, 0.1)
    assert config.sparsity == 0.8
    # The dense run of the baselines stands in the middle of what is searched.
    assert space.base_train().lr == pytest.approx(0.125)


def test_a_target_out_of_reach_is_refused() -> None:
    space = load_space("digits")
    with pytest.raises(ConfigError, match="sparsity must lie in"):
        space.config({"method": "magnitude", "lr": "linear"}, 0.9999)


def test_hash_follows_content_not_place() -> None:
    base = load_space("digits")
    assert base.sha256 == load_space("digits").sha256
    assert (
        base.with_task(TaskConfig(data_dir="/a")).sha256
        == base.with_task(TaskConfig(data_dir="/b")).sha256
    )
    moved = [
        base.with_task(TaskConfig(task_file=place, task_sha256=sha)).sha256
        for place, sha in (("/a.py", "1"), ("/b.py", "1"), ("/a.py", "2"))
    ]
    assert moved[0] == moved[1] != moved[2]
    assert base.sha256 != base.with_task(TaskConfig(model="lenet300")).sha256
    assert base.sha256 != base.with_objectives(["accuracy", "sparsity", "macs"]).sha256


def test_hash_of_a_task_without_the_keys_that_came_later() -> None:
    space = load_space("digits")
    late = ("label_noise", "label_noise_kind", "label_noise_seed")
    raw = {**space.raw, "task": {k: v for k, v in space.raw["task"].items() if k not in late}}
    assert replace(space, raw=raw).sha256 == space.sha256
    assert space.with_task(TaskConfig(label_noise=0.2)).sha256 != space.sha256


def test_raw_rebuilds_the_space() -> None:
    base = load_space("digits").with_task(TaskConfig(model="lenet300"))
    again = parse_space(plain(dict(base.raw)))
    assert (again.sha256, again.task, again.dimensions) == (base.sha256, base.task, base.dimensions)


def test_other_objectives_are_checked() -> None:
    base = load_space("digits")
    wider = base.with_objectives(["accuracy", "sparsity", "macs"])
    assert wider.objectives == ("accuracy", "sparsity", "macs")
    assert wider.targets == base.targets
    in_macs = base.with_objectives(["accuracy", "macs"])
    unfit = {name for name in base.methods if "macs" not in METHODS.get(name).measures}
    assert {"ap", "movement"} <= unfit
    assert set(base.methods) - set(in_macs.methods) == unfit
    assert in_macs.targets.of == "macs"
    with pytest.raises(ConfigError, match="names an unknown objective"):
        base.with_objectives(["accuracy", "speed"])

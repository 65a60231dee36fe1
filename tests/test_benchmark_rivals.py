"""The comparison with the rivals: it runs, goes on where it was, charges and counts as it says."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.core.errors import StudyError
from autoprune.core.records import TaskInfo
from autoprune.search.engine import Engine, SearchOptions
from autoprune.search.executors.inline import InlineExecutor
from autoprune.search.journal import Journal
from autoprune.search.strategies.contextual import Contextual
from autoprune.training.lr.base import CycleInfo
from autoprune.training.lr.linear import Linear
from autoprune.training.lr.silo import Silo
from autoprune.training.registry import LR_SCHEDULES
from benchmarks.rivals import log, report, run, rungs, smac_arm
from benchmarks.rivals.__main__ import main
from benchmarks.rivals.arms import question
from benchmarks.rivals.catalogue import ARMS
from benchmarks.rivals.curves import Curve, Runs, curve, quartiles, wilcoxon
from benchmarks.rivals.cut import PREFIX, cut_name, cut_type
from benchmarks.rivals.evaluate import Ask, Bench, Evaluation, Ledger
from benchmarks.rivals.setting import Setting, quick
from tests.search.support import CONTEXT, INFO, simulation, small_space

WANTED = ("ours", "tpe", "smac_cut", "asha", "random", "ours_cut")
NAMES = tuple(name for name in WANTED if not ARMS[name].missing)


def options(folder: Path) -> list[str]:
    return [
        *("--quick", "--seeds", "0", "--workers", "1", "--arms", ",".join(NAMES)),
        *("--home", str(folder / "home"), "--out", str(folder / "out")),
    ]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rivals")
    assert main(["run", *options(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def bench(done: Path) -> Bench:
    return run.bench_of(quick(), done / "home")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_arm_spends_its_budget_and_no_more_than_one_decision_beyond(done: Path) -> None:
    for name in NAMES:
        finished = log.read(log.file_of(done / "out", name, 0))
        rows = finished.rows
        assert finished.about["ended"] == "budget"
        assert rows[-1]["spent"] >= quick().epochs > rows[-2]["spent"]
        assert rows[-1]["spent"] == pytest.approx(sum(row["charged"] for row in rows))
        assert any(row["points"] for row in rows)
        assert "data_dir" not in json.loads(rows[0]["config"])["task"]


def test_a_second_run_does_nothing(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(done / "out") | contents(done / "home" / "logs")
    assert main(["run", *options(done)]) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert contents(done / "out") | contents(done / "home" / "logs") == before


def test_a_run_that_was_cut_goes_on_to_the_same_bits(done: Path) -> None:
    before = contents(done / "out"), contents(done / "home" / "logs")
    for name in NAMES:
        log.file_of(done / "out", name, 0).unlink()
        journal = done / "home" / "logs" / f"digits-{name}-0.jsonl"
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[-1][:9])
    assert main(["run", *options(done)]) == 0
    assert (contents(done / "out"), contents(done / "home" / "logs")) == before


def test_a_log_that_is_not_repeated_is_refused(tmp_path: Path, bench: Bench) -> None:
    kept = log.Log(tmp_path / "log.jsonl", "random", 0)
    ask = magnitude(bench, 1)
    kept.add(log.row_of(ask, Evaluation("ok", 1), 1.0))
    again = log.Log(tmp_path / "log.jsonl", "random", 0)
    with pytest.raises(StudyError, match=r"log.jsonl, line 1 must be what the run decides again"):
        again.add(log.row_of(ask, Evaluation("ok", 1), 2.0))


def test_a_late_start_starts_nothing(tmp_path: Path) -> None:
    assert main(["run", *options(tmp_path), "--minutes", "-1"]) == 1
    assert not (tmp_path / "out").exists()


def test_a_plan_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--arms", "random,ours", "--seeds", "0,1", "--home", str(tmp_path)]
    assert main(["run", "--quick", *given, "--out", str(tmp_path), "--plan"]) == 0
    assert "missing: ours-0, random-0, ours-1, random-1\n96 epochs" in capsys.readouterr().out


def test_an_unknown_arm_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--arms", "ours,bohb"])
    assert "must be some of ours, tpe, " in capsys.readouterr().err


def test_an_arm_without_its_library_is_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARMS, "asha", replace(ARMS["asha"], needs="no_such_library"))
    given = ["--arms", "asha", "--home", str(tmp_path), "--out", str(tmp_path), "--plan"]
    assert main(["run", "--quick", *given]) == 0
    told = capsys.readouterr().out
    assert "left out: asha: no_such_library is not installed" in told
    assert "nothing is missing" in told
    assert "asha (no_such_library is not installed)" in report.missing(Runs())


def magnitude(bench: Bench, epochs: int, **rest: Any) -> Ask:
    return question(bench, bench.space.middle("magnitude"), 0.9, epochs, **rest)


def test_the_space_holds_all_methods_of_single_weights() -> None:
    space = Setting().space()
    assert {space.kind(space.middle(name)) for name in space.methods} == {"weights"}
    assert {"magnitude", "rigl", "snip", "scratch_e"} <= set(space.methods)
    assert space.rungs == (1, 3, 9)
    assert space.objectives == ("accuracy", "sparsity")


def test_a_run_pays_for_a_stage_once_and_never_for_its_dense_run(bench: Bench) -> None:
    ledger = Ledger(bench, 0)
    first, again = (ledger.evaluate(magnitude(bench, 3)) for _ in range(2))
    assert (first.asked, first.charged) == (6.0, 3.0)  # 3 epochs of the dense run, 3 of retraining
    assert (again.asked, again.charged) == (6.0, 0.0)
    assert ledger.epochs == 3.0
    assert Ledger(bench, 0).evaluate(magnitude(bench, 3)).charged == 3.0  # another run pays, too


def test_what_starts_from_scratch_pays_for_the_dense_epochs_in_its_place(bench: Bench) -> None:
    ask = question(bench, bench.space.middle("snip"), 0.9, 3)
    assert Ledger(bench, 0).evaluate(ask).charged == 6.0


def test_a_continuation_pays_for_the_further_epochs(bench: Bench) -> None:
    ledger = Ledger(bench, 0)
    start = magnitude(bench, 1, cut=True)
    assert ledger.evaluate(start).charged == 1.0
    assert ledger.evaluate(magnitude(bench, 3, cut=True, before=start)).charged == 2.0
    assert Ledger(bench, 0).evaluate(magnitude(bench, 3, cut=True)).charged == 3.0


def test_what_is_refused_is_neither_trained_nor_charged(bench: Bench) -> None:
    ledger = Ledger(bench, 0)
    found = ledger.evaluate(Ask(None, 3, 0.9, refusal="not this one"))
    assert (found.status, found.charged, found.points()) == ("refused", 0.0, [])
    assert "not this one" in found.error
    assert ledger.epochs == 0.0


def test_a_rung_below_the_methods_least_is_raised(bench: Bench) -> None:
    flat = {**bench.space.middle("imp"), "method.imp.rounds": 5}  # 50 steps, 17 an epoch
    found = Ledger(bench, 0).evaluate(question(bench, flat, 0.9, 1))
    assert (found.epochs, found.charged) == (3, 3.0)
    assert [point["stop_round"] for point in found.points()] == [1, 2, 3, 4, 0]


def test_arms_are_not_shown_the_test_split(bench: Bench) -> None:
    flat = {**bench.space.middle("imp"), "method.imp.rounds": 2}
    found = Ledger(bench, 0).evaluate(question(bench, flat, 0.9, 3))
    assert all("test_accuracy" in point for point in found.points())
    shown = found.shown.result
    assert shown is not None
    assert shown.rounds
    keys = [*shown.metrics, *(key for part in shown.rounds for key in part.metrics)]
    assert not [key for key in keys if "test" in key]
    assert found.shown.costs() == (1.0 - shown.metrics["val_accuracy"], pytest.approx(-1.0, 0.01))


def test_what_gave_no_network_costs_chance_at_full_density() -> None:
    assert Evaluation("diverged", 3, 3.0, 3.0).costs() == (1.0, 0.0)
    assert Evaluation("diverged", 3, 3.0, 3.0).points() == []


@pytest.mark.parametrize("inner", [Linear(peak=0.4, warmup=0.2), Silo(low=0.02, rise=0.1)])
def test_a_cut_schedule_is_the_beginning_of_the_long_one(inner: Any) -> None:
    values = {field.name: getattr(inner, field.name) for field in fields(inner)}
    cut = cut_type(type(inner))(**values, share=1 / 3)
    short = CycleInfo(num_steps=10, length_ratio=0.25, count=2, round_share=0.5)
    long = replace(short, num_steps=30, length_ratio=0.75)
    rates = [cut(step / 10, short) for step in range(10)]
    assert rates == pytest.approx([inner(step / 30, long) for step in range(10)])
    assert rates != pytest.approx([inner(step / 10, short) for step in range(10)])


def test_cut_schedules_are_found_but_not_listed() -> None:
    assert LR_SCHEDULES.get(cut_name("lrw")).needs == LR_SCHEDULES.get("lrw").needs  # type: ignore[attr-defined] # by convention
    assert not [name for name in LR_SCHEDULES if name.startswith(PREFIX)]


@pytest.mark.skipif(ARMS["smac_cut"].missing, reason="SMAC3 is not installed")
def test_smacs_space_holds_what_ours_does() -> None:
    space = Setting().space()
    theirs = smac_arm.config_space(space)
    theirs.seed(0)
    methods = set()
    for config in theirs.sample_configuration(200):
        flat, sparsity = smac_arm.read(space, dict(config))
        expected = {d.path for d in space.dimensions if space.active(d, flat)}
        assert set(flat) == expected
        assert flat["lr"] in space.schedules[str(flat["method"])]
        assert space.targets.low - 1e-4 <= sparsity <= space.targets.high + 1e-4
        assert space.flatten(space.config(flat, 0.9)) == flat
        methods.add(flat["method"])
    assert methods == set(space.methods)


def test_hyperband_makes_22_trials_of_78_epochs() -> None:
    assert smac_arm.num_trials(540, (1, 3, 9)) == round(540 * 22 / 78)


def point(error: float, sparsity: float, test_error: float | None = None) -> dict[str, float]:
    test = error if test_error is None else test_error
    return {"val_accuracy": 1 - error, "test_accuracy": 1 - test, "sparsity": sparsity}


def row(spent: float, *points: dict[str, float], **rest: Any) -> dict[str, Any]:
    return {"spent": spent, "points": list(points), **rest}


TEN = TaskInfo(1, 1, 1, 10, (1,), (), 1, 1, "")


def test_hypervolume_over_epochs_is_as_by_hand() -> None:
    # Chance is an error of 0.9, so 0.09 is 0.1 of it; 90 % sparsity is a third of the way.
    # One point: (1 - 0.1) / 3 = 0.3. The second adds (1 - 0.5) * (2/3 - 1/3) = 1/6.
    rows = [
        row(3.0),
        row(6.0, point(0.09, 0.9)),
        row(9.0, point(0.45, 0.99)),
        row(12.0, point(0.18, 0.8)),  # dominated
    ]
    found = curve(rows, TEN)
    expected = [0.0, 0.3, 0.3 + 1 / 6, 0.3 + 1 / 6]
    assert [value for _, value in found.steps] == pytest.approx(expected)
    assert found.at(5.9) == 0.0
    assert found.at(6.0) == pytest.approx(0.3)
    assert found.at(1e9) == pytest.approx(0.3 + 1 / 6)


def test_the_front_is_chosen_on_validation_and_valued_on_test() -> None:
    # The second is better on validation and worse on test: it replaces the first all the same.
    rows = [row(1.0, point(0.18, 0.9, 0.09)), row(2.0, point(0.09, 0.9, 0.45))]
    assert [v for _, v in curve(rows, TEN).steps] == pytest.approx([0.9 / 3, 0.5 / 3])


def test_epochs_to_reach_are_the_first_within_the_budget() -> None:
    found = Curve([(3.0, 0.1), (6.0, 0.4), (9.0, 0.3), (12.0, 0.5)])
    assert found.first_at(0.4, 12.0) == 6.0
    assert found.first_at(0.45, 12.0) == 12.0
    assert found.first_at(0.45, 11.0) == math.inf
    assert found.first_at(0.6, 12.0) == math.inf


def made_up(arm: str, seed: int, rows: list[dict[str, Any]]) -> log.Finished:
    empty = {"status": "ok", "asked": 2.0, "charged": 1.0}
    about = {"arm": arm, "seed": seed, "epochs": 12.0, "info": TEN.to_json()}
    return log.Finished([{**empty, **one} for one in rows], about)


@pytest.fixture
def five() -> Runs:
    """Ours reaches at 6 of 12 epochs what random has at its end, but for one seed."""
    finished = {}
    for seed in range(5):
        good, poor = point(0.09 + 0.009 * seed, 0.9), point(0.45, 0.9)
        late = poor if seed == 4 else good
        finished["ours", seed] = made_up("ours", seed, [row(6.0, late), row(12.0, poor)])
        finished["random", seed] = made_up("random", seed, [row(3.0, poor), row(12.0, good)])
        finished["asha", seed] = made_up("asha", seed, [row(12.0, poor)])
    return Runs(finished)


def test_the_numbers_are_those_of_the_best_rival(five: Runs) -> None:
    found = report.numbers(report.Found(five, []))
    assert (found["best_rival"], found["n"], found["budget"]) == ("random", 5, 12.0)
    ratio = found["epochs_ratio_to_best_rival"]
    assert ratio["per_seed"] == {"0": 0.5, "1": 0.5, "2": 0.5, "3": 0.5, "4": None}
    assert ratio["median"] == 0.5
    assert found["p_one_sided"] == 1.0  # four ties, one loss
    assert found["arms"]["ours"]["charged_of_asked"] == 0.5
    # What random has at 6 epochs, ours has at 6, too.
    assert found["at"]["6"]["epochs_ratio"]["median"] == 1.0
    json.dumps(found, allow_nan=False)


def test_shorter_runs_are_compared_as_far_as_they_go(five: Runs) -> None:
    finished = dict(five.finished)
    finished["tpe", 0] = made_up("tpe", 0, [row(3.0, point(0.045, 0.9))])
    finished["tpe", 0].about["epochs"] = 6.0
    runs = Runs(finished)
    found = report.numbers(report.Found(runs, []))
    # It is ahead as far as it goes, and nowhere at 12, where it was never run.
    assert found["budget"] == 12.0
    assert found["at"]["6"]["best_rival"] == "tpe"
    assert found["at"]["6"]["n"] == 1
    assert found["best_rival"] == "random"
    assert set(found["arms"]["tpe"]["hypervolume"]["6"]) == {"0"}
    assert found["arms"]["tpe"]["hypervolume"]["12"] == {}
    assert found["arms"]["tpe"]["epochs_to_best_rival"] == {}
    assert "tpe beyond 6 epochs" in found["missing"]


def test_five_wins_are_the_least_probability() -> None:
    found = wilcoxon([0.2, 0.3, 0.4, 0.5, 0.6], [0.1, 0.1, 0.1, 0.1, 0.1])
    assert (found.n, found.two_sided, found.greater) == (5, 0.0625, 0.03125)
    assert wilcoxon([0.1], [0.1]).two_sided is None


def test_quartiles_next_to_never_are_never() -> None:
    assert quartiles([1.0, 3.0, math.inf, math.inf]) == (2.5, math.inf, math.inf)


def test_the_page_is_written_from_the_files_alone(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "results" / "search.md"
    data = ["--data", str(done / "out"), "--out", str(page)]
    assert main(["report", *data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found["arms"]) == set(NAMES)
    assert found["best_rival"] in NAMES
    assert set(found["at"]) == {"12", "24"}
    text = page.read_text()
    assert "ours (seeds 0 only)" in text
    assert "ours_full (not run)" in text
    assert "nan" not in text
    for name in NAMES:
        assert f"| {name}: {ARMS[name].words} |" in text
    assert (tmp_path / "docs" / "img" / "search_rivals.png").stat().st_size > 10_000
    first = page.read_bytes()
    assert main(["report", *data]) == 0
    assert page.read_bytes() == first


def test_a_page_of_nothing_says_so(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "results" / "search.md"
    assert main(["report", "--data", str(tmp_path), "--out", str(page)]) == 0
    assert "Not measured." in page.read_text()


def ladder(trial: int, errors: dict[int, float], **rest: Any) -> Iterator[dict[str, Any]]:
    for rung, error in errors.items():
        base = {"trial": f"{trial}", "method": "magnitude", "status": "ok", "cut": False}
        yield {**base, **rest, "epochs": rung, "points": [point(error, 0.9)]}


def test_rungs_are_correlated_by_family_and_schedule() -> None:
    rows = []
    for trial in range(8):
        error = 0.1 + 0.01 * trial
        rows += ladder(trial, {1: error + 0.1, 9: error})  # in the same order
        rows += ladder(trial, {1: 0.5 - error}, cut=True)  # in the opposite one
    found = rungs.correlations([log.Finished(rows, {})], "made up")
    told = {(one.family, one.cut): (one.rung, one.top, one.n, one.rho) for one in found}
    for name in ("weights, from dense", "magnitude"):
        assert told[name, False] == (1, 9, 8, pytest.approx(1.0))
        assert told[name, True] == (1, 9, 8, pytest.approx(-1.0))
    assert rungs.correlations([log.Finished(rows[:12], {})], "too few") == []


def test_configurations_of_each_family_run_at_every_rung(done: Path, tmp_path: Path) -> None:
    given = ["--quick", "--rungs", "1", "--seeds", "0", "--home", str(done / "home")]
    assert main(["run", *given, "--out", str(tmp_path)]) == 0
    rows = log.read(tmp_path / "rungs_1-0.parquet").rows
    told = [(json.loads(r["note"])["family"], r["epochs"], r["cut"]) for r in rows]
    once = [(3, False), (1, False), (1, True)]
    families = ["weights, from dense", "weights, from scratch"]
    raised = [(3, False), (3, False), (3, True)]
    assert told in (
        [(f, *r) for f in families for r in once],
        [*((families[0], *r) for r in once), *((families[1], *r) for r in raised)],
    )
    assert report.collect(tmp_path).ladders


def lifts(strategy: Contextual) -> float:
    """Return the share of the epochs that lifts took, of a simulated search of 40 jobs."""
    space = small_space()
    engine = Engine(
        space,
        INFO,
        Journal(clock=lambda: 0.0),
        context=CONTEXT,
        options=SearchOptions(budget="40", confirm_seeds=1),
        strategy=strategy,
    )
    InlineExecutor(simulation(space)).run(engine)
    jobs = engine.state.search_jobs
    lifted = sum(job.epochs for job in jobs if job.purpose == "lift")
    return lifted / sum(job.epochs for job in jobs)


def test_the_share_of_lifts_can_be_set() -> None:
    half, usual, most = (lifts(Contextual(explore_share=s)) for s in (1 / 2, 1 / 3, 1 / 6))
    assert half == pytest.approx(1 / 2, abs=0.1)
    assert half < usual < most

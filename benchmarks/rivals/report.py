"""Write the page, its picture and the numbers from the parquet files alone."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.rivals import log
from benchmarks.rivals.catalogue import ABLATIONS, ARMS, RIVALS
from benchmarks.rivals.curves import Runs, quartiles, wilcoxon
from benchmarks.rivals.log import Finished
from benchmarks.rivals.picture import picture
from benchmarks.rivals.rungs import NAME as RUNGS
from benchmarks.rivals.rungs import Correlation, correlations
from benchmarks.studies import table

OURS = "ours"
MAIN = (OURS, *RIVALS)
GATE, GOAL = 0.67, 0.33
EXPECTED_SEEDS = 5
LADDERS = ("ours_moasha", "smac_compressed", "smac_cut")
"""Arms that run one configuration at several rungs."""


@dataclass(frozen=True)
class Found:
    """What lies in the folder.

    Parameters
    ----------
    runs : Runs
        Complete runs.
    ladders : list of Finished
        Configurations measured at every rung.
    """

    runs: Runs
    ladders: list[Finished]

    @property
    def budgets(self) -> tuple[float, float]:
        """Half of the budget, and all of it."""
        return self.runs.budget / 2, self.runs.budget

    @property
    def rungs(self) -> list[Correlation]:
        """Correlations between rungs, of measured configurations and of searches."""
        found = correlations(self.ladders, "at one sparsity")
        runs = [run for (arm, _), run in self.runs.finished.items() if arm in LADDERS]
        return [*found, *correlations(runs, "searches")]


def collect(folder: Path) -> Found:
    """Read every file of a folder."""
    runs, ladders = {}, []
    for path in sorted(folder.glob("*.parquet")):
        finished = log.read(path)
        if finished.about["arm"] == RUNGS:
            ladders.append(finished)
        else:
            runs[finished.about["arm"], int(finished.about["seed"])] = finished
    ordered = sorted(runs, key=lambda key: (list(ARMS).index(key[0]), key[1]))
    return Found(Runs({key: runs[key] for key in ordered}), ladders)


def ratios(runs: Runs, rival: str, budget: float) -> dict[int, float]:
    """Return, by seed, the share of the rival's epochs after which ours had its final value."""
    reached = runs.epochs_to_reach(OURS, rival, budget)
    return {seed: epochs / budget for seed, epochs in reached.items()}


def numbers(found: Found) -> dict[str, Any]:
    """Return everything as JSON's own types; what never came is null."""
    runs, (_, budget) = found.runs, found.budgets
    rival = runs.best(RIVALS, budget)
    per_budget = {f"{epochs:g}": _against(runs, epochs) for epochs in found.budgets}
    whole = per_budget[f"{budget:g}"]
    return {
        "epochs_ratio_to_best_rival": whole.get("epochs_ratio"),
        "best_rival": rival,
        "budget": budget,
        "p": whole.get("p"),
        "p_one_sided": whole.get("p_one_sided"),
        "n": whole.get("n", 0),
        "at": per_budget,
        "arms": {arm: _arm(runs, arm, found.budgets, rival) for arm in runs.arms},
        "rung_correlation": [asdict(one) for one in found.rungs],
        "missing": missing(runs),
    }


def _against(runs: Runs, budget: float) -> dict[str, Any]:
    """Return the comparison with the best rival at one budget."""
    rival = runs.best(RIVALS, budget)
    if rival is None or not (seeds := runs.seeds(OURS, rival, epochs=budget)):
        return {"best_rival": rival}
    by_seed = ratios(runs, rival, budget)
    low, middle, high = quartiles(list(by_seed.values()))
    test = wilcoxon(runs.at(OURS, budget, seeds), runs.at(rival, budget, seeds))
    return {
        "best_rival": rival,
        "n": len(seeds),
        "epochs_ratio": {
            "median": _finite(middle),
            "iqr": [_finite(low), _finite(high)],
            "per_seed": {str(seed): _finite(value) for seed, value in by_seed.items()},
        },
        "p": test.two_sided,
        "p_one_sided": test.greater,
    }


def _arm(runs: Runs, arm: str, budgets: Sequence[float], rival: str | None) -> dict[str, Any]:
    seeds = runs.seeds(arm)
    rows = [row for seed in seeds for row in runs.finished[arm, seed].rows]
    asked = sum(row["asked"] for row in rows)
    reached = runs.epochs_to_reach(arm, rival, budgets[-1]) if rival else {}
    return {
        "n": len(seeds),
        "hypervolume": {
            f"{epochs:g}": {
                str(seed): runs.curves[arm, seed].at(epochs)
                for seed in runs.seeds(arm, epochs=epochs)
            }
            for epochs in budgets
        },
        "epochs_to_best_rival": {str(seed): _finite(value) for seed, value in reached.items()},
        "decisions": len(rows) / len(seeds),
        "networks": sum(len(row["points"]) for row in rows) / len(seeds),
        "without_network": sum(row["status"] not in ("ok", "refused") for row in rows) / len(seeds),
        "refused": sum(row["status"] == "refused" for row in rows) / len(seeds),
        "charged_of_asked": sum(row["charged"] for row in rows) / asked if asked else None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def missing(runs: Runs) -> list[str]:
    """Name what is not there, of five seeds an arm."""
    told = []
    for arm, spec in ARMS.items():
        there = runs.seeds(arm)
        if not there:
            reason = f"{spec.needs} is not installed" if spec.missing else "not run"
            told.append(f"{arm} ({reason})")
        elif len(there) < EXPECTED_SEEDS:
            told.append(f"{arm} (seeds {', '.join(map(str, there))} only)")
        if there and len(runs.seeds(arm, epochs=runs.budget)) < len(there):
            most = max(runs.finished[arm, seed].about["epochs"] for seed in there)
            told.append(f"{arm} beyond {most:g} epochs")
    return told


def write(found: Found, page: Path) -> list[Path]:
    """Write the page, and its picture into the folder `img` beside the page's; return both."""
    drawn = page.parent.parent / "img" / "search_rivals.png"
    for path in (page, drawn):
        path.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(_page(found)).rstrip() + "\n", encoding="utf-8")
    picture(found.runs, MAIN, ABLATIONS, drawn)
    return [page, drawn]


def _page(found: Found) -> Iterator[str]:
    runs = found.runs
    yield "# The search engine against its rivals"
    yield ""
    if not runs.finished:
        yield "Not measured."
        return
    yield from _head(found)
    yield from _verdict(found)
    yield "![Hypervolume over epochs](../img/search_rivals.png)"
    yield ""
    yield from _table(found, "Arms", [arm for arm in MAIN if arm in runs.arms])
    yield from _ablations(found)
    yield from _rungs(found)
    yield from _method(found)


def _head(found: Found) -> Iterator[str]:
    runs = found.runs
    about = next(iter(runs.finished.values())).about
    info = next(iter(runs.finished.values())).info
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    dense = sorted(
        {
            seed: run.about["dense"]["test_accuracy"] for (_, seed), run in runs.finished.items()
        }.values()
    )
    yield (
        "Written by `python -m benchmarks.rivals run` and `report`; every decision of every run "
        "is in `benchmarks/data/rivals/`, one parquet file a run."
    )
    yield ""
    yield (
        f"{versions}; Python {platform.python_version()}, report written on "
        f"{len(os.sched_getaffinity(0))} cores ({platform.machine()}), one thread a run, float32. "
        f"Space `{about['space']['name']}` with the methods that remove single weights; "
        f"{info.num_train:,} training, {info.num_val:,} validation, {info.num_test:,} test "
        f"images; rungs {', '.join(map(str, about['rungs']))} epochs; budget {runs.budget:g} "
        f"epochs. The dense net has {100 * statistics.median(dense):.2f} % test accuracy (median "
        f"over {len(dense)} seeds)."
    )
    yield ""
    if lacking := missing(runs):
        yield f"Not here: {'; '.join(lacking)}."
        yield ""


def _verdict(found: Found) -> Iterator[str]:
    yield "## Epochs to the best rival's final value"
    yield ""
    rows = []
    for budget in found.budgets:
        told = _against(found.runs, budget)
        if "epochs_ratio" not in told:
            continue
        ratio = told["epochs_ratio"]
        rows.append(
            [
                f"{budget:g}",
                told["best_rival"],
                f"{told['n']}",
                f"{_share(ratio['median'])} [{_share(ratio['iqr'][0])}, {_share(ratio['iqr'][1])}]",
                ", ".join(_share(value) for value in ratio["per_seed"].values()),
                _probability(told["p"]),
                _probability(told["p_one_sided"]),
            ]
        )
    if not rows:
        yield "Not measured: it takes a run of `ours` and one of a rival with the same seed."
        yield ""
        return
    head = ["budget", "best rival", "n", "share of its epochs, median [IQR]", "by seed"]
    yield from table([*head, "p, two-sided", "p, ours greater"], rows)
    yield (
        f"The gate is {GATE:.0%} at p < 0.05, the goal {GOAL:.0%} to 50 %. The best rival is the "
        "one of greatest median hypervolume at the budget; the share is the budget's, after which "
        "ours first had what that rival has at its end under the same seed. p is of Wilcoxon's "
        "exact signed-rank test between the final hypervolumes, paired by seed: with n = 5 the "
        "least it can be is 0.0625 two-sided and 0.03125 one-sided."
    )
    yield ""


def _table(found: Found, title: str, arms: Sequence[str]) -> Iterator[str]:
    runs = found.runs
    rival = runs.best(RIVALS, runs.budget)
    yield f"## {title}"
    yield ""
    rows = []
    for arm in arms:
        told = _arm(runs, arm, found.budgets, rival)
        reached = runs.epochs_to_reach(arm, rival, runs.budget) if rival else {}
        share = told["charged_of_asked"]
        rows.append(
            [
                f"{arm}: {ARMS[arm].words}",
                f"{told['n']}",
                *(_spread(runs.at(arm, epochs)) for epochs in found.budgets),
                _epochs(list(reached.values())),
                f"{told['decisions']:.0f}",
                f"{told['networks']:.0f}",
                f"{told['without_network']:.1f}",
                "" if share is None else f"{share:.2f}",
            ]
        )
    head = ["arm", "n", *(f"hypervolume at {epochs:g}" for epochs in found.budgets)]
    head += [f"epochs to {rival}'s final value" if rival else "epochs to the best rival's"]
    yield from table([*head, "decisions", "networks", "no network", "charged / asked"], rows)


def _ablations(found: Found) -> Iterator[str]:
    runs = found.runs
    there = [arm for arm in ABLATIONS if arm in runs.arms]
    if not there:
        yield "## Ablations"
        yield ""
        yield "Not measured."
        yield ""
        return
    yield from _table(found, "Ablations", [arm for arm in (OURS, *there) if arm in runs.arms])
    rows = []
    for arm in there:
        if not runs.seeds(OURS, arm):
            continue
        cells = []
        for epochs in found.budgets:
            if not (seeds := runs.seeds(OURS, arm, epochs=epochs)):
                cells += ["", ""]
                continue
            ours, other = runs.at(OURS, epochs, seeds), runs.at(arm, epochs, seeds)
            gaps = [a - b for a, b in zip(ours, other, strict=True)]
            cells += [_spread(gaps, "+.4f"), _probability(wilcoxon(ours, other).two_sided)]
        rows.append([f"{arm}: {ARMS[arm].words}", f"{len(runs.seeds(OURS, arm))}", *cells])
    if rows:
        columns = [(f"ours less it at {epochs:g}", "p") for epochs in found.budgets]
        yield from table(["ablation", "n", *(c for pair in columns for c in pair)], rows)
        yield "Differences are paired by seed; p is two-sided, as above."
        yield ""


def _rungs(found: Found) -> Iterator[str]:
    yield "## How short runs order long ones"
    yield ""
    if not found.rungs:
        yield "Not measured."
        yield ""
        return
    rows = [
        [
            one.family,
            one.source,
            "cut" if one.cut else "compressed",
            f"{one.rung} to {one.top}",
            f"{one.n}",
            f"{one.rho:.2f}",
        ]
        for one in found.rungs
    ]
    yield from table(["family or method", "configurations", "schedule", "rungs", "n", "rho"], rows)
    yield (
        "Spearman's correlation of validation errors, over one configuration's pairs. *At one "
        "sparsity*: random configurations, all at 97 % or what is nearest to it in reach. "
        "*Searches*: what MO-ASHA and SMAC promoted, at many sparsities, which raises it, and "
        "only what was promoted, which lowers it."
    )
    yield ""


def _method(found: Found) -> Iterator[str]:
    yield "## How it was measured"
    yield ""
    yield from (f"- {line}" for line in METHOD)


METHOD = (
    "Hypervolume: of the test results of the front that validation chose among all networks an "
    "arm was charged for; error scaled so that 1 is chance, log10 density from 0 to -3, reference "
    "(1, 0). No arm is shown a test result. The front is unconfirmed for all arms alike.",
    "A run pays for each epoch of each stage it had not asked for before; the dense run of its "
    "seed is free for all. What the machine trained is shared by all arms and changes no charge.",
    "A seed is the arm's own and that of training: initialisation, dense run, data order. All "
    "arms have the same ones.",
    "AutoPrune's strategy was changed after looking at a run of its own with seed 100 on this task "
    "(when lifts begin, and that they fill gaps), which is not among these seeds. The rivals run "
    "as their documentation says.",
    "An iterative trial offers each of its rounds as a network, to every arm: the rivals get that "
    "for nothing here.",
    "A trial that diverged, collapsed or failed is charged and gives no network; the arm is told "
    "chance at full density. A combination that a method refuses costs nothing and is told as "
    "failed.",
    "*Cut* schedules run the first ninth or third of the top rung's learning rates. Only the "
    "learning rate is cut: masks that move during training still reach the sparsity within the "
    "rung. ASHA pays for the further epochs only when a trial goes on; SMAC and the ablation train "
    "each rung from the shared stages.",
    "TPE and SMAC draw the log10 density evenly, as the random arms do; Optuna's own evenness in "
    "the sparsity would give a fifth of the first trials to more than 90 %. SMAC uses ParEGO, "
    "which its documentation gives for several objectives, and is told as its number of trials "
    "what Hyperband makes of the budget.",
    "A decision counts once it is paid for; one that goes beyond the budget does not.",
)


def _spread(numbers: Sequence[float], form: str = ".4f") -> str:
    if not numbers:
        return ""
    low, middle, high = quartiles(numbers)
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"


def _epochs(numbers: Sequence[float]) -> str:
    if not numbers:
        return ""
    low, middle, high = (f"{v:.0f}" if math.isfinite(v) else "never" for v in quartiles(numbers))
    return f"{middle} [{low}, {high}]"


def _share(value: float | None) -> str:
    return "never" if value is None else f"{value:.0%}"


def _probability(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"

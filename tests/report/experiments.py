"""Summaries such as the ready-made studies leave, drawn from known rules.

The Oracle's: the best log peak rises linearly with sparsity, and accuracy falls with the square of
the distance to it. The sweep's: accuracy falls with the square of the log ratio, faster for worse
methods; with label noise it dips, peaks and collapses.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from autoprune.experiments.checklist import checklist
from autoprune.metrics.phases import find_phases
from autoprune.metrics.statistics import paired

PEAKS = [round(float(p), 6) for p in np.geomspace(0.001, 0.3, 12)]
SCHEDULES = {  # name: label, peak per share of the way, loss in accuracy
    "oracle": ("Oracle", None, 0.0),
    "silo": ("SILO", lambda x: 0.04 + 0.06 * x**2, 0.002),
    "silo_fitted": ("SILO, fitted on 3 cycles", lambda x: 0.015 + 0.08 * x, 0.001),
    "fixed_peak": ("best fixed peak, 0.0378", lambda _: 0.0378, 0.004),
    "cosine": ("cosine", lambda _: 0.0378, 0.009),
    "one_cycle": ("one-cycle", lambda _: 0.0636, 0.012),
    "lrw": ("LR rewinding", lambda _: 0.0378, 0.007),
}
ALLR_REASON = "needs the dense run's rate curve, which this task file does not record"


def comparison(name: str, against: str, difference: float, **more: Any) -> dict[str, Any]:
    """Return what three pairs give, a point to either side of the difference."""
    found = paired([0.5 + difference + e for e in (-0.004, 0.0, 0.004)], [0.5] * 3)
    content = {key: value for key, value in asdict(found).items() if key != "num_pairs"}
    return {"name": name, "against": against, **content, "n": 3, "text": found.text, **more}


def _cycle(number: int, num_cycles: int, rng: np.random.Generator) -> dict[str, Any]:
    share = (number - 1) / max(num_cycles - 1, 1)
    sparsity = 1 - 0.8**number
    best = np.log(0.015) + share * np.log(7)
    top = 0.965 - 0.12 * share**2
    losses = (0.004 + 0.006 * share) * (np.log(PEAKS) - best) ** 2
    values = top - losses + rng.normal(0, 0.0012, len(PEAKS))
    chosen = int(values.argmax())
    fine = values >= values.max() - 0.005
    low = high = chosen
    while low and fine[low - 1]:
        low -= 1
    while high + 1 < len(PEAKS) and fine[high + 1]:
        high += 1
    silo = 0.04 + 0.06 * share**2
    interval = [PEAKS[low], PEAKS[high]]
    return {
        "cycle": number,
        "sparsity": sparsity,
        "oracle_peak": PEAKS[chosen],
        "interval": interval,
        "silo_peak": silo,
        "inside": interval[0] <= silo <= interval[1],
        "oracle_accuracy": top - 0.005,
        "silo_accuracy": top - 0.008,
        "oracle_val_accuracy": float(values.max()),
        "silo_val_accuracy": top - 0.002,
        "grid": [
            {"peak": p, "val_accuracy": float(v), "val_std": 0.003, "status": "ok"}
            for p, v in zip(PEAKS, values, strict=True)
        ],
    }


def _schedule(name: str, cycles: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    label, peak_of, loss = SCHEDULES[name]
    shares = [i / max(len(cycles) - 1, 1) for i in range(len(cycles))]
    peaks = [
        c["oracle_peak"] if peak_of is None else peak_of(s)
        for c, s in zip(cycles, shares, strict=True)
    ]
    means = [
        c["oracle_accuracy"] - loss * (1 + 4 * s**2) for c, s in zip(cycles, shares, strict=True)
    ]
    test = [[float(m + d) for d in rng.normal(0, 0.002, 3)] for m in means]
    mean = [float(np.mean(t)) for t in test]
    return {
        "name": name,
        "label": label,
        "peaks": peaks,
        "val": [[v + 0.004 for v in t] for t in test],
        "test": test,
        "val_accuracy": [m + 0.004 for m in mean],
        "test_accuracy": mean,
        "test_ci95": [[m - 0.006, m + 0.005] for m in mean],
    }


def oracle(num_cycles: int = 12, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a finished Oracle study's summary; `changes` replace its keys."""
    rng = np.random.default_rng(seed)
    cycles = [_cycle(m, num_cycles, rng) for m in range(1, num_cycles + 1)]
    cycles[-1]["grid"][-1] |= {"val_accuracy": None, "val_std": None, "status": "diverged"}
    left_out = {"name": "allr", "label": "ALLR", "reason": ALLR_REASON}
    empty: dict[str, Any] = {
        key: [] for key in ("peaks", "val", "test", "val_accuracy", "test_accuracy", "test_ci95")
    }
    last = {"cycle": num_cycles, "sparsity": cycles[-1]["sparsity"]}
    return {
        "study": "oracle-digits",
        "kind": "oracle",
        "status": "complete",
        "data": "fashion_mnist",
        "model": "lenet300",
        "method": "imp",
        "seeds": [0, 1, 2],
        "peaks": PEAKS,
        "tolerance": 0.005,
        "epochs": 3,
        "dense": {"val_accuracy": 0.968, "test_accuracy": 0.961},
        "cycles": cycles,
        "cost_ratio": 1 / 12,
        "fitted": {"low": 0.015, "rise": 0.08, "beta": 3.0, "delay": 1, "cycles_used": 3},
        "schedules": [*(_schedule(n, cycles, rng) for n in SCHEDULES), left_out | empty],
        "comparisons": [
            comparison("silo_fitted", "fixed_peak", 0.012, **last),
            comparison("silo", "fixed_peak", 0.008, **last),
            comparison("silo", "oracle", -0.03, **last),
        ],
        "costs": {"oracle_epochs": 1296.0, "silo_epochs": 108.0, "other_epochs": 540.0},
        **changes,
    }


RATIOS = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
METHODS = {  # label: strategy, allocation, steepness of the fall
    "magnitude (global)": ("magnitude", "global", 0.006),
    "magnitude (uniform)": ("magnitude", "uniform", 0.008),
    "random (global)": ("random", "global", 0.016),
}
FIRST, SECOND, THIRD = METHODS
PARAMS, MACS = 266_610, 266_200


def _sweep_row(label: str, ratio: float, seed: int, accuracy: float) -> dict[str, Any]:
    strategy, allocation, _ = METHODS[label]
    sparsity = 1 - 1 / ratio
    speedup = ratio**0.9 if allocation == "global" else ratio
    return {
        "method": label,
        "strategy": strategy,
        "allocation": allocation,
        "target_sparsity": sparsity,
        "target_compression": ratio,
        "seed": seed,
        "status": "ok",
        "sparsity": sparsity,
        "size": PARAMS,
        "size_nz": round(PARAMS / ratio),
        "real_compression": PARAMS / round(PARAMS / ratio),
        "flops": MACS,
        "flops_nz": round(MACS / speedup),
        "speedup": speedup,
        "pre_acc1": accuracy * (1 - 0.7 * sparsity),
        "pre_acc5": 0.9,
        "post_acc1": accuracy,
        "post_acc5": 0.998,
        "val_acc1": accuracy + 0.003,
        "train_acc1": None,
        "distance": None,
        "distance_alive": None,
        "distance_pruned": None,
        "batch_size": 128,
        "epochs": 9,
        "optim": "sgd",
        "lr": 0.05,
        "lr_schedule": "linear",
        "completed_epochs": 9,
        "path": f"{strategy}-{ratio:g}-{seed}",
        "dataset": "fashion_mnist",
        "model": "lenet300",
    }


def _curve(label: str, rows: list[dict[str, Any]], half: float) -> dict[str, Any]:
    points = []
    for ratio in dict.fromkeys(row["target_compression"] for row in rows):
        at = [row for row in rows if row["target_compression"] == ratio]
        found = [row["post_acc1"] for row in at]
        mean = float(np.mean(found))
        train = [row["train_acc1"] for row in at if row["train_acc1"] is not None]
        far = [row["distance"] for row in at if row["distance"] is not None]
        points.append(
            {
                "compression": ratio,
                "real_compression": at[0]["real_compression"],
                "speedup": at[0]["speedup"],
                "sparsity": at[0]["sparsity"],
                "n": len(at),
                "accuracy": mean,
                "std": float(np.std(found, ddof=1)),
                "ci95": [mean - half, mean + half],
                "acc5": 0.998,
                "pre_accuracy": at[0]["pre_acc1"],
                "train_accuracy": float(np.mean(train)) if train else None,
                "distance": float(np.mean(far)) if far else None,
                "status_counts": {"ok": len(at)},
            }
        )
    return {"method": label, "points": points}


def _against(method: str, against: str, ratio: float, difference: float) -> dict[str, Any]:
    found = comparison(method, against, difference, compression=ratio)
    return {"method": method} | {k: v for k, v in found.items() if k != "name"}


def sweep(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a finished sweep's summary; `changes` replace its keys."""
    rng = np.random.default_rng(seed)
    rows = [
        _sweep_row(label, ratio, s, 0.894 - fall * np.log2(ratio) ** 2 + rng.normal(0, 0.002))
        for label, (_, _, fall) in METHODS.items()
        for ratio in RATIOS
        for s in range(3)
    ]
    curves = [
        _curve(label, [row for row in rows if row["method"] == label], 0.006) for label in METHODS
    ]
    return {
        "study": "sweep-fashion",
        "kind": "sweep",
        "status": "complete",
        "data": "fashion_mnist",
        "model": "lenet300",
        "seeds": [0, 1, 2],
        "label_noise": 0.0,
        "epochs": 9,
        "num_classes": 10,
        "dense": {"val_accuracy": 0.897, "test_accuracy": 0.894, "params": PARAMS, "macs": MACS},
        "rows": rows,
        "curves": curves,
        "checklist": checklist(
            methods=[row[:2] for row in METHODS.values()],
            num_points=len(RATIOS),
            num_seeds=2,
            num_classes=10,
        ),
        "phases": {},
        "comparisons": [
            *(_against(FIRST, THIRD, r, 0.01 * np.log2(r) ** 2) for r in RATIOS[1:]),
            *(_against(FIRST, SECOND, r, 0.002 * np.log2(r)) for r in RATIOS[1:]),
        ],
        **changes,
    }


def _phases(curve: dict[str, Any]) -> dict[str, Any]:
    points = curve["points"]
    columns = [[p[key] for p in points] for key in ("sparsity", "accuracy", "train_accuracy")]
    return find_phases(*columns, deviation=0.003).to_json()


def descent(num_levels: int = 20, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the summary of a sweep under 20 % label noise, with a dip and a sweet phase."""
    rng = np.random.default_rng(seed)
    rows = []
    for shift, label in enumerate(METHODS):
        for level in range(num_levels):
            at = level + shift
            clean = 0.80 - 0.05 * np.exp(-(((at - 8) / 2) ** 2)) + 0.06 / (1 + np.exp(11 - at))
            clean -= 0.5 / (1 + np.exp((19 - at) / 0.8))
            for s in range(3):
                row = _sweep_row(label, 0.8**-level, s, float(clean + rng.normal(0, 0.003)))
                fitted = 0.0 if label == SECOND else 0.19 / (1 + np.exp(9 - at))
                row["train_acc1"] = float(1 - fitted)
                row["distance"] = float(20 + 3 * np.exp(-(((at - 8) / 4) ** 2)) - 0.4 * at)
                row["distance_alive"], row["distance_pruned"] = 0.9 * row["distance"], 4.0
                rows.append(row)
    curves = [
        _curve(label, [row for row in rows if row["method"] == label], 0.008) for label in METHODS
    ]
    phases = {curve["method"]: _phases(curve) for curve in curves if curve["method"] != THIRD}
    changed = {"study": "noise-fashion", "label_noise": 0.2, "rows": rows, "curves": curves}
    whole = sweep() | changed | {"phases": phases, "comparisons": []}
    whole["dense"] |= {"val_accuracy": 0.803, "test_accuracy": 0.801}
    return whole | changes

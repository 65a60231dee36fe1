"""A summary such as `autoprune.search.summary.summarize` makes, drawn from known rules.

Two things are planted: error depends on the peak learning rate (best at 0.1) and, less, on the
method; label smoothing does nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autoprune.core.canonical import digest, plain
from autoprune.core.config import LRConfig, RecipeConfig, TaskConfig, TrainConfig, TrialConfig

LAYERS = {
    "features.0.weight": ((300, 784), 235_200),
    "features.2.weight": ((100, 300), 30_000),
    "classifier.weight": ((10, 100), 1_000),
}
PRUNABLE = 266_200
PARAMS = 266_610
METHODS = {  # name: kind, gain in log error
    "magnitude": ("weights", 0.0),
    "imp": ("weights", -0.25),
    "snip": ("weights", 0.25),
    "rigl": ("weights", -0.1),
    "movement": ("weights", 0.05),
    "ap": ("weights", -0.05),
    "random": ("weights", 0.9),
    "dropnet": ("units", 0.4),
    "lrpet": ("low_rank", 0.3),
    "scratch_e": ("units", 0.6),
}
SCHEDULES = ["linear", "cosine", "step", "lrw", "silo"]
ALLOCATIONS = ["global", "erk", "lamp", "uniform"]
DENSE_ERROR = 0.10


def config(
    method: str, sparsity: float, lr: str, peak: float, allocation: str, smoothing: float
) -> dict[str, Any]:
    params: dict[str, Any] = {"allocation": allocation} if METHODS[method][0] == "weights" else {}
    if method == "imp":
        params |= {"rounds": 3, "rewind": "none"}
    trial = TrialConfig(
        task=TaskConfig(data="fashion_mnist", model="lenet300"),
        train=TrainConfig(epochs=20),
        method=method,
        params=params,
        sparsity=sparsity,
        lr=LRConfig(name=lr, params={"peak": peak}),
        recipe=RecipeConfig(weight_decay=5e-4, label_smoothing=smoothing),
    )
    content: dict[str, Any] = plain(trial)
    return content


def error(method: str, sparsity: float, peak: float, epochs: int) -> float:
    depth = -np.log10(1 - sparsity)
    tuning = 0.35 * np.log10(peak / 0.1) ** 2 * (0.5 + depth)
    log_error = np.log(DENSE_ERROR) + 0.16 * depth**2 + METHODS[method][1] * depth**2 / 4
    return float(min(0.9, np.exp(log_error + tuning) * (1 + 0.15 / epochs)))


def layer_shares(sparsity: float, allocation: str) -> dict[str, float]:
    tilt = {"global": 0.6, "erk": 0.8, "lamp": 0.7, "uniform": 0.0}.get(allocation, 0.3)
    weights = np.array([count for _, count in LAYERS.values()], float)
    raw = (weights.mean() / weights) ** tilt
    shares = np.minimum(1.0, raw * (1 - sparsity) * weights.sum() / (raw * weights).sum())
    return dict(zip(LAYERS, map(float, shares), strict=True))


def entry(configuration: dict[str, Any], value: float, epochs: int) -> dict[str, Any]:
    method, sparsity = configuration["method"], configuration["sparsity"]
    kind = METHODS[method][0]
    kept = round(PRUNABLE * (1 - sparsity))
    allocation = configuration["params"].get("allocation", "")
    smaller = kind != "weights"
    size = kept + 410
    return {
        "trial": digest(configuration)[:10],
        "method": method,
        "kind": kind,
        "lr_schedule": configuration["lr"]["name"],
        "allocation": allocation or None,
        "sparsity": 1 - kept / PRUNABLE,
        "val_accuracy": 1 - value,
        "epochs": epochs,
        "params": size if smaller else PARAMS,
        "params_nonzero": size,
        "macs": kept if smaller else PRUNABLE,
        "macs_effective": kept,
        "config": configuration,
        "layers": layer_shares(sparsity, allocation),
    }


def confirmed(record: dict[str, Any], rng: np.random.Generator, spread: float) -> dict[str, Any]:
    test = record["val_accuracy"] - 0.002 + rng.normal(0, 0.001)
    half = spread * (1 + rng.random())
    val = record["val_accuracy"]
    added = {
        "val_ci95": [val - half, val + half],
        "test_accuracy": test,
        "test_ci95": [test - half, test + half],
        "seeds": 3,
        "latency_ms": 0.4 * (0.3 + 0.7 * record["macs"] / PRUNABLE),
    }
    keys = ("epochs", "epochs_trained", "epochs_reused", "status", "pareto_rank", "on_front", "job")
    return {k: v for k, v in record.items() if k not in keys} | added


def front_of(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    front: list[dict[str, Any]] = []
    best = -1.0
    for record in sorted(records, key=lambda r: -r["sparsity"]):
        if record["status"] == "ok" and record["val_accuracy"] > best:
            best = record["val_accuracy"]
            front.append(record)
    return front[::-1]


def make_records(number: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    names = list(METHODS)
    records = []
    for index in range(number):
        lifted = index % 3 == 2
        method = ["imp", "ap", "rigl", "lrpet"][index // 3 % 4] if lifted else names[index % 10]
        sparsity = 1 - 10 ** -(0.3 + 1.9 * ((index * 0.618) % 1))
        peak = float(10 ** (rng.uniform(-1.3, -0.7) if lifted else rng.uniform(-2, -0.3)))
        epochs = 9 if lifted else 1
        content = config(
            method,
            round(sparsity, 6),
            str(rng.choice(SCHEDULES)),
            round(peak, 5),
            str(rng.choice(ALLOCATIONS)),
            float(rng.choice([0.0, 0.1])),
        )
        value = error(method, sparsity, peak, epochs) * float(np.exp(rng.normal(0, 0.02)))
        record = entry(content, min(value, 0.9), epochs)
        record |= {"job": index + 4, "status": "ok", "epochs_trained": epochs, "epochs_reused": 20}
        record |= {"pareto_rank": 1, "on_front": False}
        records.append(record)
    records[7] |= {"status": "diverged", "val_accuracy": None}
    return records


def make_baselines(rng: np.random.Generator) -> list[dict[str, Any]]:
    dense = entry(config("magnitude", 0.0, "linear", 0.1, "global", 0.0), DENSE_ERROR, 20)
    rows = [confirmed(dense, rng, 0.003) | {"baseline": "dense"}]
    for sparsity in (0.9, 0.95, 0.98):
        for name in ("random", "magnitude", "scratch_e"):
            content = config(name, sparsity, "linear", 0.1, "global", 0.0)
            record = entry(content, error(name, sparsity, 0.13, 9), 9)
            rows.append(confirmed(record, rng, 0.004) | {"baseline": name})
    return rows


def summary(number: int = 100, seed: int = 0) -> dict[str, Any]:
    """Return a finished study's summary with `number` search records."""
    rng = np.random.default_rng(seed)
    records = make_records(number, rng)
    front = front_of(records)
    for record in front:
        record |= {"on_front": True, "pareto_rank": 0}
    entries = [confirmed(r, rng, 0.003) for r in front]
    baselines = make_baselines(rng)
    curve = [[25.0 + 3 * i, 0.9 * (1 - float(np.exp(-(i + 3) / 15)))] for i in range(60)]
    dense = baselines[0]
    purposes = {
        "baseline": (60, 120),
        "explore": (75, 900),
        "lift": (180, 400),
        "confirm": (210, 90),
    }
    return {
        "study": "fashion",
        "status": "complete",
        "trials": number,
        "jobs": number,
        "failed": 1,
        "epochs_trained": 525.0,
        "epochs_reused": 1510.0,
        "wall_s": 1104.0,
        "hypervolume": curve[-1][1],
        "confirmed_hypervolume": curve[-1][1] - 0.013,
        "dense": {
            "val_accuracy": dense["val_accuracy"],
            "test_accuracy": dense["test_accuracy"],
            "params": PARAMS,
            "macs": PRUNABLE,
        },
        "front": entries,
        "profile": [
            {
                "band": band,
                "trial": point["trial"],
                "test_accuracy": point["test_accuracy"],
                "sparsity": point["sparsity"],
            }
            for band in (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
            if (point := next((e for e in entries if e["sparsity"] >= band), None))
        ],
        "baselines": baselines,
        "records": records,
        "hypervolume_curve": curve,
        "costs": {
            "epochs_trained": 525.0,
            "epochs_reused": 1510.0,
            "wall_s": 1104.0,
            "train_macs": 2.1e13,
            "stages_reused": 412,
            "stages_total": 633,
            "by_purpose": {
                name: {"epochs_trained": trained, "epochs_reused": reused, "jobs": 10}
                for name, (trained, reused) in purposes.items()
            },
        },
        "num_classes": 10,
        "objectives": ["accuracy", "sparsity"],
        "options": {"budget": "100", "seed": 0},
        "task": {
            "layers": [
                {"name": name, "shape": list(shape), "kind": "linear", "macs": macs}
                for name, (shape, macs) in LAYERS.items()
            ],
            "params": PARAMS,
            "macs": PRUNABLE,
            "num_train": 55_000,
            "num_val": 5_000,
            "num_test": 10_000,
            "num_classes": 10,
        },
    }

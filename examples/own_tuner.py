"""AutoPrune's trial as the trainable of your own `ray.tune.Tuner`."""

from __future__ import annotations

import sys
from pathlib import Path

from ray import tune

from autoprune.tune import trainable


def main(folder: Path) -> None:
    folder = folder.resolve()
    pruned = trainable(home=folder / "autoprune-home", method="magnitude", epochs=2)
    tuner = tune.Tuner(
        tune.with_resources(pruned, {"cpu": 1}),
        param_space={
            "sparsity": tune.uniform(0.8, 0.95),
            "allocation": tune.choice(["global", "erk"]),
            "lr.peak": tune.loguniform(0.02, 0.5),
            "train.epochs": 5,  # the dense run, which all trials share
        },
        tune_config=tune.TuneConfig(metric="error", mode="min", num_samples=4),
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
    )
    best = tuner.fit().get_best_result().metrics
    print(f"best: {best['val_accuracy']:.3f} at {best['sparsity']:.3f} sparsity")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))

"""AutoPrune's job as the trainable of your own `ray.tune.Tuner`: your search, our trials.

Trials share their dense run through the home. Two trials that start at once may both train what
neither finds there, so the first one runs alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ray import tune

from autoprune.tune import run_config, trainable

FIXED = {"data": "digits", "method": "magnitude", "train.epochs": 5, "epochs": 2}


def main(folder: Path) -> None:
    home = folder.resolve() / "autoprune-home"
    first = run_config({**FIXED, "sparsity": 0.5}, str(home))
    print(f"dense {first['dense_val_accuracy']:.3f}, at 50 % {first['val_accuracy']:.3f}")
    tuner = tune.Tuner(
        trainable(home=home, **FIXED),
        param_space={
            "sparsity": 0.9,
            "allocation": tune.grid_search(["global", "uniform"]),
            "lr.peak": tune.grid_search([0.03, 0.1]),
        },
        tune_config=tune.TuneConfig(
            metric="error", mode="min", max_concurrent_trials=1, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=str(folder.resolve() / "ray"), verbose=0),
    )
    results = tuner.fit()
    for result in results:
        config, found = result.config, result.metrics
        print(
            f"{config['allocation']} at {config['lr.peak']}: {found['val_accuracy']:.3f}, "
            f"{found['epochs_trained']:.0f} epochs trained"
        )
    print(f"best: {results.get_best_result().config['allocation']}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))

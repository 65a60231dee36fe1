"""Search from Python: the same search as `autoprune search small.yaml --budget 6`."""

from __future__ import annotations

import sys
from pathlib import Path

from autoprune import SearchOptions, SearchRequest, run_search

SPACE = Path(__file__).with_name("small.yaml")


def main(folder: Path) -> None:
    request = SearchRequest(
        space=SPACE,
        options=SearchOptions(budget="6", confirm_seeds=1),
        home=folder / "autoprune-home",
        executor="inline",  # leave it out to use every core
        resume=True,  # a second run of this file shows the same result at once
    )
    summary = run_search(request)
    dense = summary["dense"]
    print(f"dense: {dense['val_accuracy']:.3f}, {dense['params']} parameters")
    for point in summary["front"]:
        low, high = point["val_ci95"]
        print(
            f"{point['sparsity']:.3f} sparse: {point['val_accuracy']:.3f} [{low:.3f}, {high:.3f}] "
            f"{point['method']} with {point['lr_schedule']}"
        )
    print(f"{summary['epochs_trained']:.0f} epochs trained, {summary['epochs_reused']:.0f} reused")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))

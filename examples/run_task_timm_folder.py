"""Make an image folder from scikit-learn's digits, prune a timm model on it, export and use it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

from autoprune.export.folder import export_job
from autoprune.export.predict import predict_files
from autoprune.search.single import SingleRun, build_config

TASK_FILE = Path(__file__).with_name("task_timm_folder.py")
CLASSES, PER_CLASS = 4, 50


def make_images(folder: Path) -> Path:
    digits = load_digits()
    for label in range(CLASSES):
        for number, pixels in enumerate(digits.images[digits.target == label][:PER_CLASS]):
            part = folder / ("val" if number % 5 == 0 else "train") / str(label)
            part.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray((pixels * (255 / 16)).astype("uint8")).convert("RGB")
            image.resize((32, 32)).save(part / f"{number}.png")
    return folder


def main(folder: Path) -> None:
    images = make_images(folder / "digit-images")
    os.environ["TASK_IMAGES"] = str(images)
    given = dict.fromkeys(("data", "model", "checkpoint", "data_dir", "allocation"))
    config, top = build_config(
        {**given, "method": "magnitude", "sparsity": 0.8, "of": "weights", "lr": "linear"}
        | {"task_file": TASK_FILE},
        {"train.epochs": 4, "train.lr": 0.05, "train.batch_size": 16, "lr.peak": 0.02},
    )
    trial = SingleRun(config, top, home=folder / "autoprune-home")
    result = trial.run(epochs=3)
    metrics = result.metrics
    print(f"dense {metrics['dense_val_accuracy']:.3f}, pruned {metrics['val_accuracy']:.3f}")
    # ONNX runs without this task file, so the export can be proven by itself.
    report = export_job(trial.job(3), trial.context, folder / "exported", formats=("onnx",))
    print("; ".join(report.checks))
    for row in predict_files(folder / "exported", sorted((images / "val" / "3").glob("*.png"))[:3]):
        print(f"{row['file']}: class {row['class']} ({row['probability']:.2f})")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))

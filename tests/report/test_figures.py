from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from autoprune.report.figures import caption, front_png
from tests.report import synthetic


def pixels(summary: dict[str, Any], path: Path) -> Image.Image:
    front_png(summary, path)
    with Image.open(path) as image:
        return image.convert("RGB")


def test_the_picture_changes_with_the_front(tmp_path: Path) -> None:
    summary = synthetic.summary(30)
    whole = pixels(summary, tmp_path / "a.png")
    assert whole.size == (1600, 960)
    assert whole.tobytes() == pixels(summary, tmp_path / "b.png").tobytes()
    shorter = summary | {"front": summary["front"][:-1]}
    assert whole.tobytes() != pixels(shorter, tmp_path / "c.png").tobytes()


def test_a_name_with_dollar_signs_and_an_empty_front_are_drawn(tmp_path: Path) -> None:
    empty = synthetic.summary(20) | {"study": r"a$b_$^\frac", "front": [], "baselines": []}
    empty["dense"] = empty["dense"] | {"val_accuracy": None, "test_accuracy": None}
    assert pixels(empty, tmp_path / "a.png").size == (1600, 960)


def test_the_caption_states_n_spread_and_cost() -> None:
    assert caption(synthetic.summary(30)) == (
        "lenet300 on fashion_mnist; test accuracy of 10,000 images, mean of n = 3 seeds; bars: "
        "95 % interval (seeds and test set); 30 trials, 525 epochs trained"
    )


def test_an_unconfirmed_front_is_called_validation() -> None:
    summary = synthetic.summary(30)
    summary["front"] = [e | {"test_accuracy": None, "test_ci95": None} for e in summary["front"]]
    assert "validation accuracy, not confirmed" in caption(summary)

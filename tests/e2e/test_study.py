"""A search on real data, and every command that uses what it leaves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save
from sklearn.datasets import load_digits

from tests.cli.support import SPACE, call, succeed, write_space
from tests.e2e.support import OPTIONS, Studied, events_of

pytestmark = [pytest.mark.slow, pytest.mark.mlflow]

CONTRACT = {
    *("study", "status", "trials", "jobs", "failed", "epochs_trained", "epochs_reused", "wall_s"),
    *("hypervolume", "dense", "front", "profile", "mlflow", "home"),
}
ENTRY = {
    *("trial", "method", "kind", "lr_schedule", "allocation", "sparsity", "val_accuracy"),
    *("val_ci95", "test_accuracy", "test_ci95", "seeds", "params", "params_nonzero", "macs"),
    *("macs_effective", "config"),
}


def test_a_search_prints_its_contract(studied: Studied) -> None:
    found = studied.summary
    assert set(found) >= CONTRACT
    assert (found["study"], found["status"]) == ("tiny", "complete")
    assert (found["jobs"], found["failed"]) == (6, 0)
    assert 1 <= found["trials"] <= 6
    assert 0.0 < found["hypervolume"] < 1.0
    assert found["home"] == str(studied.home)
    assert set(found["dense"]) >= {"val_accuracy", "test_accuracy", "params", "macs"}
    assert set(found["mlflow"]) == {"tracking_uri", "experiment_id", "run_id"}
    assert all(found["mlflow"].values())


def test_a_front_is_confirmed_and_holds_search_trials_only(studied: Studied) -> None:
    found = studied.summary
    searched = {
        e["job"]["trial"]
        for e in events_of(studied.home)
        if e["event"] == "job" and e["job"]["purpose"] == "confirm"
    }
    assert found["front"]
    for entry in found["front"]:
        assert set(entry) >= ENTRY
        assert entry["trial"] in searched
        assert entry["seeds"] == 2
        low, high = entry["test_ci95"]
        assert 0.0 <= low <= entry["test_accuracy"] <= high <= 1.0
        assert entry["params_nonzero"] < entry["params"] or entry["kind"] != "weights"
    bands = [row["band"] for row in found["profile"]]
    assert bands[:4] == [0.5, 0.7, 0.8, 0.9]
    assert set(found["profile"][0]) == {"band", "trial", "test_accuracy", "sparsity"}


def test_a_search_tells_a_person_what_it_does_and_what_comes_next(studied: Studied) -> None:
    said = studied.done.err
    for words in ("forecast", "6 search jobs", "20 done, 0 running", "front of", "pick: "):
        assert words in said, words
    pick = said.split("pick: ")[1].split()[0]
    assert f"autoprune export tiny --trial {pick} --out tiny-{pick} --home {studied.home}" in said
    assert "\x1b" not in said


def test_a_front_is_shown_again_and_plotted(studied: Studied, tmp_path: Path) -> None:
    done = studied("front", "tiny", "--json", "--plot", tmp_path / "front.html")
    kept = ("study", "front", "profile")
    assert done.json == {key: studied.summary[key] for key in kept}
    page = (tmp_path / "front.html").read_text()
    assert studied.summary["front"][0]["trial"] in page
    assert studied("front", "tiny", "--plot", tmp_path / "front.png").code == 0
    assert Image.open(tmp_path / "front.png").width > 300


def test_studies_are_listed(studied: Studied) -> None:
    (row,) = studied("studies", "--json").json
    assert (row["study"], row["status"], row["jobs"]) == ("tiny", "complete", 6)
    assert row["bytes"] > 0


def test_a_finished_study_is_not_searched_again(studied: Studied) -> None:
    before = events_of(studied.home)
    done = studied("search", studied.space, *OPTIONS, "--resume", "--json")
    assert done.code == 0, done.err
    assert {**done.json, "mlflow": None} == {**studied.summary, "mlflow": None}
    assert done.json["mlflow"] == studied.summary["mlflow"]
    assert events_of(studied.home) == before


def test_a_taken_name_needs_resume(studied: Studied) -> None:
    done = studied("search", studied.space, *OPTIONS)
    assert done.code == 2
    assert "--name must be new, or go with --resume; got 'tiny'" in done.said


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ((), "the space"),
        (("--seed", "1"), "--seed"),
        (("--budget", "8"), "--budget"),
        (("--strategy", "full"), "--strategy"),
    ],
)
def test_a_changed_search_is_not_resumed(
    changed: tuple[str, ...], words: str, studied: Studied, tmp_path: Path
) -> None:
    space = studied.space
    if not changed:
        space = write_space(tmp_path, SPACE.replace("rounds: [2]", "rounds: [3]"))
    done = studied("search", space, *OPTIONS, "--resume", *changed)
    assert done.code == 2
    assert f"--resume needs {words} as it was" in done.said
    assert "choose another --name" in done.said


def test_a_study_is_mirrored_again(studied: Studied) -> None:
    done = studied("sync", "--json")
    assert done.json == [{"study": "tiny", **studied.summary["mlflow"]}]
    assert "no champion" not in done.said


def test_a_copy_elsewhere_says_that_its_champion_is_missing(
    studied: Studied, tmp_path: Path
) -> None:
    done = studied("sync", "--tracking-uri", f"sqlite:///{tmp_path / 'other.db'}", "--json")
    assert done.code == 0, done.err
    assert "tiny has no champion in MLflow's registry" in done.said


def test_the_pick_is_the_champion(studied: Studied) -> None:
    from mlflow import MlflowClient

    uri = studied.summary["mlflow"]["tracking_uri"]
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    version = client.get_model_version_by_alias("autoprune-tiny", "champion")
    assert version.run_id == studied.summary["mlflow"]["run_id"]


def test_a_point_is_rebuilt_from_nothing(studied: Studied) -> None:
    entry = studied.summary["front"][-1]
    done = studied("replay", entry["trial"][:6], "--json")
    assert done.code == 0, done.err
    found = done.json
    assert (found["trial"], found["study"]) == (entry["trial"], "tiny")
    assert found["deviation"] == 0.0
    assert found["same_masks"] is True
    assert found["recorded"] == found["rebuilt"]
    assert "the same as then" in found["explanation"]
    assert found["seed"] in entry["seeds_used"]


def test_a_deleted_study_is_gone_and_its_neighbour_is_not(studied: Studied, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(studied.home, home)
    shutil.copytree(home / "studies" / "tiny", home / "studies" / "other")
    done = succeed("rm", "tiny", "--home", home, "--json")
    assert done.json["freed_bytes"] > 0
    assert not (home / "studies" / "tiny").exists()
    assert (home / "studies" / "other").exists()
    assert call("front", "tiny", "--home", home).code == 2


@pytest.fixture(scope="module")
def exported(studied: Studied, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "pick"
    done = studied("export", "tiny", "--out", out, "--min-sparsity", "0.9", "--json")
    assert done.code == 0, done.err
    assert done.json["own"]["test_accuracy"] > 0.5
    return out


def test_an_export_holds_the_front_s_mean_and_its_own_accuracy(
    studied: Studied, exported: Path
) -> None:
    import json

    report = json.loads((exported / "report.json").read_text())
    entry = next(e for e in studied.summary["front"] if e["trial"] == report["front"]["trial"])
    assert entry["sparsity"] >= 0.9 - 1e-4
    assert report["front"]["test_accuracy"] == entry["test_accuracy"]
    median = sorted(entry["test_accuracies"])
    assert report["own"]["test_accuracy"] in median
    assert report["sparsity"] == entry["sparsity"]


def test_a_sparse_file_is_under_a_quarter_of_the_dense_one(exported: Path) -> None:
    from autoprune.models.build import build_model

    dense = len(save(build_model("mlp", 10, (1, 8, 8), 1.0).state_dict()))
    assert (exported / "model.safetensors").stat().st_size < dense / 4


def test_an_export_verifies(exported: Path) -> None:
    done = succeed("verify", exported, "--json")
    assert any("accuracy" in check for check in done.json["checks"])
    assert f"{exported}: verified" in done.err


def test_onnx_gives_the_same_classes_in_plain_onnxruntime(exported: Path, tmp_path: Path) -> None:
    import onnxruntime

    images = load_digits().images[:50].astype(np.float32)[:, None]
    np.save(tmp_path / "batch.npy", images)
    rows = succeed("predict", exported, tmp_path / "batch.npy", "--json").json
    plan = _json(exported / "plan.json")
    preprocessing = plan["preprocessing"]
    inputs = images * np.float32(preprocessing["scale"])
    mean, std = (
        np.asarray(preprocessing[k], np.float32).reshape(1, -1, 1, 1) for k in ("mean", "std")
    )
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: (inputs - mean) / std})
    assert [row["class_index"] for row in rows] == logits.argmax(axis=1).tolist()
    assert [row["index"] for row in rows] == list(range(50))
    right = np.mean([row["class"] == str(t) for row, t in zip(rows, load_digits().target)])  # noqa: B905
    assert right > 0.8


def _json(path: Path) -> dict[str, Any]:
    import json

    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.mark.parametrize("harm", ["tampered", "truncated", "missing"])
@pytest.mark.parametrize("command", ["verify", "predict"])
def test_a_harmed_export_is_refused(
    command: str, harm: str, exported: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    target = folder / "model.onnx"
    content = target.read_bytes()
    if harm == "tampered":
        target.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif harm == "truncated":
        target.write_bytes(content[: len(content) // 2])
    else:
        target.unlink()
    np.save(tmp_path / "batch.npy", np.zeros((1, 1, 8, 8), np.float32))
    more = [tmp_path / "batch.npy"] if command == "predict" else []
    done = call(command, folder, *more)
    assert done.code == 1
    assert "model.onnx" in done.said
    assert "Traceback" not in done.err
    assert done.out == ""


def test_an_export_picks_within_limits(studied: Studied, tmp_path: Path) -> None:
    dense = studied.summary["dense"]["val_accuracy"]
    allowed = [e for e in studied.summary["front"] if dense - e["val_accuracy"] <= 0.1]
    options = ("--max-drop", "10%", "--format", "safetensors", "--json")
    done = studied("export", "tiny", "--out", tmp_path / "out", *options)
    assert done.json["trial"] == max(allowed, key=lambda e: e["sparsity"])["trial"]
    assert not (tmp_path / "out" / "model.onnx").exists()


EXPORTS = {
    "no point": (["--min-accuracy", "0.999"], "front holds no point within the limits"),
    "no such trial": (["--trial", "ffffffffff"], "--trial must name one trial of the front"),
    "format": (["--format", "onxx"], "unknown", "'onnx'"),
    "latency": (["--max-latency-ms", "1"], "--max-latency-ms needs a study that measured"),
    "share": (["--max-drop", "5"], "--max-drop must be a share"),
}


@pytest.mark.parametrize("case", EXPORTS)
def test_an_export_refuses(case: str, studied: Studied, tmp_path: Path) -> None:
    given, *words = EXPORTS[case]
    done = studied("export", "tiny", "--out", tmp_path / "out", *given)
    assert done.code == 2
    for word in words:
        assert word in done.said
    assert not any(tmp_path.iterdir())


def test_an_export_does_not_overwrite(studied: Studied, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    done = studied("export", "tiny", "--out", tmp_path)
    assert done.code == 2
    assert "--out" in done.said
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_limit_out_of_reach_is_refused_before_the_search(studied: Studied) -> None:
    done = studied("search", studied.space, *OPTIONS, "--name", "other", "--max-macs", "0.001")
    assert done.code == 2
    assert "--max-macs must be at least" in done.said
    assert "explore" not in done.said
    assert not (studied.home / "studies" / "other").exists()


def test_a_limit_that_no_point_keeps_to_is_told_after_the_result(
    studied: Studied,
) -> None:
    done = studied("search", studied.space, *OPTIONS, "--resume", "--json", "--max-macs", "0.001")
    assert done.code == 2
    assert done.json["front"] == studied.summary["front"]
    assert "front holds no point within the limits" in done.said

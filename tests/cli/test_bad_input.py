"""Every row of the bad-input list, through the command line: exit 2, one clear message."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import socket
from pathlib import Path

import pytest
import torch

from tests.cli.support import SPACE, Done, call, write_space, write_task


def refused(done: Done, *words: str) -> None:
    """One message on standard error that holds these words, and nothing else."""
    assert done.code == 2, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.count("autoprune: ") == 1, done.err
    for word in words:
        assert word in done.said, done.said


def small(home: Path, *more: object, space: object = "digits") -> Done:
    return call("search", space, "--budget", "4", "--executor", "inline", "--home", home, *more)


RUN = {
    "method": (["--method", "sinp", "--sparsity", "0.9"], "unknown method 'sinp'", "'snip'"),
    "lr": (["--lr", "linaer"], "learning-rate schedule 'linaer'", "'linear'"),
    "allocation": (["--allocation", "globl"], "'globl'", "'global'"),
    "data": (["--data", "digit"], "'digit'", "'digits'"),
    "model": (["--model", "resnet21"], "'resnet21'", "did you mean 'resnet"),
    "device": (["--device", "gpu"], "--device must be auto, cpu or cuda", "'gpu'"),
    "sparsity one": (["--sparsity", "1"], "--sparsity must be a share in [0, 1)", "'1'", "90%"),
    "sparsity above": (["--sparsity", "120%"], "--sparsity", "'120%'"),
    "sparsity below": (["--sparsity", "-0.1"], "--sparsity", "'-0.1'"),
    "sparsity word": (["--sparsity", "most"], "--sparsity", "'most'"),
    "macs": (["--sparsity", "0.9", "--macs", "0.5"], "either --sparsity or --macs"),
    "macs of weights": (["--method", "movement", "--macs", "50%"], "run.of", "give a sparsity"),
    "macs none": (["--macs", "0"], "--macs must be a share in (0, 1]", "'0'"),
    "reach": (
        ["--method", "dropnet", "--sparsity", "0.999"],
        "run.sparsity must lie in [0, 0.995] for method 'dropnet'",
        "got 0.999",
        "another method",
    ),
    "ap base": (
        ["--method", "ap", "--set", "base=rigl"],
        "trial.ap.base must score, prune and retrain; got 'rigl'",
        "these do: magnitude",
    ),
    "ap base unknown": (["--method", "ap", "--set", "base=magnitud"], "'magnitud'", "'magnitude'"),
    "ap rewind": (["--method", "ap", "--set", "rewind=dense"], "trial.ap.rewind must be none"),
    "pattern of more": (["--set", "granularity=5:4"], "must keep 1 to 3 of 4 weights", "'5:4'"),
    "pattern of none": (["--set", "granularity=n:0"], "must have blocks of 2, 4, 8", "'n:0'"),
    "pattern cut off": (["--set", "granularity='2:'"], "must be N:M or n:M", "'2:'", "2:4"),
    "pattern unquoted": (["--set", "granularity=2:"], "--set granularity must be", "'2:'"),
    "pattern by slash": (["--set", "granularity=2/4"], "unknown granularity", "did you mean '2:4'"),
    "pattern sparsity": (["--set", "granularity=2:4"], "run.sparsity must be 0.5", "'2:4'"),
    "granularity": (["--set", "granularity=wieght"], "'wieght'", "did you mean 'weight'"),
    "set": (["--set", "rounds"], "--set must be key=value", "'rounds'"),
    "set list": (["--set", "rounds=[1]"], "--set rounds must be"),
    "set key": (["--set", "allocatoin=erk"], "allocatoin", "'allocation'"),
    "set section": (["--set", "lrs.peak=1"], "--set lrs.peak must start with"),
    "set value": (["--set", "lr.peak=-1"], "peak", "-1"),
    "task missing": (["--task", "nowhere.py"], "nowhere.py", "cannot be read"),
    "data dir": (["--data", "fashion_mnist", "--data-dir", "nowhere"], "nowhere", "--data-dir"),
}


@pytest.mark.parametrize("case", RUN)
def test_a_run_refuses(case: str, tmp_path: Path) -> None:
    given, *words = RUN[case]
    home = tmp_path / "home"
    known = {"--method": "magnitude", "--sparsity": "0.9"}
    options = [part for name, v in known.items() if name not in given for part in (name, v)]
    if "--macs" in given:
        options = ["--method", "magnitude"]
    refused(call("run", *options, *given, "--home", home), *words)
    assert not home.exists()


GELU = ("nn.ReLU()", "nn.GELU()")


def only_the_version(home: Path) -> bool:
    """Whether nothing was written but the store's own mark."""
    return [p.name for p in home.rglob("*") if p.is_file()] == ["VERSION"]


def test_a_model_without_relus_is_refused_by_ap(tmp_path: Path) -> None:
    task, home, out = write_task(tmp_path, GELU), tmp_path / "home", tmp_path / "out"
    run = ("run", "--sparsity", "0.5", "--epochs", "20", "--task", task, "--home", home)
    words = ("the model must have ReLU units for method 'ap'", "use another method")
    refused(call(*run, "--method", "ap", "--out", out), *words)
    assert only_the_version(home)
    assert not out.exists()


def test_a_search_with_nothing_but_ap_refuses_a_model_without_relus(tmp_path: Path) -> None:
    task, home = write_task(tmp_path, GELU), tmp_path / "home"
    methods = SPACE[SPACE.index("  magnitude:") : SPACE.index("lr:\n")]
    space = write_space(tmp_path, SPACE.replace(methods, "  ap: {share: 0.02}\n"))
    done = small(home, "--task", task, space=space)
    refused(done, "tiny: method must name a method", "ap: the model must have ReLU units")
    assert not list(home.rglob("*.safetensors"))


def test_a_model_without_units_is_refused_by_a_method_that_removes_them(tmp_path: Path) -> None:
    one_layer = ("nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3)", "nn.Linear(64, 3)")
    task = write_task(tmp_path, one_layer)
    run = ("run", "--method", "dropnet", "--sparsity", "0.5", "--epochs", "20", "--task", task)
    refused(call(*run, "--home", tmp_path / "home"), "the model must have channels", "dropnet")
    assert only_the_version(tmp_path / "home")


SEARCH = {
    "space": (["digit"], "space must be a YAML file or a shipped name", "'digits'"),
    "budget zero": (["--budget", "0"], "--budget", "'0'"),
    "budget word": (["--budget", "abc"], "--budget", "'abc'"),
    "budget minutes": (["--budget", "0m"], "--budget", "'0m'"),
    "strategy": (["--strategy", "contxtual"], "--strategy", "'contextual'"),
    "sampler": (["--sampler", "forrest"], "--sampler", "'forest'"),
    "executor": (["--executor", "dask"], "--executor must be ray or inline", "'dask'"),
    "objectives": (["--objectives", "accuracy,flops"], "--objectives", "flops"),
    "workers": (["--workers", "0"], "--workers must be at least 1"),
    "gpus": (["--gpus-per-job", "1.5"], "--gpus-per-job", "1.5"),
    "seeds": (["--confirm-seeds", "0"], "--confirm-seeds must be at least 1"),
    "drop": (["--max-drop", "2"], "--max-drop", "1%"),
    "name": (["--name", "a/b"], "--name", "'a/b'"),
    "device": (["--device", "tpu"], "--device must be auto, cpu or cuda"),
}


@pytest.mark.parametrize("case", SEARCH)
def test_a_search_refuses(case: str, tmp_path: Path) -> None:
    given, *words = SEARCH[case]
    home = tmp_path / "home"
    refused(call("search", *given, "--home", home), *words)
    assert not home.exists()


SPACES = {
    "malformed": ("method: {magnitude: ", "method: [magnitude: ", "tiny.yaml, line ", "malformed"),
    "twice": ("name: tiny", "name: tiny\nname: tiny", "line 2", "stands here twice"),
    "key": ("targets:", "tragets:", "tragets", "'targets'"),
    "method": ("  imp:", "  impp:", "method", "'impp'", "'imp'"),
    "parameter": ("rounds: [2]}", "roundz: [2]}", "method.imp", "roundz", "'rounds'"),
    "schedule": ("  linear:", "  linaer:", "lr", "'linaer'", "'linear'"),
    "value": ("rounds: [2]}", "rounds: [0]}", "method.imp", "rounds", "0"),
    "target one": ("high: 0.93", "high: 1.0", "targets.high", "1.0"),
    "target below": ("low: 0.85", "low: -0.1", "targets.low", "-0.1"),
    "data": ("data: digits", "data: digit", "'digit'", "'digits'"),
    "model": ("model: mlp", "model: mpl", "'mpl'", "'mlp'"),
}


@pytest.mark.parametrize("case", SPACES)
def test_a_space_file_is_refused_with_its_path(case: str, tmp_path: Path) -> None:
    old, new, *words = SPACES[case]
    if case == "malformed":
        old, new = "method:\n", "method: [\n"
    assert old in SPACE
    home = tmp_path / "home"
    space = write_space(tmp_path, SPACE.replace(old, new))
    refused(small(home, space=space), *words)
    assert not home.exists()


TASKS = {
    "empty": (("_data(96, 0)", "_data(0, 0)"), "task.py training data must not be empty"),
    "one class": (("% 3", "* 0"), "task.py training data", "at least two classes; got 1"),
    "labels below": (
        ("torch.arange(count) % 3", "torch.arange(count) % 3 - 1"),
        "task.py",
        "label",
    ),
    "labels above": (("torch.arange(count) % 3", "torch.arange(count) % 9"), "task.py", "3"),
    "nan": (
        ("_data(48, 5)", "(_data(48, 5)[0] / 0, _data(48, 5)[1])"),
        "task.py validation",
        "finite",
    ),
    "outputs": (("nn.Linear(16, 3)", "nn.Linear(16, 2)"), "task.py", "2"),
    "import": (
        ("import torch\n", "import torch\nprint(1 / 0)\n"),
        "task.py:2",
        "ZeroDivisionError",
    ),
    "syntax": (("def model():", "def model()"), "task.py:", "is not valid Python"),
    "module": (("import torch\n", "import torch\nimport no_such\n"), "task.py:2", "no_such"),
    "no model": (("def model():", "def modell():"), "task.py must define model()"),
    "raises": (("return _data(96, 0)", "raise OSError('gone')"), "train_data()", "gone"),
    "no layer": (
        (
            "nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))",
            "nn.Sequential(nn.AdaptiveMaxPool2d((1, 3)), nn.Flatten(), nn.BatchNorm1d(3))",
        ),
        "task.py",
        "prunable",
    ),
    "not a model": (("return nn.Sequential", "return list"), "task.py:", "in model()"),
    "none": (("return nn.Sequential", "nn.Sequential"), "task.py model() must return an nn.Module"),
}


@pytest.mark.parametrize("case", TASKS)
def test_a_task_file_is_refused(case: str, tmp_path: Path) -> None:
    edit, *words = TASKS[case]
    home = tmp_path / "home"
    task = write_task(tmp_path, edit)
    options = ("--method", "magnitude", "--sparsity", "0.5")
    refused(call("run", *options, "--task", task, "--home", home), *words)
    refused(small(home, "--task", task), *words)
    assert not home.exists()


@pytest.mark.slow
def test_a_task_that_is_loaded_in_a_process_of_its_own_is_refused_alike(tmp_path: Path) -> None:
    task = write_task(tmp_path, ("import torch\n", "import torch\nprint(1 / 0)\n"))
    home = tmp_path / "home"
    done = call("search", "--task", task, "--executor", "ray", "--workers", "1", "--home", home)
    refused(done, "task.py:2", "ZeroDivisionError")
    assert not home.exists()


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("ran"),)


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"fc1.weight": torch.zeros(3, 3)}, path)
    home = tmp_path / "home"
    options = ("--method", "magnitude", "--sparsity", "0.5", "--home", home)
    refused(call("run", *options, "--checkpoint", path), "weights.pt", "fit")
    refused(small(home, "--checkpoint", path), "weights.pt")
    assert not home.exists()


def test_a_checkpoint_with_code_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    torch.save({"weight": _Code()}, path, pickle_module=pickle)
    home = tmp_path / "home"
    options = ("--method", "magnitude", "--sparsity", "0.5", "--home", home)
    refused(call("run", *options, "--checkpoint", path), "weights.pt")
    assert not (tmp_path / "ran").exists()
    assert not home.exists()


def test_a_checkpoint_that_is_missing_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    refused(small(home, "--checkpoint", tmp_path / "gone.pt"), "gone.pt", "cannot be read")
    assert not home.exists()


@pytest.mark.parametrize("command", ["search", "run"])
def test_a_home_that_cannot_be_written_is_refused(command: str, tmp_path: Path) -> None:
    """Root may write anywhere, so the home is below a regular file."""
    (tmp_path / "file").write_text("")
    home = tmp_path / "file" / "home"
    if command == "search":
        done = small(home)
    else:
        done = call("run", "--method", "magnitude", "--sparsity", "0.5", "--home", home)
    refused(done, str(home), "must be writable", "--home")


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "VERSION").write_text("99\n")
    options = ("--method", "magnitude", "--sparsity", "0.5", "--home", tmp_path)
    refused(call("run", *options), "store", "'99'", "update AutoPrune")
    refused(small(tmp_path), "store", "'99'", "update AutoPrune")
    assert not (tmp_path / "studies").exists()


def _journal(home: Path, header: dict[str, object]) -> None:
    folder = home / "studies" / "old"
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_text(json.dumps(header) + "\n")


@pytest.mark.parametrize("command", ["front", "studies", "search", "export"])
def test_a_journal_of_a_newer_version_is_refused(command: str, tmp_path: Path) -> None:
    _journal(tmp_path, {"event": "study", "version": 99, "time": 0.0})
    given = {
        "front": ["front", "old"],
        "studies": ["studies"],
        "search": ["search", "--name", "old", "--resume"],
        "export": ["export", "old", "--out", tmp_path / "out"],
    }[command]
    refused(call(*given, "--home", tmp_path), "journal.jsonl", "version", "99")
    assert not (tmp_path / "out").exists()


def test_two_searches_on_one_name_at_once_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "digits"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(small(tmp_path, "--resume"), "another process", "--name")


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(call("ui", "--home", tmp_path, "--port", port), "--port", str(port), "another")


def test_a_home_without_a_store_has_no_ui(tmp_path: Path) -> None:
    refused(call("ui", "--home", tmp_path), "--home", "autoprune search")


STUDY = {
    "front": ["front", "digitz"],
    "rm": ["rm", "digitz"],
    "export": ["export", "digitz", "--out", "out"],
    "sync": ["sync", "digitz"],
    "replay": ["replay", "0123456789", "--study", "digitz"],
}


@pytest.mark.parametrize("command", STUDY)
def test_a_study_that_is_not_there_is_refused(command: str, tmp_path: Path) -> None:
    done = call(*STUDY[command], "--home", tmp_path / "home")
    refused(done, "study", "autoprune search")
    assert not (tmp_path / "home").exists()


def test_a_trial_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    refused(call("replay", "0123456789", "--home", tmp_path), "TRIAL", "'0123456789'")
    refused(call("replay", "01", "--home", tmp_path), "at least 4 characters")


def test_a_kind_of_thing_that_is_unknown_is_refused() -> None:
    refused(call("list", "metods"), "'metods'", "'methods'")


@pytest.mark.parametrize("command", ["verify", "predict"])
def test_a_folder_that_is_no_export_is_refused(command: str, tmp_path: Path) -> None:
    more = ["x.npy"] if command == "predict" else []
    done = call(command, tmp_path / "gone", *more)
    assert done.code == 2
    assert "gone" in done.said
    assert "Traceback" not in done.err


def test_an_output_folder_that_is_in_use_is_refused_before_training(tmp_path: Path) -> None:
    out, home = tmp_path / "out", tmp_path / "home"
    out.mkdir()
    (out / "mine").write_text("kept")
    run = ("run", "--method", "magnitude", "--sparsity", "0.5", "--home", home)
    refused(call(*run, "--out", out), "--out", "must not exist yet")
    assert [path.name for path in out.iterdir()] == ["mine"]
    assert not list(home.rglob("*.safetensors"))


def test_a_run_that_is_too_short_for_its_method_is_refused(tmp_path: Path) -> None:
    run = ("run", "--sparsity", "0.5", "--home", tmp_path)
    rigl = (*run, "--method", "rigl", "--epochs", "1")
    remedy = "train for longer, or in smaller batches"
    refused(call(*rigl), "--epochs must be at least 3 for method 'rigl'", "got 1", remedy)
    # Two trainings in each of 5 rounds, ten steps each: 100 steps of 17 an epoch.
    pro = ("--method", "ap", "--set", "variant=pro", "--set", "rounds=5", "--epochs", "5")
    words = ("--epochs must be at least 6 for method 'ap', which needs 100 steps", "got 5", remedy)
    refused(call(*run, *pro), *words)
    assert only_the_version(tmp_path)


def test_a_file_to_plot_to_that_is_neither_page_nor_picture_is_refused(tmp_path: Path) -> None:
    done = call("front", "digits", "--plot", "x.pdf", "--home", tmp_path)
    refused(done, "--plot must end in .html or .png", "x.pdf")


@pytest.mark.parametrize(
    "arguments",
    [
        ["serach"],
        ["search", "--budgte", "3"],
        ["run", "--sparsity", "0.9"],
        ["run", "--method", "magnitude", "--seed", "x"],
        ["run", "--method", "magnitude", "--sparsity", "0.9", "--epochs", "0"],
    ],
)
def test_what_is_mistyped_is_told_in_one_readable_message(arguments: list[str]) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Usage: autoprune" in done.err
    assert "Error" in done.err
    assert "Traceback" not in done.err
    assert os.linesep in done.err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            # One of 16 hidden units stays at most: 64 + 3 of 16 (64 + 3) weights.
            ["--method", "filter_l1", "--sparsity", "0.99"],
            ["trial.sparsity must lie in [0, 0.875] for method 'filter_l1' on this model", "0.99"],
        ),
        (
            ["--method", "filter_l1", "--macs", "0.1%"],
            ["run.macs must be at least 0.005 of the dense multiply-adds", "got 0.001"],
        ),
        (
            ["--method", "filter_l1", "--macs", "2%"],
            ["trial.macs must be at least 0.125", "on this model; got 0.02", "keep a greater"],
        ),
        (
            ["--method", "lrpet", "--sparsity", "0.99"],
            ["trial.sparsity must lie in [0, 0.8805] for method 'lrpet'", "another method"],
        ),
    ],
)
def test_a_target_that_would_empty_a_group_is_refused(
    given: list[str], words: list[str], tmp_path: Path
) -> None:
    task = write_task(tmp_path)
    refused(call("run", *given, "--task", task, "--home", tmp_path / "home"), *words)


def test_a_model_without_removable_units_is_refused(tmp_path: Path) -> None:
    body = "nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3)"
    task = write_task(tmp_path, (body, "nn.Linear(64, 3), nn.ReLU()"))
    for method, what in (("filter_l1", "channels or neurons"), ("lrpet", "can be factorised")):
        done = call(
            *("run", "--method", method, "--sparsity", "0.5"),
            *("--task", task, "--home", tmp_path / "home"),
        )
        refused(done, "the model must have", what, repr(method), "autoprune doctor")


def test_a_latency_limit_needs_a_latency(tmp_path: Path) -> None:
    home = tmp_path / "home"
    refused(
        small(home, "--max-latency-ms", "3"),
        "--max-latency-ms needs latency_ms among the objectives, which are accuracy,sparsity",
        "add --objectives accuracy,sparsity,latency_ms",
    )
    refused(small(home, "--max-latency-ms", "0"), "--max-latency-ms must be", "above 0")
    assert not (home / "studies").exists()


def test_single_weights_alone_cannot_be_searched_for_speed(tmp_path: Path) -> None:
    text = SPACE.replace("  dropnet: {rounds: [1]}\n", "")
    space = write_space(tmp_path, text)
    done = small(tmp_path / "home", "--objectives", "accuracy,latency_ms", space=space)
    refused(
        done,
        "tiny: method must name a method that gains something in latency_ms",
        "magnitude, imp: masks of single weights do not change latency_ms",
        "add a method of kind units or low_rank",
    )
    assert not (tmp_path / "home" / "studies").exists()


def test_a_task_file_and_a_model_by_name_are_not_both_taken(tmp_path: Path) -> None:
    given = ("run", "--method", "magnitude", "--sparsity", "0.5", "--task", write_task(tmp_path))
    for more in (("--model", "mlp"), ("--data", "digits")):
        refused(call(*given, *more, "--home", tmp_path / "home"), "--task or --data and --model")

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autoprune.core.config import TaskConfig
from autoprune.core.errors import ConfigError, DataError, TaskError, UnknownNameError
from autoprune.core.records import TaskInfo
from autoprune.metrics.accuracy import evaluate
from autoprune.training.probe_client import probe_in_subprocess
from autoprune.training.task import Task, load_task

GOOD = """
import torch
from torch import nn

def data(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return torch.randn(count, 2, 4, 4, generator=generator) + labels[:, None, None, None], labels

def model():
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 3))

def train_data():
    return data(30, 0)

def val_data():
    return data(13, 1)
"""
TEST = "\ndef test_data():\n    return data(9, 2)\n"

Write = Callable[..., TaskConfig]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a task file (the good one, with a text put in its place or added) and name it."""

    def make(text: str = GOOD + TEST, **rest: object) -> TaskConfig:
        path = tmp_path / "task.py"
        path.write_text(text)
        return TaskConfig(task_file=str(path), **rest)

    return make


@pytest.fixture(scope="module")
def digits() -> Task:
    return load_task(TaskConfig())


def test_digits_and_mlp(digits: Task) -> None:
    info = digits.info
    assert (info.num_train, info.num_val, info.num_test) == (1077, 360, 360)
    assert [layer.name for layer in info.layers] == ["fc1.weight", "fc2.weight", "fc3.weight"]
    assert (info.params, info.macs, info.num_classes) == (50_610, 50_200, 10)
    assert (info.has_batchnorm, info.has_relu, info.pretrained) == (False, True, False)
    assert info.fingerprint == digits.data.fingerprint
    assert TaskInfo.from_json(info.to_json()) == info
    assert digits.pretrained() is None


def test_equal_seeds_and_labels_give_equal_bits(digits: Task) -> None:
    state = torch.get_rng_state()
    one, same = digits.build_model(3, "a"), digits.build_model(3, "a")
    others = [digits.build_model(4, "a"), digits.build_model(3, "b"), digits.build_model(3)]
    assert torch.equal(torch.get_rng_state(), state)
    assert one.training
    assert one is not same
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    for other in others:
        assert not torch.equal(other.fc1.weight, one.fc1.weight)


def test_loss_and_correct_by_hand(digits: Task) -> None:
    outputs = torch.tensor([[0.0, math.log(3.0)], [math.log(3.0), 0.0]])
    targets = torch.tensor([1, 1])
    # Probabilities of the target: 3/4 and 1/4, so the loss is -(ln .75 + ln .25) / 2 = 0.836988.
    assert digits.loss(outputs, targets).item() == pytest.approx(0.836988, abs=1e-6)
    # Smoothing by .2 aims at .9 and .1: -(.9 ln .75 + .1 ln .25 + .9 ln .25 + .1 ln .75) / 2,
    # the same by symmetry; so it is told apart on one row: -(.9 ln .75 + .1 ln .25) = 0.397543.
    smooth = digits.loss(outputs[:1], targets[:1], label_smoothing=0.2).item()
    assert smooth == pytest.approx(0.397543, abs=1e-6)
    assert digits.num_correct(outputs, targets).item() == 1


def test_a_good_task_file(write: Write) -> None:
    task = load_task(write())
    assert (task.info.num_train, task.info.num_val, task.info.num_test) == (30, 13, 9)
    assert task.info.input_shape == (2, 4, 4)
    assert [layer.name for layer in task.info.layers] == ["1.weight", "3.weight"]
    assert task.info.warnings == ()
    assert task.config.task_sha256 is not None
    inputs, targets = next(iter(task.data.train.batches(30)))
    expected = torch.randn(30, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    order = inputs.flatten(1).sum(1).argsort()
    expected = expected + (torch.arange(30) % 3)[:, None, None, None]
    # floats are taken as they are; only the order is the split's
    assert torch.equal(inputs[order], expected[expected.flatten(1).sum(1).argsort()])
    assert torch.equal(torch.bincount(targets), torch.tensor([10, 10, 10]))
    assert evaluate(task.build_model(0), task.data.test, task).total == 9
    assert load_task(write(train_size=6)).data.train.size == 6


def test_label_noise_reaches_registered_data_and_task_files(digits: Task, write: Write) -> None:
    noise = {"label_noise": 0.5, "label_noise_kind": "pairflip", "label_noise_seed": 2}
    pairs = (
        (digits, load_task(TaskConfig(**noise)), 10),
        (load_task(write()), load_task(write(**noise)), 3),
    )
    for clean, noisy, num_classes in pairs:
        moved = (noisy.data.train.targets - clean.data.train.targets) % num_classes
        assert set(moved.tolist()) == {0, 1}
        assert torch.equal(noisy.data.val.targets, clean.data.val.targets)
        assert torch.equal(noisy.data.test.targets, clean.data.test.targets)
        assert noisy.info == replace(clean.info, fingerprint=noisy.info.fingerprint)
        assert noisy.info.fingerprint != clean.info.fingerprint


def test_a_class_without_a_training_example_is_said(write: Write) -> None:
    text = GOOD.replace("data(30, 0)", "(lambda x, y: (x[y != 1], y[y != 1]))(*data(30, 0))")
    (warning,) = [w for w in load_task(write(text)).info.warnings if "never learns" in w]
    assert warning.startswith("no training example of class 1:")
    assert not any("never learns" in w for w in load_task(write(GOOD)).info.warnings)


def test_without_test_data_validation_is_halved_and_that_is_said(write: Write) -> None:
    task = load_task(write(GOOD))
    assert (task.info.num_val, task.info.num_test) == (7, 6)
    assert "split in two halves" in " ".join(task.info.warnings)
    val, test = (
        {tuple(x.flatten().tolist()) for x in next(iter(split.batches(99)))[0]}
        for split in (task.data.val, task.data.test)
    )
    assert not val & test
    assert torch.bincount(task.data.val.targets).min() >= 2


def test_a_torch_dataset_of_pil_images_with_class_names(write: Write) -> None:
    text = """
import numpy as np
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

class Greys(Dataset):
    classes = ["dark", "light"]
    def __len__(self):
        return 8
    def __getitem__(self, n):
        return Image.fromarray(np.full((6, 6, 3), 100 * (n % 2) + n, np.uint8)), n % 2

def model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2))
train_data = val_data = test_data = Greys
"""
    task = load_task(write(text))
    assert task.data.classes == ["dark", "light"]
    assert task.data.preprocessing["scale"] == 1 / 255
    # pixels 0, 101, 2, 103, 4, 105, 6, 107: mean 53.5
    assert task.data.preprocessing["mean"] == [round(53.5 / 255, 4)] * 3
    assert (task.info.has_batchnorm, task.info.has_relu) == (True, False)


def test_random_transforms_are_frozen_and_that_is_said(write: Write) -> None:
    text = """
class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return 9
    def __getitem__(self, n):
        return torch.rand(2, 4, 4), n % 3
train_data = Noisy
"""
    state = torch.get_rng_state()
    task = load_task(write(GOOD + TEST + text))
    assert torch.equal(torch.get_rng_state(), state)
    assert [w for w in task.info.warnings if w.startswith("train_data() gives another image")]
    assert load_task(write(GOOD + TEST + text)).info.fingerprint == task.info.fingerprint


def test_own_loss_and_metric(write: Write) -> None:
    text = """
def loss(outputs, targets):
    return outputs.sum() * 0 + 7
def metric(outputs, targets):
    return 0.5
"""
    task = load_task(write(GOOD + TEST + text))
    found = evaluate(task.build_model(0), task.data.val, task, batch_size=5)
    assert (found.loss, found.correct, found.total) == (7.0, 6.5, 13)
    assert "label_smoothing has no effect" in " ".join(task.info.warnings)


def test_a_model_that_knows_more_classes_than_the_labels_show(write: Write) -> None:
    task = load_task(write((GOOD + TEST).replace("nn.Linear(8, 3)", "nn.Linear(8, 5)")))
    assert task.info.num_classes == 5


def test_a_helper_module_beside_the_file_is_that_one(tmp_path: Path) -> None:
    for name, hidden in (("one", 8), ("two", 9)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "sizes.py").write_text(f"HIDDEN = {hidden}\n")
        text = "from sizes import HIDDEN\n" + GOOD.replace("(32, 8)", "(32, HIDDEN)")
        (folder / "task.py").write_text(text.replace("(8, 3)", "(HIDDEN, 3)"))
        task = load_task(TaskConfig(task_file=str(folder / "task.py")))
        assert task.info.layers[0].shape == (hidden, 32)
    assert str(tmp_path / "one") not in sys.path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "import torch\n",
            "import torch\n1 / 0\n",
            r"task\.py:3 raised ZeroDivisionError on import",
        ),
        ("import torch\n", "import torch\nraise SystemExit(3)\n", r"task\.py:3 raised SystemExit"),
        ("def val_data", "def other", r"must define val_data\(\)"),
        ("    return data(30, 0)", "    raise KeyError('x')", r":14 raised KeyError in train_data"),
        ("    return data(30, 0)", "    return 3", "must return a torch data set"),
        ("    return data(30, 0)", "    return [(1, 2, 3), 4]", "must be one whole number"),
        ("    return nn.Seq", "    return 3\n    nn.Seq", "must return an nn.Module; got 'int'"),
        ("nn.Linear(8, 3)", "nn.Linear(8, 2)", "one output for each of the 3 classes; got 2"),
        ("nn.Flatten(), ", "", r"must run on a batch of shape \(2, 2, 4, 4\)"),
        ("nn.Flatten(), ", "nn.Flatten(), nn.Linear(31, 2), ", "it raised RuntimeError"),
        ("nn.Linear(8, 3))", "nn.Linear(8, 3), nn.Unflatten(1, (3, 1)))", "logits of shape"),
        (
            "nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 3))",
            "nn.Sequential(nn.AdaptiveAvgPool3d((3, 1, 1)), nn.Flatten())",
            "must have a prunable layer",
        ),
        ("nn.Linear(8, 3)", "nn.LazyLinear(3)", r"layers that have a shape; got '.*weight'"),
        ("nn.Linear(8, 3))", "nn.Linear(8, 3)).requires_grad_(False)", "parameter is frozen"),
    ],
)
def test_a_bad_task_file(write: Write, old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises((TaskError, DataError), match=words):
        load_task(write((GOOD + TEST).replace(old, new)))


def test_a_shared_model_is_refused(write: Write) -> None:
    text = "\nmade = model()\ndef model():\n    return made\n"
    with pytest.raises(TaskError, match=r"model\(\) must return a new model each time"):
        load_task(write(GOOD + TEST + text))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("torch.zeros(0, 2, 4, 4), torch.zeros(0).long()", "must not be empty"),
        ("torch.zeros(6, 2, 4, 4), torch.zeros(6).long()", "at least two classes"),
        ("torch.zeros(6, 2, 4, 4), torch.arange(6) % 3 - 1", r"must lie in \[0, 3\); got -1"),
        ("torch.zeros(6, 2, 4, 4), torch.zeros(6)", "must be one whole number per input"),
        ("torch.full((6, 2, 4, 4), torch.nan), torch.arange(6) % 3", "must be finite; got nan"),
        ("torch.zeros(5, 2, 4, 4), torch.arange(6) % 3", "5 inputs, 6 labels"),
    ],
)
def test_bad_data_in_a_task_file(write: Write, data: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_task(write(GOOD + TEST + f"\ndef train_data():\n    return {data}\n"))


def test_a_label_beyond_the_models_outputs_is_refused(write: Write) -> None:
    text = "\ndef val_data():\n    return torch.zeros(6, 2, 4, 4), torch.arange(6) % 6\n"
    with pytest.raises(TaskError, match="one output for each of the 6 classes; got 3"):
        load_task(write(GOOD + TEST + text))


def test_a_file_changed_since_is_refused(write: Write) -> None:
    config = load_task(write()).config
    load_task(config)
    write(GOOD + TEST + "# changed\n")
    with pytest.raises(TaskError, match=r"task\.task_sha256 must be the hash"):
        load_task(config)


def test_width_with_a_task_file_is_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"task\.width"):
        load_task(write(width=0.5))


@pytest.mark.parametrize("form", ["safetensors", "torch", "wrapped", "pretrained()"])
def test_pretrained_weights(digits: Task, write: Write, tmp_path: Path, form: str) -> None:
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "pretrained()":
        text = "\ndef pretrained():\n    torch.manual_seed(5)\n    return model()\n"
        task = load_task(write(GOOD + TEST + text))
        names = ["1.weight", "1.bias", "3.weight", "3.bias"]
    else:
        weights = digits.build_model(9).state_dict()
        if form == "safetensors":
            save_file(weights, path)
        else:
            torch.save({"state_dict": weights} if form == "wrapped" else weights, path)
        task = load_task(TaskConfig(checkpoint=str(path)))
        names = list(weights)
    found = task.pretrained()
    assert found is not None
    assert list(found) == names
    assert task.info.pretrained
    assert "retraining seeds only" in " ".join(task.info.warnings)
    first = names[0]
    if form != "pretrained()":
        assert torch.equal(found[first], weights[first])
    found[first].zero_()
    again = task.pretrained()
    assert again is not None
    assert again[first].abs().sum() > 0


class _Code:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.place,)


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    torch.save({"a": _Code(trap)}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": _Code(trap)}))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(TaskError, match="pickled code, which is never run; save it as safe"):
            load_task(TaskConfig(checkpoint=str(tmp_path / name)))
    assert not trap.exists()


def test_a_checkpoint_that_does_not_fit_names_the_keys(digits: Task, tmp_path: Path) -> None:
    weights = digits.build_model(0).state_dict()
    wrong = {f"extra{n}": torch.zeros(1) for n in range(5)}
    wrong["fc1.weight"] = torch.zeros(300, 63)
    wrong["fc2.bias"] = torch.full((100,), math.inf)
    save_file({**wrong, "fc1.bias": weights["fc1.bias"]}, tmp_path / "w.safetensors")
    with pytest.raises(TaskError) as caught:
        load_task(TaskConfig(checkpoint=str(tmp_path / "w.safetensors")))
    message = str(caught.value)
    assert "missing: fc2.weight, fc3.weight, fc3.bias" in message
    assert "unexpected: extra0, extra1, extra2 and 2 more" in message
    assert "fc1.weight (300, 63) instead of (300, 64)" in message
    assert "not finite: fc2.bias" in message


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights in here"])
def test_a_broken_checkpoint_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=r"w\.\w+ (is no checkpoint|cannot be read)"):
        load_task(TaskConfig(checkpoint=str(tmp_path / name)))


def test_a_checkpoint_without_names_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "w.pt")
    with pytest.raises(TaskError, match="must be a state dict"):
        load_task(TaskConfig(checkpoint=str(tmp_path / "w.pt")))


def test_the_probe_answers_as_loading_does_and_asking_loads_no_torch(digits: Task) -> None:
    code = (
        "import json, sys\n"
        "from autoprune.core.config import TaskConfig\n"
        "from autoprune.training.probe_client import probe_in_subprocess\n"
        "print(json.dumps(probe_in_subprocess(TaskConfig()).to_json()))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    found = TaskInfo.from_json(json.loads(done.stdout))
    # only the probe works out how far pruning reaches
    assert replace(found, reach={}, units=()) == digits.info


def test_the_probe_raises_what_loading_raises(write: Write) -> None:
    chatty = "\nprint('hello')\n"
    for config, kind in (
        (write((GOOD + TEST + chatty).replace("(8, 3)", "(8, 2)")), TaskError),
        (TaskConfig(model="mpl"), UnknownNameError),
    ):
        with pytest.raises(kind) as here:
            load_task(config)
        with pytest.raises(kind) as there:
            probe_in_subprocess(config)
        assert str(there.value) == str(here.value)


def test_the_probe_survives_a_chatty_task_file(write: Write) -> None:
    text = GOOD + TEST + "\nimport atexit, sys\nprint('hello')\nsys.stdout.write('no newline')\n"
    assert probe_in_subprocess(write(text)).num_train == 30

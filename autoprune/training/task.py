"""A task: data, model, loss and metric, loaded and checked once per process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own spelling
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from autoprune.core.config import TaskConfig
from autoprune.core.errors import ConfigError, TaskError
from autoprune.core.records import TaskInfo
from autoprune.core.seeds import global_stream
from autoprune.data.assemble import assemble, load_data
from autoprune.data.base import TaskData
from autoprune.data.noise import LabelNoise
from autoprune.data.taskfile import identify
from autoprune.data.userdata import user_raw
from autoprune.models.build import build_model
from autoprune.training.inspection import describe_model, output_size
from autoprune.training.pretrained import check_fits, load_checkpoint, state_dict_of
from autoprune.training.userfile import UserFile

OWN_LOSS = "the task file's loss() is used as it is: label_smoothing has no effect"
RETRAINING_ONLY = (
    "pretrained weights replace dense training: intervals cover retraining seeds only, and methods "
    "that train from scratch start from fresh weights"
)
Function = Callable[..., Any]


@dataclass(frozen=True)
class Task:
    """Everything a trial trains on.

    Parameters
    ----------
    config : TaskConfig
        What was asked for, file hashes filled in.
    info : TaskInfo
        What a search needs to know of it.
    data : TaskData
        Splits on the task's device.
    factory : callable
        Makes a fresh model, drawing from torch's global generator.
    weights : dict or None
        The user's pretrained state dict.
    own_loss, own_metric : callable or None
        The task file's, ``(outputs, targets)`` to a mean.
    """

    config: TaskConfig
    info: TaskInfo
    data: TaskData
    factory: Callable[[], nn.Module]
    weights: Mapping[str, Tensor] | None = None
    own_loss: Function | None = None
    own_metric: Function | None = None

    def build_model(self, seed: int, *labels: str | int) -> nn.Module:
        """Build a fresh model on the CPU, in train mode; equal seed and labels, equal bits."""
        with global_stream(seed, "init", *labels):
            return self.factory().train()

    def pretrained(self) -> dict[str, Tensor] | None:
        """Return a copy of the user's weights (a full state dict), or None."""
        if self.weights is None:
            return None
        return {name: value.clone() for name, value in self.weights.items()}

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean loss of a batch: cross entropy, unless the task file has a loss.

        Parameters
        ----------
        outputs : Tensor ``(B, classes)``
            Logits.
        targets : Tensor ``(B,)`` of int64 or ``(B, classes)`` of probabilities
            What they should say.
        """
        if self.own_loss is not None:
            value: Tensor = self.own_loss(outputs, targets)
            return value
        return F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)

    def num_correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the number of right answers (a task file's metric times the batch's size)."""
        if self.own_metric is not None:
            return torch.as_tensor(self.own_metric(outputs, targets)) * len(targets)
        return (outputs.argmax(dim=1) == targets).sum()


def load_task(config: TaskConfig, device: str = "cpu") -> Task:
    """Load the data, check the model against it, and read the pretrained weights.

    Raises
    ------
    DataError, TaskError, UnknownNameError, ConfigError
        When something the user gave is missing or does not fit; before anything is trained.
    """
    found = identify(config)
    for name in ("task_sha256", "checkpoint_sha256"):
        given = getattr(config, name)
        if given not in {None, getattr(found, name)}:
            raise TaskError(
                f"task.{name}",
                "must be the hash of the file that is there",
                given,
                "the file was changed since; start a new study",
            )
    if found.task_file is not None:
        return _user_task(found, UserFile(found.task_file), device)
    noise = LabelNoise.of(found)
    data = load_data(found.data, found.data_dir, found.train_size, found.augment, device, noise)
    factory = partial(build_model, found.model, data.num_classes, data.input_shape, found.width)
    return _task(found, data, factory, None)


def _check_trainable(model: nn.Module, place: str) -> None:
    """Refuse a model that cannot be trained as it is.

    Raises
    ------
    TaskError
        If a layer has no shape yet, or every parameter is frozen.
    """
    lazy = [n for n, p in model.named_parameters() if isinstance(p, UninitializedParameter)]
    if lazy:
        raise TaskError(
            place,
            "model() must return layers that have a shape",
            lazy[0],
            "run one batch through it before returning it, or name the sizes of lazy layers",
        )
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    if trainable and not any(trainable):
        raise TaskError(
            place,
            "model() must leave something to train; every parameter is frozen",
            remedy="set requires_grad on what may be retrained",
        )


def _user_task(config: TaskConfig, file: UserFile, device: str) -> Task:
    """Build the task of a task file."""
    functions = {
        name: file.function(name)
        for name in ("model", "train_data", "val_data", "test_data", "loss", "metric", "pretrained")
    }

    def call(name: str) -> Any:
        function = functions[name]
        return None if function is None else function()

    if config.width != 1.0:
        raise ConfigError("task.width", "must be 1 with a task file", config.width)
    with file.blame("while its data was read"):
        raw = user_raw(call("train_data"), call("val_data"), call("test_data"))
    if functions["loss"] is not None:
        raw = replace(raw, warnings=(*raw.warnings, OWN_LOSS))
    factory = partial(_user_model, str(file.path), file.function("model") or nn.Identity)
    with global_stream(0, "init"):
        first = factory()
        if first is factory():
            raise TaskError(str(file.path), "model() must return a new model each time")
    _check_trainable(first, str(file.path))
    if raw.classes_guessed:
        size = _fresh_output_size(factory, raw.train.images.shape[1:], str(file.path))
        names = [*raw.classes, *map(str, range(len(raw.classes), size))]
        raw = replace(raw, classes=tuple(names))
    noise = LabelNoise.of(config)
    data = assemble(str(file.path), raw, config.train_size, config.augment, device, noise)
    weights = None
    if functions["pretrained"] is not None and config.checkpoint is None:
        weights = state_dict_of(f"{file.path} pretrained()", call("pretrained"))
    return _task(config, data, factory, weights, functions["loss"], functions["metric"])


def _user_model(place: str, function: Function) -> nn.Module:
    model = function()
    if not isinstance(model, nn.Module):
        raise TaskError(place, "model() must return an nn.Module", type(model).__name__)
    return model


def _fresh_output_size(
    factory: Callable[[], nn.Module], input_shape: tuple[int, ...], place: str
) -> int:
    with global_stream(0, "init"):
        return output_size(factory(), torch.zeros(2, *input_shape), place)


def _task(
    config: TaskConfig,
    data: TaskData,
    factory: Callable[[], nn.Module],
    weights: dict[str, Tensor] | None,
    own_loss: Function | None = None,
    own_metric: Function | None = None,
) -> Task:
    place = config.task_file or f"model {config.model!r}"
    with global_stream(0, "init"):
        model = factory()
    size = output_size(model, torch.zeros(2, *data.input_shape), place)
    if size != data.num_classes:
        raise TaskError(
            place,
            f"must have one output for each of the {data.num_classes} classes",
            size,
            "change the model's last layer",
        )
    if config.checkpoint is not None:
        weights = load_checkpoint(config.checkpoint)
    if weights is not None:
        check_fits(config.checkpoint or f"{place} pretrained()", weights, model)
        weights = {name: weights[name] for name in model.state_dict()}
    info = describe_model(model, data, place)
    if weights is not None:
        info = replace(info, pretrained=True, warnings=(*info.warnings, RETRAINING_ONLY))
    return Task(config, info, data, factory, weights, own_loss, own_metric)

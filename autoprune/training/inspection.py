"""Look at a model before anything is trained: does it run, and what can be pruned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.core.errors import BadInput, TaskError
from autoprune.core.records import TaskInfo
from autoprune.data.base import TaskData
from autoprune.metrics.dnr import WatchRelu
from autoprune.metrics.layers import prunable_layers, prunable_parameters, runs_relu_modules
from autoprune.metrics.macs import count_macs, inference
from autoprune.metrics.params import count_params

TIED = "tied weights are counted and pruned once: {names}"


def output_size(model: nn.Module, example: Tensor, place: str) -> int:
    """Run one batch and return the number of outputs per input.

    Raises
    ------
    TaskError
        If the model raises, or does not return logits ``(B, classes)``.
    """
    try:
        with inference(model):
            outputs = model(example)
    except BadInput:
        raise
    except Exception as error:
        raise TaskError(
            place,
            f"must run on a batch of shape {tuple(example.shape)}; "
            f"it raised {type(error).__name__}: {error}",
        ) from error
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or len(outputs) != len(example):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise TaskError(place, "must return logits of shape (batch, classes)", shape)
    return outputs.shape[1]


def describe_model(model: nn.Module, data: TaskData, place: str) -> TaskInfo:
    """Describe a task's model and data.

    Raises
    ------
    TaskError
        If there is nothing to prune.
    """
    example = torch.zeros(2, *data.input_shape)
    layers = prunable_layers(model, example)
    if not layers:
        raise TaskError(
            place,
            "must have a prunable layer",
            remedy="prunable are convolutions, linear layers and attention's projections",
        )
    relus: list[int] = []
    with inference(model), WatchRelu(lambda output: relus.append(output.numel())):
        model(example)
    _, tied = prunable_parameters(model)
    warnings = (*data.warnings, *([TIED.format(names=", ".join(tied))] if tied else []))
    return TaskInfo(
        num_train=data.train.size,
        num_val=data.val.size,
        num_test=data.test.size,
        num_classes=data.num_classes,
        input_shape=data.input_shape,
        layers=layers,
        params=count_params(model),
        macs=count_macs(model, example),
        fingerprint=data.fingerprint,
        has_batchnorm=any(isinstance(module, _BatchNorm) for module in model.modules()),
        has_relu=bool(relus),
        has_relu_modules=runs_relu_modules(model, example),
        warnings=warnings,
    )

"""Dead neurons: how often the outputs of ReLUs are exactly zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from autoprune.core.errors import TaskError
from autoprune.data.base import Split
from autoprune.metrics.macs import inference


@dataclass(frozen=True)
class DeadNeurons:
    """What share of a model's ReLU outputs is exactly zero.

    A neuron is one output entry of a ReLU: one channel at one position.

    Parameters
    ----------
    rate : float
        The dead-neuron rate: the share of a sample's entries that are 0, averaged over samples.
    dead_all : float
        Share of the entries that are 0 for every sample; at most `rate`.
    num_neurons : int
        Entries per sample.
    num_samples : int
        Samples that were looked at.
    """

    rate: float
    dead_all: float
    num_neurons: int
    num_samples: int


def dead_neurons(
    model: nn.Module, split: Split, *, order: Tensor | None = None, batch_size: int = 250
) -> DeadNeurons:
    """Measure a model's dead neurons in eval mode, without augmentation.

    Parameters
    ----------
    model : nn.Module
        On the split's device; left as it is.
    split : Split
        The samples.
    order : Tensor ``(M,)`` of int64, optional
        Which of them; all when left out.
    batch_size : int
        Samples per forward pass, >= 1; the result does not depend on it.

    Raises
    ------
    TaskError
        If no ReLU runs.

    Notes
    -----
    ``rate = (1/n) sum_x sum_l #{z in Z_l(x): z = 0} / sum_l C_l H_l W_l`` over the ReLU outputs
    ``Z_l`` (card ap, c). Kept between batches are one count, and one bit per entry.
    ReLUs are seen as modules and as functions, each call of a shared module by itself.
    """
    tally = _Tally()
    with inference(model), WatchRelu(tally.add):
        for inputs, _ in split.batches(batch_size, order=order):
            tally.start(len(inputs))
            model(inputs)
    if not tally.fired:
        raise TaskError("the model", "must have ReLU units for a dead-neuron rate")
    entries = sum(len(fired) for fired in tally.fired)
    silent = sum(int((~fired).sum()) for fired in tally.fired)
    return DeadNeurons(
        rate=int(tally.zeros) / (entries * tally.samples),
        dead_all=silent / entries,
        num_neurons=entries,
        num_samples=tally.samples,
    )


class WatchRelu(TorchFunctionMode):
    """Calls back with the output of every ReLU that runs, be it a module or a function.

    Parameters
    ----------
    see : callable
        Gets the output before anything else can change it in place.
    """

    def __init__(self, see: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the function; what it calls in turn is not seen again."""
        given = dict(kwargs or {})
        output = func(*args, **given)
        if _rectifies(getattr(func, "__name__", ""), args, given):
            self._see(output)
        return output


def _rectifies(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a function is a ReLU; ReLU6 may run as a hardtanh from 0."""
    if name in ("hardtanh", "hardtanh_"):
        low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
        return bool(low == 0)
    return name in ("relu", "relu_", "relu6")


class _Tally:
    """Zeros so far, and which entries have fired; ReLUs are told apart by their order."""

    def __init__(self) -> None:
        self.samples = 0
        self.zeros: Tensor | int = 0
        self.fired: list[Tensor] = []
        self._batch = self._at = 0

    def start(self, batch: int) -> None:
        """Begin a forward pass."""
        self._batch, self._at = batch, 0
        self.samples += batch

    def add(self, output: Tensor) -> None:
        """Count one ReLU's output."""
        sizes = list(output.shape)
        # Transformers may put tokens first, so the batch is where its size is.
        samples = sizes.index(self._batch) if self._batch in sizes else 0
        alive = output.detach().movedim(samples, 0).reshape(self._batch, -1) != 0
        self.zeros = self.zeros + (~alive).sum()
        fires = torch.any(alive, dim=0)
        if self._at == len(self.fired):
            self.fired.append(fires)
        else:
            self.fired[self._at] |= fires
        self._at += 1

"""How weights act on what flows through a net: gradients (GraSP), positive signal (SynFlow)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from autoprune.core.errors import TaskError
from autoprune.core.seeds import torch_stream
from autoprune.metrics.layers import prunable_parameters
from autoprune.pruning.signals.base import Scorable, balanced_sample
from autoprune.pruning.signals.norms import linearise, revive_norms, use_batch_statistics
from autoprune.pruning.view import UnitGroup

PER_CLASS = 10
CHUNK = 250
TEMPERATURE = 200.0


class GradientFlow:
    """The mean loss of a scoring batch, for derivatives of the first and second order.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed; it is cast to float64, its batch norms use batch statistics.
    task : Scorable
        Data and loss.
    seed : int
        Root of the stream ``score``, which draws ten examples per class and their order.

    Notes
    -----
    The batch is passed in chunks of equal size (to one), classes mixed, since batch norm sees one
    chunk at a time: the loss is the mean over chunks with their own statistics, in both passes.
    """

    def __init__(self, model: nn.Module, task: Scorable, seed: int) -> None:
        self.model, self.task = model.double().requires_grad_(False), task
        use_batch_statistics(model)
        revive_norms(model)
        found = dict(model.named_parameters())
        self.weights = {
            name: found[name].requires_grad_(True) for name in prunable_parameters(model)[0]
        }
        chosen = balanced_sample(task.data.train.targets, PER_CLASS, seed)
        mixed = torch.randperm(len(chosen), generator=torch_stream(seed, "score", "order"))
        self.chosen = chosen[mixed]

    def losses(self) -> Iterator[Tensor]:
        """Yield each chunk's share of the loss; they add up to the mean over all examples."""
        device = next(self.model.parameters()).device
        count = len(self.chosen)
        size = -(-count // -(-count // CHUNK))
        for inputs, targets in self.task.data.train.batches(size, order=self.chosen):
            outputs = self.model(inputs.to(device, torch.float64)) / TEMPERATURE
            yield self.task.loss(outputs, targets.to(device)) * (len(targets) / count)

    def gradient(self) -> dict[str, Tensor]:
        """Return dL/dw of every prunable weight; 0 where the weight itself is exactly 0."""
        total = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        for loss in self.losses():
            for name, part in self._derivatives(loss, create_graph=False).items():
                total[name] += part
        return {name: value * (self.weights[name] != 0) for name, value in total.items()}

    def hessian_times(self, direction: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the Hessian times a direction, by differentiating ``<direction, dL/dw>``."""
        total = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        for loss in self.losses():
            slopes = self._derivatives(loss, create_graph=True)
            along = torch.stack([(slopes[n] * direction[n]).sum() for n in slopes]).sum()
            if along.requires_grad:
                for name, part in self._derivatives(along, create_graph=False).items():
                    total[name] += part
        return total

    def _derivatives(self, value: Tensor, *, create_graph: bool) -> dict[str, Tensor]:
        found = torch.autograd.grad(
            value,
            list(self.weights.values()),
            create_graph=create_graph,
            allow_unused=True,
            materialize_grads=True,
        )
        return dict(zip(self.weights, found, strict=True))


def hessian_gradient(
    model: nn.Module, task: Scorable, groups: tuple[UnitGroup, ...], seed: int
) -> dict[str, Tensor]:
    """Return the Hessian of the loss times its gradient, ``H g``, for every prunable weight.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed; its weights are the effective (masked) ones.
    task : Scorable
        Data and loss.
    groups : tuple of UnitGroup
        Not read.
    seed : int
        Root of the stream ``score``, which draws ten examples per class.

    Returns
    -------
    dict of str to Tensor
        Prunable weight's name to a float64 tensor, on the CPU.

    Notes
    -----
    Half the derivative of ``||g||^2``, over the prunable weights that are not exactly 0, so that
    a pruned weight is no direction in which gradient could flow. Logits are divided by 200.
    Batch norms use the statistics of the batch, as in the paper (card pruning_at_init, d): the
    running ones play no part, and those of the caller's model are not touched, for this is a
    copy. Dropout is off. A fused attention kernel has no second derivative, so the plain one
    runs. Batch norms whose scales are all 0 get scales of 1.
    Deviation: the authors draw the last linear layer anew for scoring; here the weights scored
    are the weights trained.
    """
    flow = GradientFlow(model, task, seed)
    with sdpa_kernel(SDPBackend.MATH):
        product = flow.hessian_times(flow.gradient())
    return {name: value.cpu() for name, value in product.items()}


def synaptic_flow(
    model: nn.Module, task: Scorable, groups: tuple[UnitGroup, ...], seed: int
) -> dict[str, Tensor]:
    """Return ``dR/d|w|``: R is what all outputs sum to when weights are positive and inputs 1.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed; its weights are the effective (masked) ones.
    task : Scorable
        Only the shape of a training image is read.
    groups, seed : tuple, int
        Not read.

    Returns
    -------
    dict of str to Tensor
        Prunable weight's name to a non-negative float64 tensor, on the CPU.

    Raises
    ------
    TaskError
        If R overflows.

    Notes
    -----
    In float64, eval mode, every parameter replaced by its absolute value (biases too, as in the
    authors' code). Norms pass their input on: for batch norm that is scale 1, shift 0, mean 0
    and variance 1, whatever the model holds, zero-initialised scales included.
    Deviation: the theory wants activations that are linear for positive inputs. Modules such as
    GELU or ReLU6 pass their input on as well, which linearises them; what a model computes with
    functions (a softmax of attention, ``functional.gelu``) stays, and conservation fails there.
    """
    model.double().eval().requires_grad_(False)
    linearise(model)
    found = dict(model.named_parameters())
    for value in found.values():
        value.abs_()
    weights = {name: found[name].requires_grad_(True) for name in prunable_parameters(model)[0]}
    one, _ = next(iter(task.data.train.batches(1, order=torch.zeros(1, dtype=torch.int64))))
    device = next(model.parameters()).device
    total = model(torch.ones(one.shape, dtype=torch.float64, device=device)).sum()
    slopes = torch.autograd.grad(
        total, list(weights.values()), allow_unused=True, materialize_grads=True
    )
    # A score is a part of R, so it is finite where R is.
    if not all(bool(value.isfinite().all()) for value in (total, *slopes)):
        raise TaskError(
            "the model",
            "must not amplify a signal of positive weights beyond float64 for a SynFlow score",
            remedy="use another method",
        )
    return {name: slope.abs().cpu() for name, slope in zip(weights, slopes, strict=True)}

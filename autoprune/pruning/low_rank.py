"""Low rank: projection with energy transfer, factorisation, and ranks for a sparsity.

A layer's weight is seen as a matrix of one row per output: ``(O, K)`` with ``K = I * kh * kw``.

References
----------
K. Guo, Z. Lin, C. Chen, X. Xing, F. Liu, X. Xu, "Compact Model Training by Low-Rank Projection
with Energy Transfer", IEEE TNNLS 2024, arXiv:2204.05566.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from autoprune.core.records import LayerInfo

RIDGE = 1e-5
NEGLIGIBLE = 1e-4


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Return ``(O, K)`` of a weight's shape."""
    return shape[0], math.prod(shape[1:])


def rank_of(shape: Sequence[int], removed: float) -> int:
    """Return the rank left when the fraction `removed` (the paper's g) of singular values goes.

    Deviation: at least 1, where the reference's truncation can give 0.
    """
    full = min(matrix_shape(shape))
    return max(1, int(full - full * removed))


def stored_weights(shape: Sequence[int], rank: int) -> int:
    """Return the number of weights of the two factors, ``r (O + K)``."""
    return rank * sum(matrix_shape(shape))


def break_even_rank(shape: Sequence[int]) -> int:
    """Return the greatest rank whose factors are smaller than the dense weight (0 if none is)."""
    rows, columns = matrix_shape(shape)
    return (rows * columns - 1) // (rows + columns)


def project(
    weight: Tensor, rank: int, bn_scale: Tensor | None = None, energy_transfer: bool = True
) -> Tensor:
    r"""Project a weight to a rank, spreading the energy it loses over what it keeps.

    Parameters
    ----------
    weight : Tensor
        Shape ``(O, I, kh, kw)`` or ``(O, I)``.
    rank : int
        In ``[1, min(O, K)]``.
    bn_scale : Tensor, optional
        Shape ``(O,)``: what the following batch norm multiplies each row by,
        :math:`\gamma / \sqrt{\sigma^2 + \epsilon}`; the projection is then best for the weight
        that inference uses.
    energy_transfer : bool
        Scale the kept singular values by :math:`\sqrt{\sum_i s_i^2 / \sum_{i \le r} s_i^2}`.

    Returns
    -------
    Tensor
        Of the weight's shape and dtype. A weight whose greatest singular value is below 1e-4 is
        returned as it is.
    """
    matrix = weight.detach().to("cpu", torch.float64).flatten(1)
    scale = torch.ones(len(matrix)) if bn_scale is None else bn_scale.detach().cpu()
    scale = scale.to(torch.float64)[:, None]
    left, values, right = torch.linalg.svd(scale * matrix, full_matrices=False)
    if values[0] < NEGLIGIBLE:
        return weight.detach().clone()
    kept = values[:rank]
    if energy_transfer:
        kept = kept * (values.square().sum() / kept.square().sum()).sqrt()
    low = left[:, :rank] * kept @ right[:rank]
    if bn_scale is not None:
        # A regularised inverse: a row that the batch norm switches off is not blown up.
        low = scale / (scale.square() + RIDGE) * low
    return cast(Tensor, low.reshape(weight.shape).to(weight))


def factorise(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Split a weight of (at most) a rank into two: ``(r, I, kh, kw)`` and ``(O, r, 1, 1)``."""
    matrix = weight.detach().to("cpu", torch.float64).flatten(1)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    root = values[:rank].sqrt()
    first = (root[:, None] * right[:rank]).reshape(rank, *weight.shape[1:])
    second = (left[:, :rank] * root).reshape(len(weight), rank, *(1,) * (weight.dim() - 2))
    return first.to(weight), second.to(weight)


def can_factorise(layer: nn.Module) -> bool:
    """Whether a layer can be replaced by two: a plain linear layer or ungrouped convolution.

    Exactly these types: attention reads its projections' weights itself.
    """
    return type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.groups == 1)


def factorisable(model: nn.Module) -> list[str]:
    """Return the names of the weights whose layers can be replaced by two, in model order.

    A weight with a second name stays: whoever has it there would keep it whole.
    """
    modules = list(model.named_modules(remove_duplicate=False))
    names = Counter(
        id(value) for _, module in modules for value in module.parameters(recurse=False)
    )
    able = [(path, layer) for path, layer in model.named_modules() if can_factorise(layer)]
    return [f"{path}.weight" for path, layer in able if names[id(layer.weight)] == 1]


def splittable(model: nn.Module, layers: Iterable[LayerInfo]) -> list[str]:
    """Return the prunable weights that may be split: all that can be, but the classifier.

    The classifier (what makes the model's outputs) stays whole, since its rank bounds how many
    classes can be told apart.
    """
    able = set(factorisable(model))
    return [layer.name for layer in layers if layer.name in able and not layer.output]


def low_rank_layer(layer: nn.Conv2d | nn.Linear, first: Tensor, second: Tensor) -> nn.Sequential:
    """Return the two layers that replace one: the first keeps its geometry, the second its bias."""
    rank, options = len(first), {"device": first.device, "dtype": first.dtype}
    bias = layer.bias is not None
    pair: tuple[nn.Module, nn.Module]
    if isinstance(layer, nn.Linear):
        pair = (
            _empty(nn.Linear, layer.in_features, rank, bias=False, **options),
            _empty(nn.Linear, rank, layer.out_features, bias=bias, **options),
        )
    else:
        geometry = {
            key: getattr(layer, key)
            for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        }
        pair = (
            _empty(nn.Conv2d, layer.in_channels, rank, **geometry, bias=False, **options),
            _empty(nn.Conv2d, rank, layer.out_channels, kernel_size=1, bias=bias, **options),
        )
    for new, value in zip(pair, (first, second), strict=True):
        new.weight = nn.Parameter(value.clone())
    if layer.bias is not None:
        pair[1].bias = nn.Parameter(layer.bias.detach().clone())
    return nn.Sequential(*pair).train(layer.training)


def _empty(kind: type[nn.Module], *args: Any, **options: Any) -> nn.Module:
    """Build a layer without drawing initial values from the global generator."""
    return cast(nn.Module, nn.utils.skip_init(kind, *args, **options))  # type: ignore[no-untyped-call]  # torch's


def ranks_for_sparsity(
    layers: Iterable[LayerInfo],
    sparsity: float,
    names: Collection[str] | None = None,
    of: Literal["weights", "macs"] = "weights",
    elsewhere: int = 0,
) -> dict[str, int]:
    """Return the ranks that bring the stored factors nearest to a sparsity.

    One fraction of singular values is removed from every layer, found by bisection; a layer is
    split only where its two factors are smaller than its dense weight. Reached is at most
    `low_rank_reach`.

    Parameters
    ----------
    layers : iterable of LayerInfo
        All prunable weights; those that stay dense count too.
    sparsity : float
        Target fraction of prunable weights removed, in [0, 1).
    names : collection of str, optional
        Weights that may be split (`factorisable`); by default all of convolutions and linear
        layers.
    of : str
        ``weights``, or ``macs`` if `sparsity` is the share of multiply-adds that goes.
    elsewhere : int
        Multiply-adds that no prunable weight does; they stay.

    Returns
    -------
    dict
        Weight name to rank, >= 1; layers that stay dense are absent.
    """
    layers = tuple(layers)
    reached = reached_sparsity if of == "weights" else partial(reached_macs, elsewhere=elsewhere)
    low, high = 0.0, 1.0  # removed fractions: at `low` too much is stored, at `high` too little
    for _ in range(50):
        middle = (low + high) / 2
        if reached(layers, _ranks(layers, middle, names)) < sparsity:
            low = middle
        else:
            high = middle
    both = [_ranks(layers, removed, names) for removed in (low, high)]
    return min(both, key=lambda ranks: abs(reached(layers, ranks) - sparsity))


def reached_sparsity(layers: Iterable[LayerInfo], ranks: Mapping[str, int]) -> float:
    """Return 1 - stored / dense prunable weights when layers are split at the given ranks."""
    layers = tuple(layers)
    kept = sum(
        stored_weights(layer.shape, ranks[layer.name]) if layer.name in ranks else layer.num_weights
        for layer in layers
    )
    return 1.0 - kept / sum(layer.num_weights for layer in layers)


def low_rank_reach(layers: Iterable[LayerInfo], names: Collection[str] | None = None) -> float:
    """Return the greatest sparsity low rank can reach: rank 1 wherever that is smaller."""
    layers = tuple(layers)
    return reached_sparsity(layers, _ranks(layers, 1.0, names))


def low_rank_macs(
    layers: Iterable[LayerInfo], names: Collection[str] | None = None, elsewhere: int = 0
) -> float:
    """Return the greatest share of multiply-adds low rank can remove; see `low_rank_reach`."""
    layers = tuple(layers)
    return reached_macs(layers, _ranks(layers, 1.0, names), elsewhere)


def reached_macs(
    layers: Iterable[LayerInfo], ranks: Mapping[str, int], elsewhere: int = 0
) -> float:
    """Return the share of multiply-adds that ranks remove; those `elsewhere` stay.

    Both factors run at the layer's output positions, so a layer's multiply-adds shrink as its
    stored weights do.
    """
    layers = tuple(layers)
    kept = sum(
        layer.macs * stored_weights(layer.shape, ranks[layer.name]) / layer.num_weights
        if layer.name in ranks
        else layer.macs
        for layer in layers
    )
    return 1.0 - (kept + elsewhere) / (sum(layer.macs for layer in layers) + elsewhere)


def _ranks(
    layers: Iterable[LayerInfo], removed: float, names: Collection[str] | None
) -> dict[str, int]:
    """Return each layer's rank at a removed fraction, where the factors are smaller."""
    chosen = {}
    for layer in layers:
        allowed = layer.kind != "attention" if names is None else layer.name in names
        rank = rank_of(layer.shape, removed)
        if allowed and rank <= break_even_rank(layer.shape):
            chosen[layer.name] = rank
    return chosen


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base
    """Counts how many operations read each tensor, and holds it, so that no id is used twice."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's base
        self.count: Counter[int] = Counter()
        self.held: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        for value in args:
            for tensor in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(tensor, Tensor):
                    self.count[id(tensor)] += 1
                    self.held.append(tensor)
        return func(*args, **(kwargs or {}))


def bn_of(model: nn.Module, example: Tensor) -> dict[str, str]:
    """Pair each convolution or linear layer with the batch norm that alone reads its output.

    Found by running the model once (eval mode, restored) and comparing tensors, so neither the
    order of declaration nor of execution matters.

    Returns
    -------
    dict
        Weight name to the batch norm's module name.
    """
    outputs: list[tuple[str, Tensor]] = []
    inputs: list[tuple[str, Tensor]] = []
    hooks = []

    def watch(name: str, module: nn.Module) -> None:
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            hook = module.register_forward_hook(lambda _m, _i, out: outputs.append((name, out)))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            hook = module.register_forward_hook(lambda _m, args, _o: inputs.append((name, args[0])))
        else:
            return
        hooks.append(hook)

    for name, module in model.named_modules():
        watch(name, module)
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad(), _Reads() as reads:
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    producer = {id(out): name for name, out in outputs}
    return {
        f"{producer[id(tensor)]}.weight": name
        for name, tensor in inputs
        if id(tensor) in producer and reads.count[id(tensor)] == 1
    }

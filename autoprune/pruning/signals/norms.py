"""What becomes of normalisations and activations in a copy that is only scored."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

_BATCH = nn.modules.batchnorm._BatchNorm
_NORMS = (_BATCH, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)
_BENT = (
    nn.Hardtanh,  # ReLU6 is one
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Mish,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.Softplus,
    nn.Tanh,
)


def revive_norms(model: nn.Module) -> None:
    """Give batch norms whose scales are all 0 scales of 1.

    Many libraries initialise the last batch norm of a residual block so; the whole block would
    have no gradient, and every score in it would be 0 (card pruning_at_init, g).
    """
    for module in model.modules():
        if isinstance(module, _BATCH) and module.affine:
            scale = module.weight.detach()
            if not scale.any():
                scale.fill_(1.0)


def use_batch_statistics(model: nn.Module) -> None:
    """Let batch norms, and nothing else, behave as they do in training."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BATCH):
            module.train()


def linearise(model: nn.Module) -> None:
    """Turn a model whose signals are all non-negative into one that is linear in its input.

    Norms pass their input on: a batch norm in eval mode with mean 0, variance 1, scale 1 and
    shift 0 does that too, up to its epsilon. So do activations that bend or flatten out on
    positive numbers; ReLU and its leaky kin are linear there as they are.
    """
    for module in model.modules():
        if isinstance(module, (*_NORMS, *_BENT)):
            module.forward = _same  # type: ignore[assignment,method-assign] # of a copy


def _same(values: Tensor, *_: Any, **__: Any) -> Tensor:
    return values

"""N:M patterns of masks: how a weight is cut into blocks, and whether every block keeps to it."""

from __future__ import annotations

from torch import Tensor

from autoprune.core.errors import VerificationError


def to_blocks(tensor: Tensor, size: int) -> Tensor:
    """Return a weight as ``(out, ..., blocks, size)``.

    A block is `size` consecutive entries of the input dimension: inputs of one neuron, or input
    channels of one filter at one kernel position. So the rows of the matrix that a convolution
    is turned into, kernel positions first and channels last, are cut like a linear layer's.

    Parameters
    ----------
    tensor : Tensor ``(out, in, ...)``
        ``in`` a multiple of `size`.
    """
    last = tensor.movedim(1, -1)
    return last.reshape(*last.shape[:-1], -1, size)


def from_blocks(blocks: Tensor) -> Tensor:
    """Undo `to_blocks`."""
    return blocks.flatten(-2).movedim(-1, 1).contiguous()


def most_in_a_block(mask: Tensor, size: int) -> int:
    """Return the greatest number of kept weights in a block."""
    return int(to_blocks(mask, size).sum(-1).max())


def check_pattern(mask: Tensor, n: int, m: int, place: str = "mask") -> None:
    """Refuse a mask unless every block of `m` weights keeps at most `n`.

    Parameters
    ----------
    mask : Tensor ``(out, in, ...)``
        Bool, True = kept.
    place : str
        What an error calls it.

    Raises
    ------
    VerificationError
        With the greatest number found, or if the input dimension is not whole blocks.

    Examples
    --------
    >>> check_pattern(torch.tensor([[True, False, False, True]]), 2, 4)
    """
    if mask.shape[1] % m:
        raise VerificationError(
            f"{place}: its input dimension must be whole blocks of {m} for {n}:{m}; "
            f"got {mask.shape[1]}"
        )
    found = most_in_a_block(mask, m)
    if found > n:
        raise VerificationError(f"{place}: blocks of {m} must keep at most {n}; one keeps {found}")

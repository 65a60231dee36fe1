"""Move masks while training: each layer drops its smallest weights and others grow instead.

A hook says when and how many (`Regrow` all along, `RegrowOnce` at the start), a `Growth` says
where the new ones come up: by the dense gradient, at random, or by a running mean of dense
gradients, which also moves weights between layers. A new weight starts at zero with zero optimiser
state; one that is dropped and grown again in the same update keeps both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from autoprune.core.seeds import torch_stream
from autoprune.pruning.allocations.rounding import fill
from autoprune.pruning.masks import top_k_mask
from autoprune.training.events import Event, LoopState

Counts = dict[str, int]

DECAYS: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda x: (1 + math.cos(math.pi * x)) / 2,
    "constant": lambda x: 1.0,
    "linear": lambda x: 1.0 - x,
    "cubic": lambda x: (1.0 - x) ** 3,
}
"""How the dropped share falls: ``t / T_end`` in [0, 1] to a factor of its first value."""


def drop_smallest(weight: Tensor, mask: Tensor, count: int) -> Tensor:
    """Return the mask without the `count` smallest of its weights.

    Parameters
    ----------
    weight : Tensor
        Any shape; masked entries may hold anything.
    mask : Tensor
        Bool, same shape.
    count : int
        At most the weights alive.
    """
    magnitude = torch.where(mask, weight.detach().abs().nan_to_num(), -torch.inf)
    return top_k_mask(magnitude, int(mask.sum()) - count)


def grow_highest(kept: Tensor, wishes: Tensor, count: int) -> Tensor:
    """Return the mask with the `count` highest of the other entries added.

    Parameters
    ----------
    kept : Tensor
        Bool, any shape; what was just dropped may come back.
    wishes : Tensor
        Same shape, higher = grow.
    """
    # A run that diverges wishes for nothing; its counts hold all the same.
    return kept | top_k_mask(torch.where(kept, -torch.inf, wishes.nan_to_num()), count)


class Growth(Protocol):
    """Says where new weights come up.

    Attributes
    ----------
    replaces_step : bool
        Whether an update stands in place of the optimiser's step, or comes after it.
    """

    replaces_step: ClassVar[bool]

    def observe(self, loop: LoopState, *, due: bool) -> None:
        """Look at the gradients after every backward pass; `due` if an update is coming."""
        ...

    def wishes(self, loop: LoopState, name: str) -> Tensor:
        """Rate the entries of a weight, higher = grow."""
        ...

    def counts(self, loop: LoopState, kept: Mapping[str, Tensor], gone: Counts) -> Counts:
        """Return how many weights each layer grows, as many in all as are gone."""
        ...


class GradientGrowth:
    """Grow where the dense gradient of this batch is largest; takes the place of the step.

    The gradient is that of the weights as they stand, so no step may come in between.
    """

    replaces_step: ClassVar[bool] = True

    def observe(self, loop: LoopState, *, due: bool) -> None:
        """Say that an update needs the gradient of masked weights."""
        loop.dense_gradient = loop.dense_gradient or due

    def wishes(self, loop: LoopState, name: str) -> Tensor:
        """Return the gradient's magnitude; a weight that the loss does not see has none."""
        parameter = loop.parameters[name]
        gradient = parameter.grad
        return torch.zeros_like(parameter) if gradient is None else gradient.abs()

    def counts(self, loop: LoopState, kept: Mapping[str, Tensor], gone: Counts) -> Counts:
        """Grow in each layer what it lost."""
        return gone


class RandomGrowth:
    """Grow anywhere with equal chance, after the optimiser's step; needs no gradient."""

    replaces_step: ClassVar[bool] = False

    def observe(self, loop: LoopState, *, due: bool) -> None:
        """Need nothing."""

    def wishes(self, loop: LoopState, name: str) -> Tensor:
        """Draw a number for each entry, from a stream named by the step and the weight."""
        generator = torch_stream(loop.seed, loop.label, "grow", loop.step, name)
        parameter = loop.parameters[name]
        return torch.rand(parameter.shape, generator=generator).to(parameter.device)

    def counts(self, loop: LoopState, kept: Mapping[str, Tensor], gone: Counts) -> Counts:
        """Grow in each layer what it lost."""
        return gone


class MomentumGrowth:
    """Grow by a running mean of dense gradients, which also says in which layers.

    A layer's share of all new weights is the mean magnitude of that running mean over its
    weights, and it fills at most 99 % of its free places; the number of weights in all stays.

    Parameters
    ----------
    smoothing : float
        Share of the old mean that stays at every step, in [0, 1).
    """

    replaces_step: ClassVar[bool] = False
    most: ClassVar[Fraction] = Fraction(99, 100)

    def __init__(self, smoothing: float = 0.9) -> None:
        self.smoothing = smoothing
        self.means: dict[str, Tensor] = {}

    def observe(self, loop: LoopState, *, due: bool) -> None:
        """Take in the dense gradient of every step."""
        loop.dense_gradient = True
        for name in loop.masks:
            gradient = loop.parameters[name].grad
            if gradient is not None:
                mean = self.means.setdefault(name, torch.zeros_like(gradient))
                mean.lerp_(gradient, 1 - self.smoothing)

    def wishes(self, loop: LoopState, name: str) -> Tensor:
        """Return the running mean's magnitude."""
        mean = self.means.get(name)
        return torch.zeros_like(loop.parameters[name]) if mean is None else mean.abs()

    def counts(self, loop: LoopState, kept: Mapping[str, Tensor], gone: Counts) -> Counts:
        """Share out what is gone from all layers among the layers that moved."""
        shares = {n: float(self.wishes(loop, n)[loop.masks[n]].mean()) for n in gone}
        free = {n: int((~kept[n]).sum()) for n in gone}
        return share_out(shares, free, gone, self.most)


def share_out(shares: Mapping[str, float], free: Counts, gone: Counts, most: Fraction) -> Counts:
    """Distribute as many weights as are gone in proportion to the layers' shares.

    Parameters
    ----------
    shares : mapping
        What a layer's part is proportional to, >= 0.
    free : dict
        Empty places of each layer after the drop; a layer fills the fraction `most` of them
        unless all layers together cannot hold the rest.
    gone : dict
        Weights each layer lost; returned as they are where the shares say nothing (all zero, or
        not finite in a run that diverges).
    """
    highest = max(shares.values(), default=0.0)
    if not all(map(math.isfinite, shares.values())) or highest <= 0:
        return gone
    total = sum(gone.values())
    caps = [int(most * free[name]) for name in gone]
    if sum(caps) < total:
        caps = [free[name] for name in gone]
    # A layer without any momentum comes last, and still takes what the others cannot hold.
    weights = [Fraction(max(shares[name], 1e-12 * highest)) for name in gone]
    return dict(zip(gone, fill(caps, [0] * len(caps), weights, total), strict=True))


GROWTHS: Mapping[str, Callable[..., Growth]] = {
    "gradient": GradientGrowth,
    "random": RandomGrowth,
    "momentum": MomentumGrowth,
}


class Regrow:
    """Move the masks at regular intervals, ever fewer weights, until the topology is frozen.

    Parameters
    ----------
    growth : str
        Which `Growth`; `settings` are its own parameters.
    drop_fraction : float
        Share of a layer's weights that would move at step 0, in [0, 1).
    end : float
        Share of training after which masks stay, in (0, 1].
    interval : int
        Greatest number of steps from one update to the next, >= 2.
    least_updates : int
        Updates to reach in a run too short for that interval; two are never in a row.
    decay : str
        How the share falls, see `DECAYS`.
    """

    def __init__(
        self,
        growth: str,
        drop_fraction: float,
        end: float,
        interval: int,
        least_updates: int,
        decay: str = "cosine",
        **settings: float,
    ) -> None:
        self.growth = GROWTHS[growth](**settings)
        self.drop_fraction, self.end, self.interval = drop_fraction, end, interval
        self.least_updates, self.decay = least_updates, decay
        self.updates = 0

    def on(self, event: Event, loop: LoopState) -> None:
        """Update the masks in place of a step, or after one, when it is time to."""
        if event is Event.AFTER_BACKWARD:
            share = self.share(loop.step, loop.num_steps)
            self.growth.observe(loop, due=share is not None)
            if share is not None and self.growth.replaces_step:
                self.update(loop, share)
                loop.skip_step = True
        elif event is Event.AFTER_STEP and not self.growth.replaces_step:
            share = self.share(loop.step - 1, loop.num_steps)
            if share is not None:
                self.update(loop, share)
        elif event is Event.FIT_END:
            self.report(loop)

    def share(self, step: int, num_steps: int) -> float | None:
        """Return the share of each layer's weights that this step moves; None if it is no update.

        The first update comes after an interval, when the weights have learnt something.
        """
        end = max(1, round(self.end * num_steps))
        interval = max(2, min(self.interval, end // (self.least_updates + 1)))
        if not 0 < step < end or step % interval:
            return None
        return self.drop_fraction * DECAYS[self.decay](step / end)

    def moved(self, share: float, alive: int) -> int:
        """Turn a share of a layer's weights into a count."""
        return math.floor(share * alive)

    def report(self, loop: LoopState) -> None:
        """Log how often the masks were moved."""
        loop.log["mask_updates"] = float(self.updates)

    def update(self, loop: LoopState, share: float) -> None:
        """Drop and grow in every layer that is neither full nor empty."""
        kept, gone = {}, {}
        for name, mask in loop.masks.items():
            alive = int(mask.sum())
            if 0 < alive < mask.numel():
                gone[name] = self.moved(share, alive)
                kept[name] = drop_smallest(loop.parameters[name], mask, gone[name])
        counts = self.growth.counts(loop, kept, gone)
        for name, count in counts.items():
            new = grow_highest(kept[name], self.growth.wishes(loop, name), count)
            _move(loop, name, new)
        self.updates += 1
        loop.masks_changed()


class RegrowOnce(Regrow):
    """Move a share of every layer's weights at the first step, and never again.

    Parameters
    ----------
    growth : str
        Which `Growth`.
    share : float
        Share of each layer's weights, in [0, 1]; rounded up to whole weights.
    """

    def __init__(self, growth: str, share: float) -> None:
        super().__init__(growth, share, end=1.0, interval=2, least_updates=1)

    def share(self, step: int, num_steps: int) -> float | None:
        """Return the share at the first step."""
        return self.drop_fraction if step == 0 else None

    def moved(self, share: float, alive: int) -> int:
        """Round up, but not for the noise of the product."""
        return math.ceil(share * alive - 1e-9)

    def report(self, loop: LoopState) -> None:
        """Log nothing: `mask_updates` is that of the training before."""


def _move(loop: LoopState, name: str, new: Tensor) -> None:
    """Put a new mask in place; what came or went is zero, in the weights and in their state."""
    mask = loop.masks[name]
    changed = new != mask
    mask.copy_(new)
    with torch.no_grad():
        for tensor in (loop.parameters[name], *loop.optimizer_state(name)):
            tensor.masked_fill_(changed, 0.0)

"""Score, mask, rewind: the stages around the heart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from autoprune.core.config import Scalar
from autoprune.stages.base import RunContext, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.pruning.masks import MaskSet
    from autoprune.pruning.view import ModelView
    from autoprune.stages.state import TrialState


@dataclass(frozen=True)
class Score(Stage):
    """Rate the weights (or units) of the parent.

    Parameters
    ----------
    score : str
        Score registry name.
    seed : int
        Root of the score's own stream and of its scoring batch.
    label : str
        Which draw of the stream this is.
    params : dict
        What the score is built with; its own defaults otherwise.
    """

    kind: ClassVar[str] = "score"

    score: str
    seed: int
    label: str = "score"
    params: dict[str, Scalar] = field(default_factory=dict)

    @property
    def cheap(self) -> bool:
        """Whether the score needs no pass over data."""
        from autoprune.pruning.registry import SCORES

        return SCORES.get(self.score)(**self.params).cheap

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Gather the signals the score needs, and score."""
        from autoprune.core.seeds import stream_seed
        from autoprune.pruning.registry import SCORES
        from autoprune.pruning.view import GROUP_SIGNALS
        from autoprune.stages.support import make_view

        score = SCORES.get(self.score)(**self.params)
        seed = stream_seed(self.seed, self.label)
        groups = context.groups if score.of_units or score.needs & GROUP_SIGNALS else ()
        view = make_view(inputs[0], context, seed=seed, needs=score.needs, groups=groups)
        scores = {f"score/{name}": value for name, value in score(view).items()}
        return replace(inputs[0], tensors=scores, log=count_passes(inputs[0], score.passes))


def count_passes(state: TrialState, passes: int) -> dict[str, Any]:
    """Return a state's log with `passes` more score passes."""
    return {**state.log, "score_passes": state.log.get("score_passes", 0) + passes}


@dataclass(frozen=True)
class Mask(Stage):
    """Turn scores into masks, and zero what they remove.

    Parameters
    ----------
    parents : tuple of Stage
        The weights and the scores.
    sparsity : float
        Fraction of the dense prunable weights (or of the dense MACs) to have removed.
    granularity : str
        Granularity registry name, or a pattern such as ``2:4``.
    grain : dict
        What the granularity is built with; its own defaults otherwise.
    """

    kind: ClassVar[str] = "mask"

    allocation: str
    sparsity: float
    granularity: str = "weight"
    of: Literal["weights", "macs"] = "weights"
    grain: dict[str, Scalar] = field(default_factory=dict)

    @property
    def cheap(self) -> bool:
        """Copying or ranking weights costs less than a file."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Apply the heart's three lines to the parents."""
        from autoprune.pruning.granularities.spec import resolve_granularity
        from autoprune.stages.state import Structure
        from autoprune.stages.support import apply_masks, damage, make_view

        state, scored = inputs
        groups = context.groups if resolve_granularity(self.granularity).of_units else ()
        view = make_view(state, context, seed=0, groups=groups)
        scores = {n.removeprefix("score/"): v for n, v in scored.tensors.items()}
        chosen: MaskSet = self._choose(scores, view, context)
        weights = apply_masks(state.weights, chosen.masks)
        units = {name: tuple(int(u) for u in keep) for name, keep in chosen.units.items()}
        done = replace(
            state,
            weights=weights,
            masks=chosen.masks,
            structure=replace(state.structure, units=units) if units else Structure(),
            tensors={},
        )
        counts = {
            "score_passes": scored.log.get("score_passes", 0),
            "empty_layers": _empty_layers(chosen, context),
        }
        return replace(done, log={**state.log, **counts, **damage(state, done)})

    def _choose(self, scores: dict[str, Tensor], view: ModelView, context: RunContext) -> MaskSet:
        from autoprune.pruning.allocations.spec import resolve_allocation
        from autoprune.pruning.granularities.spec import resolve_granularity
        from autoprune.pruning.keep import keep_masks

        granularity = resolve_granularity(self.granularity, self.grain)
        allocation = resolve_allocation(self.allocation)

        def at(sparsity: float) -> MaskSet:
            return keep_masks(scores, granularity, allocation, sparsity, view)

        if self.of == "weights":
            return at(self.sparsity)
        info = context.task.info
        macs = {layer.name: layer.macs for layer in info.layers}
        elsewhere = info.macs_elsewhere

        def removed(masks: MaskSet) -> float:
            if masks.units and elsewhere:  # heads take some of attention's products along
                return 1.0 - _compact_macs(masks, context) / info.macs
            return removed_macs(masks, macs, elsewhere)

        return _nearest(at, self.sparsity, removed)


def removed_macs(masks: MaskSet, macs: Mapping[str, int], elsewhere: int = 0) -> float:
    """Return the share of the dense multiply-adds that goes with what masks remove.

    Parameters
    ----------
    macs : mapping
        Multiply-adds by weight.
    elsewhere : int
        Those that no prunable weight does; they stay.
    """
    kept = sum(float(masks.masks[n].float().mean()) * m for n, m in macs.items())
    return 1.0 - (kept + elsewhere) / (sum(macs.values()) + elsewhere)


def _compact_macs(masks: MaskSet, context: RunContext) -> int:
    """Count the multiply-adds of the model without the units that masks remove."""
    import torch

    from autoprune.metrics.macs import count_macs
    from autoprune.pruning.compact import compact

    units = {name: [int(u) for u in keep] for name, keep in masks.units.items()}
    slim = compact(context.model, units, {}, context.groups)
    device = next(slim.parameters()).device
    return count_macs(slim, torch.zeros(1, *context.task.info.input_shape, device=device))


def _nearest(
    at: Callable[[float], MaskSet], target: float, removed: Callable[[MaskSet], float]
) -> MaskSet:
    """Bisect the weight sparsity whose masks remove nearest to a share of the multiply-adds."""
    low, high = 0.0, 0.9999
    best = at(target)
    missed = abs(removed(best) - target)
    for _ in range(24):
        middle = (low + high) / 2
        masks = at(middle)
        share = removed(masks)
        if abs(share - target) < missed:
            best, missed = masks, abs(share - target)
        low, high = (middle, high) if share < target else (low, middle)
    return best


def _empty_layers(masks: MaskSet, context: RunContext) -> int:
    """Count the prunable layers of which nothing is left: a result, and the end of most nets."""
    return sum(not bool(masks.masks[layer.name].any()) for layer in context.task.info.layers)


@dataclass(frozen=True)
class MaskRounds(Stage):
    """Score and mask again and again without training in between.

    Each round scores what the last one left (card pruning_at_init, c5 and c6); the log counts the
    score passes of all rounds.

    Parameters
    ----------
    rounds : int
        Rounds, n.
    sparsity : float
        As for `Mask`, after the last round.
    schedule : str
        Sparsity schedule over the rounds; geometric: the density after round ``k`` is
        ``d ** (k / n)``.
    label : str
        Names the rounds' streams: every round draws a scoring batch of its own.
    params, grain : dict
        What the score and the granularity are built with.
    """

    kind: ClassVar[str] = "mask_rounds"

    score: str
    allocation: str
    sparsity: float
    rounds: int
    seed: int
    granularity: str = "weight"
    of: Literal["weights", "macs"] = "weights"
    schedule: str = "geometric"
    label: str = "score"
    params: dict[str, Scalar] = field(default_factory=dict)
    grain: dict[str, Scalar] = field(default_factory=dict)

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Go down to the target round by round."""
        from autoprune.pruning.registry import SPARSITY_SCHEDULES
        from autoprune.stages.support import damage

        schedule = SPARSITY_SCHEDULES.get(self.schedule)
        state = inputs[0]
        for k in range(1, self.rounds + 1):
            sparsity = schedule(k / self.rounds, self.sparsity)
            scored = Score(
                score=self.score, seed=self.seed, label=f"{self.label}/{k}", params=self.params
            )
            mask = Mask(
                allocation=self.allocation,
                sparsity=sparsity,
                granularity=self.granularity,
                of=self.of,
                grain=self.grain,
            )
            state = mask.run([state, scored.run([state], context)], context)
        return replace(state, log={**state.log, **damage(inputs[0], state)})


@dataclass(frozen=True)
class Rewind(Stage):
    """Give surviving weights the values of a snapshot; masks stay.

    Parameters
    ----------
    parents : tuple of Stage
        The masked state, and the snapshot.
    """

    kind: ClassVar[str] = "rewind"

    @property
    def cheap(self) -> bool:
        """Copying or ranking weights costs less than a file."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Take the snapshot's weights, with the masks on them."""
        from autoprune.stages.support import apply_masks

        masked, snapshot = inputs
        return replace(masked, weights=apply_masks(snapshot.weights, masked.masks))


@dataclass(frozen=True)
class Recalibrate(Stage):
    """Re-estimate BatchNorm's running statistics on training images; nothing else changes.

    Without BatchNorm the parent's state passes through.
    """

    kind: ClassVar[str] = "recalibrate"

    num_batches: int = 50
    batch_size: int = 256

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Pass training images through the model in train mode, without gradients."""
        from autoprune.stages.support import export_weights, load_model
        from autoprune.training.recipes.bn_recalibration import recalibrate

        if not context.task.info.has_batchnorm:
            return inputs[0]
        model = load_model(inputs[0], context)
        recalibrate(model, context.task.data.train, self.batch_size, self.num_batches)
        return replace(inputs[0], weights=export_weights(model))

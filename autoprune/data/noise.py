"""Label noise: wrong labels in the training part, drawn once and the same for every replicate.

Torch-free.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np

from autoprune.core.config import TaskConfig
from autoprune.core.seeds import numpy_stream
from autoprune.data.raw import Labels, Part

NoiseKind = Literal["symmetric", "exact", "pairflip"]


@dataclass(frozen=True)
class LabelNoise:
    """How the labels of the training part are falsified; see `noisy_labels`."""

    rate: float = 0.0
    kind: NoiseKind = "symmetric"
    seed: int = 0

    @staticmethod
    def of(task: TaskConfig) -> LabelNoise:
        """Return the noise that a task asks for."""
        return LabelNoise(task.label_noise, task.label_noise_kind, task.label_noise_seed)

    def apply(self, part: Part, num_classes: int) -> Part:
        """Return a part with its labels falsified."""
        labels = noisy_labels(part.labels, num_classes, self.rate, self.kind, self.seed)
        return Part(part.images, labels)


CLEAN = LabelNoise()


def noisy_labels(
    labels: Labels, num_classes: int, rate: float, kind: NoiseKind, seed: int
) -> Labels:
    """Falsify labels at random.

    Parameters
    ----------
    labels : ndarray ``(N,)`` of int64
        Class numbers in [0, `num_classes`); left as they are.
    num_classes : int
        C, at least 2.
    rate : float
        eps, in [0, 1).
    kind : str
        ``"symmetric"``: ceil(eps N) examples, drawn without replacement, each get a label that is
        uniform over all C classes, the right one included, so eps (1 - 1/C) of the labels are
        wrong. ``"exact"``: each example gets, with probability eps, one of the other C - 1
        classes. ``"pairflip"``: y becomes (y + 1) mod C with probability eps.
    seed : int
        Of the stream they are drawn from; no replicate's seed enters, so replicates share them.

    Returns
    -------
    ndarray ``(N,)`` of int64
        The falsified labels.

    References
    ----------
    Z. He, Z. Xie, Q. Zhu, Z. Qin, "Sparse Double Descent: Where Network Pruning Aggravates
    Overfitting", ICML 2022, arXiv 2206.08684.
    """
    return _KINDS[kind](labels, num_classes, rate, numpy_stream(seed, "label_noise"))


def _symmetric(
    labels: Labels, num_classes: int, rate: float, random: np.random.Generator
) -> Labels:
    # In decimals: .07 of 100 is 7, which the product of floats exceeds.
    count = math.ceil(Decimal(str(rate)) * len(labels))
    chosen = random.permutation(len(labels))[:count]
    found = labels.copy()
    found[chosen] = random.integers(num_classes, size=count)
    return found


def _exact(labels: Labels, num_classes: int, rate: float, random: np.random.Generator) -> Labels:
    flips = random.random(len(labels)) < rate
    offsets = random.integers(1, num_classes, size=len(labels))
    return np.where(flips, (labels + offsets) % num_classes, labels)


def _pairflip(labels: Labels, num_classes: int, rate: float, random: np.random.Generator) -> Labels:
    flips = random.random(len(labels)) < rate
    return np.where(flips, (labels + 1) % num_classes, labels)


_KINDS: dict[NoiseKind, Callable[[Labels, int, float, np.random.Generator], Labels]] = {
    "symmetric": _symmetric,
    "exact": _exact,
    "pairflip": _pairflip,
}

"""The N:M pattern of an export: what the plan promises, and what the file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from autoprune.core.errors import VerificationError
from autoprune.pruning.granularities.spec import Pattern, read_pattern
from autoprune.pruning.patterns import check_pattern, most_in_a_block

Config = Mapping[str, Any]


def planned_pattern(config: Config) -> Pattern | None:
    """Return the pattern of a trial's configuration, as plan.json has it."""
    return read_pattern(str(config["params"].get("granularity", "weight")))


def pattern_section(
    config: Config, kept: Mapping[str, Tensor], layers: Mapping[str, Any]
) -> dict[str, Any] | None:
    """State which layers hold which pattern.

    Parameters
    ----------
    config : mapping
        The trial's configuration as JSON.
    kept : mapping
        Bool by layer, True = kept; a layer without one is dense.
    layers : mapping
        Prunable weight to its dense shape.

    Returns
    -------
    dict or None
        ``granularity``; ``layers``, name to the pattern it holds, such as ``"3:8"``; ``dense``,
        the names of the others. None without a pattern.

    Raises
    ------
    VerificationError
        If the plan promises a pattern and a layer that is cut does not hold it.
    """
    pattern = planned_pattern(config)
    if pattern is None:
        return None
    held, dense = {}, []
    for name, shape in layers.items():
        mask = kept.get(name, torch.ones(tuple(shape), dtype=torch.bool))
        most = most_in_a_block(mask, pattern.size) if pattern.divides(shape) else pattern.size
        if most < pattern.size:
            held[name] = f"{most}:{pattern.size}"
        else:
            dense.append(name)
    section = {"granularity": config["params"]["granularity"], "layers": held, "dense": dense}
    check_section(config, section, kept, layers, "the masks")
    return section


def check_section(
    config: Config,
    section: Mapping[str, Any] | None,
    kept: Mapping[str, Tensor],
    layers: Mapping[str, Any],
    place: str,
) -> str | None:
    """Refuse a file that does not hold what its report states and its plan promises.

    A fixed pattern is promised by a trial that went through all its rounds; an earlier round of
    it holds what the report states.

    Parameters
    ----------
    config, kept, layers
        As for `pattern_section`.
    section : mapping or None
        What `pattern_section` returned.
    place : str
        What an error calls the file.

    Returns
    -------
    str or None
        What was checked; None without a pattern.

    Raises
    ------
    VerificationError
        With the layer and the pattern it breaks.
    """
    pattern = planned_pattern(config)
    if pattern is None:
        return None
    if section is None or section["granularity"] != config["params"]["granularity"]:
        raise VerificationError(f"{place}: the report must state the pattern of the plan")
    for name, stated in section["layers"].items():
        most, size = map(int, stated.split(":"))
        if size != pattern.size or name not in kept:
            raise VerificationError(f"{place}: {name} must hold {stated} as reported")
        check_pattern(kept[name], most, size, f"{place}: {name}")
    if pattern.keep is not None and config.get("stop_round") is None:
        for name in (name for name, shape in layers.items() if pattern.divides(shape)):
            mask = kept.get(name, torch.ones(tuple(layers[name]), dtype=torch.bool))
            check_pattern(mask, pattern.keep, pattern.size, f"{place}: {name}")
    count = len(section["layers"])
    return f"pattern: {section['granularity']} in {count} of {len(layers)} layers"

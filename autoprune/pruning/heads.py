"""Attention heads as removable units, read off the parts of an attention module.

An attention is understood if it is built as timm's is: linear layers ``qkv`` (or ``q``, ``k``
and ``v``) whose rows lie head by head, a linear layer that reads the heads one after the other,
and integers ``num_heads`` and ``head_dim``. What is read is checked like every other group, by a
trial removal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from autoprune.pruning.view import UnitCounter, UnitGroup, UnitMember

_PARTS = (("qkv",), ("q", "k", "v"), ("q_proj", "k_proj", "v_proj"))
_READERS = ("proj", "out_proj")
_PER_CHANNEL = ("q_norm", "k_norm")
_HEADS = ("num_heads", "num_kv_heads")
_WIDTHS = ("attn_dim", "kv_dim")


class NotRemovable(Exception):  # noqa: N818 - a reason, not an error
    """Why units cannot be removed."""


@dataclass
class Heads:
    """What was found of a model's attention.

    Parameters
    ----------
    groups : list of UnitGroup
        One per attention that is understood.
    inner : dict
        The module, by id, of each projection whose rows are entries of heads, to what to say of a
        group of channels that holds it.
    left_out : dict
        Weight name to the reason why an attention's heads cannot be removed.
    """

    groups: list[UnitGroup] = field(default_factory=list)
    inner: dict[int, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def find_heads(model: nn.Module) -> Heads:
    """Find the attention heads that can be removed, and say why the others cannot."""
    found = Heads()
    for path, module in model.named_modules():
        layers = _layers(module)
        if type(vars(module).get("num_heads")) is not int or not layers:
            continue
        prefix, kind = f"{path}." if path else "", type(module).__name__
        try:
            group = _group(module, prefix)
        except NotRemovable as why:
            reason = f"they are heads of {path or 'the model'} ({kind}): {why}"
            names = [f"{prefix}{name}.weight" for name in layers if name not in _READERS]
            if isinstance(module, nn.MultiheadAttention):
                names = [f"{prefix}{name}" for name, _ in module.named_parameters(recurse=False)]
            found.left_out |= dict.fromkeys((n for n in names if n.endswith("weight")), reason)
            inner = list(layers)
        else:
            found.groups.append(group)
            inner = [name for name in layers if name not in _READERS]
        for name in inner:
            found.inner[id(layers[name])] = f"they are coupled with {path} ({kind}), an attention"
    return found


def _layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return an attention's own linear layers and convolutions."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    return {name: layer for name, layer in module.named_children() if isinstance(layer, kinds)}


@dataclass(frozen=True)
class _Layout:
    """How an attention holds its heads: layers to how many times, and the layer that reads them."""

    heads: int
    width: int
    parts: dict[str, int]
    reader: str


def _group(module: nn.Module, prefix: str) -> UnitGroup:
    """Return the heads of one attention as units."""
    layout = _layout(module)
    heads, width, span = layout.heads, layout.width, layout.heads * layout.width
    members: list[UnitMember] = []
    for name, times in layout.parts.items():
        index = tuple(
            tuple(
                at
                for part in range(times)
                for at in range(part * span + head * width, part * span + (head + 1) * width)
            )
            for head in range(heads)
        )
        for last, value in module.get_submodule(name).named_parameters():
            members.append(UnitMember(f"{prefix}{name}.{last}", 0, index, "out", len(value)))
    columns = tuple(tuple(range(head * width, (head + 1) * width)) for head in range(heads))
    members.append(UnitMember(f"{prefix}{layout.reader}.weight", 1, columns, "in", span))
    path = prefix.removesuffix(".")
    counters = [UnitCounter(path, a) for a in _HEADS if hasattr(module, a)]
    counters += [UnitCounter(path, a, width) for a in _WIDTHS if hasattr(module, a)]
    return UnitGroup(members[0].name, heads, tuple(members), tuple(counters))


def _layout(module: nn.Module) -> _Layout:
    """Read an attention's parts.

    Raises
    ------
    NotRemovable
        If it has others than those of a known attention, or they do not fit together.
    """
    if isinstance(module, nn.MultiheadAttention):
        raise NotRemovable("torch ties the width of all heads to that of the input")
    layers = {n: layer for n, layer in _layers(module).items() if isinstance(layer, nn.Linear)}
    names = next((names for names in _PARTS if set(names) <= set(layers)), ())
    reader = next((name for name in _READERS if name in layers), None)
    if not names or reader is None:
        raise NotRemovable("its layers are not qkv (or q, k and v) and one that reads the heads")
    times = dict.fromkeys(names, 3 if len(names) == 1 else 1)
    if "gate" in layers:
        times["gate"] = 1
    heads, width = vars(module)["num_heads"], getattr(module, "head_dim", None)
    _check_rest(module, {*times, reader}, width)
    if type(width) is not int:
        raise NotRemovable("it does not store the width of a head as head_dim")
    sizes = {name: layers[name].out_features for name in times}
    said = {name: getattr(module, name) for name in (*_HEADS, *_WIDTHS) if hasattr(module, name)}
    right = {name: number * heads * width for name, number in times.items()}
    right |= {name: heads if name in _HEADS else heads * width for name in said}
    if {**sizes, **said} != right or layers[reader].in_features != heads * width:
        raise NotRemovable(f"its layers are not those of {heads} heads of {width}")
    if heads < 2:
        raise NotRemovable("there is only one")
    return _Layout(heads, width, times, reader)


def _check_rest(module: nn.Module, known: set[str], width: int | None) -> None:
    """Make sure that no other parameter of an attention belongs to single heads."""
    for name, value in module.named_parameters():
        part = name.partition(".")[0]
        if part in _PER_CHANNEL and value.shape[-1:] != (width,):
            raise NotRemovable(f"its {part} spans all heads")
        if part not in {*known, *_PER_CHANNEL}:
            raise NotRemovable(f"its {name} may belong to single heads")

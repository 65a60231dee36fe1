from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autoprune.core.errors import TaskError, VerificationError
from autoprune.export.formats.pt2 import PT2, check_archive

Entries = dict[str, bytes]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small net's file, with shapes that are computed from the batch."""
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    PT2.export(
        nn.Sequential(nn.Linear(3, 2), nn.Flatten(0), nn.Unflatten(0, (-1, 2))).eval(),
        torch.zeros(2, 3),
        path,
        {},
    )
    return path


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def rewritten(source: Path, target: Path, change: Callable[[Entries], None]) -> Path:
    with zipfile.ZipFile(source) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    change(entries)
    with zipfile.ZipFile(target, "w") as new:
        for name, content in entries.items():
            new.writestr(name, content)
    return target


def edited(entries: Entries, end: str, change: Callable[[Any], None]) -> None:
    name = next(name for name in entries if name.endswith(end))
    content = json.loads(entries[name])
    change(content)
    entries[name] = json.dumps(content).encode()


def test_any_batch_runs(archive: Path) -> None:
    run = PT2.load(archive)
    assert [len(run(torch.zeros(n, 3))) for n in (1, 2, 7)] == [1, 2, 7]


def test_nothing_in_the_file_is_pickled(archive: Path) -> None:
    with zipfile.ZipFile(archive) as found:
        assert [found.read(n) for n in found.namelist() if n.endswith(".pt")] == [b""]


def test_torchs_own_export_with_pickled_samples_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(nn.Linear(3, 2), (torch.zeros(2, 3),))
    torch.export.save(program, tmp_path / "x.pt2")
    with pytest.raises(VerificationError, match=r"must hold raw tensors and a graph.*model\.pt'"):
        PT2.load(tmp_path / "x.pt2")


def test_pickles_are_never_opened(archive: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    buffer = io.BytesIO()
    torch.save(Evil(marker), buffer)

    def in_samples(entries: Entries) -> None:
        entries[next(n for n in entries if n.endswith(".pt"))] = buffer.getvalue()

    def in_weights(entries: Entries) -> None:
        def mark(content: Any) -> None:
            next(iter(content["config"].values()))["use_pickle"] = True

        edited(entries, "weights_config.json", mark)
        entries[next(n for n in entries if n.endswith("weight_0"))] = buffer.getvalue()

    def in_constants(entries: Entries) -> None:
        root = next(iter(entries)).split("/")[0]
        entries[f"{root}/data/constants/opaque_obj_0"] = pickle.dumps(Evil(marker))

    for number, change in enumerate((in_samples, in_weights, in_constants)):
        path = rewritten(archive, tmp_path / f"{number}.pt2", change)
        with pytest.raises(VerificationError):
            PT2.load(path)
    assert not marker.exists()


def test_a_shape_that_is_code_is_refused(archive: Path, tmp_path: Path) -> None:
    code = f"__import__('pathlib').Path({str(tmp_path / 'marker')!r}).touch()"

    def change(entries: Entries) -> None:
        name = next(n for n in entries if n.endswith("model.json"))
        text = entries[name].decode()
        symbol = text[text.index("Symbol(") : text.index("integer=True)") + len("integer=True)")]
        entries[name] = text.replace(json.dumps(symbol), json.dumps(code)).encode()

    path = rewritten(archive, tmp_path / "x.pt2", change)
    with pytest.raises(VerificationError, match="must compute and nothing else"):
        PT2.load(path)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "target", ["torch.load", "torch.hub.load", "_operator.methodcaller", "torch.ops.load_library"]
)
def test_a_graph_that_calls_more_than_operators_is_refused(
    archive: Path, tmp_path: Path, target: str
) -> None:
    def call(content: Any) -> None:
        content["graph_module"]["graph"]["nodes"][0]["target"] = target

    path = rewritten(archive, tmp_path / "x.pt2", lambda e: edited(e, "model.json", call))
    with pytest.raises(VerificationError, match="must compute and nothing else"):
        check_archive(path)


def test_containers_that_import_are_refused(archive: Path, tmp_path: Path) -> None:
    def change(content: Any) -> None:
        call = content["graph_module"]["module_call_graph"][0]["signature"]
        call["in_spec"] = call["in_spec"].replace("builtins.dict", "collections.defaultdict")

    path = rewritten(archive, tmp_path / "x.pt2", lambda e: edited(e, "model.json", change))
    with pytest.raises(VerificationError, match="must compute and nothing else"):
        check_archive(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x00" * 100])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt2").write_bytes(content)
    with pytest.raises(VerificationError, match=r"x\.pt2 is not a readable archive"):
        PT2.load(tmp_path / "x.pt2")


def test_a_model_for_one_batch_size_only_is_refused(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, -1)

    with pytest.raises(TaskError, match="must be traceable with any batch size"):
        PT2.export(Fixed(), torch.zeros(2, 3), tmp_path / "x.pt2", {})

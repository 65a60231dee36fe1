"""What the ready-made studies refuse, and how their options are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoprune.cli.experiments import Files
from autoprune.cli.sweep import _arm
from autoprune.core.errors import ConfigError
from tests.cli.support import call
from tests.cli.test_bad_input import refused

BAD = {
    "one peak": (["oracle", "--peaks", "1"], "--peaks must be at least 2 learning rates", "got 1"),
    "one listed peak": (["oracle", "--peaks", "0.1"], "--peaks must be at least 2", "got 1"),
    "no peaks": (["oracle", "--peaks", "0"], "--peaks must be at least 2", "got 0"),
    "peak of 0": (["oracle", "--peaks", "0,0.1"], "--peaks must be learning rates > 0", "got 0.0"),
    "peak below 0": (["oracle", "--peaks", "-0.1,0.1"], "--peaks must be learning rates > 0"),
    "peaks word": (["oracle", "--peaks", "many"], "--peaks must be a number of candidates"),
    "low": (["oracle", "--low", "0"], "--low, --high must be learning rates with 0 < low < high"),
    "cycles": (["oracle", "--cycles", "0"], "--cycles must be at least 1; got 0"),
    "seeds": (["oracle", "--seeds", "0"], "--seeds must be at least 1; got 0"),
    "share": (["oracle", "--share", "0"], "--share must be in (0, 1)"),
    "share of all": (["oracle", "--share", "100%"], "--share must be a share in [0, 1)"),
    "tolerance": (["oracle", "--tolerance", "1"], "--tolerance must be a share in [0, 1)"),
    "data": (["oracle", "--data", "digit"], "'digit'", "'digits'"),
    "silo": (["oracle", "--set", "lr.beta=0"], "run.lr.silo.beta must be greater than 0; got 0"),
    "plot": (["oracle", "--plot", "a.pdf"], "--plot must end in .png; got 'a.pdf'"),
    "csv": (["sweep", "--csv", "nowhere/a.csv"], "--csv must lie in a folder that exists"),
    "noise of 1": (["sweep", "--label-noise", "1"], "--label-noise must be a share in [0, 1)"),
    "noise above": (["sweep", "--label-noise", "120%"], "--label-noise", "'120%'"),
    "noise below": (["sweep", "--label-noise", "-0.1"], "--label-noise", "'-0.1'"),
    "noise word": (["sweep", "--label-noise", "much"], "--label-noise", "'much'"),
    "method": (["sweep", "--methods", "magnitud"], "'magnitud'", "'magnitude'"),
    "method twice": (["sweep", "--methods", "random,random"], "each once"),
    "method's parameter": (
        ["sweep", "--methods", "imp:round=3"],
        "--methods imp (round 3).imp.round is not a known key",
        "rounds",
    ),
    "levels": (["sweep", "--levels", "0"], "--levels must be at least 1; got 0"),
    "ratio": (["sweep", "--ratios", "1,200"], "--ratios must be below 123.4", "got 200.0"),
    "ratio below": (["sweep", "--ratios", "0.5"], "--ratios must lie in [1, inf); got 0.5"),
    "ratio word": (["sweep", "--ratios", "some"], "--ratios must be numbers"),
    "both": (["sweep", "--ratios", "2", "--levels", "3"], "one of --sparsities, --ratios"),
    "sparsity": (["sweep", "--sparsities", "0.5,1"], "--sparsities must be a share in [0, 1)"),
    "lost option": (
        ["sweep", "--seeds", "5", "scratch", "digits", "--trial", "abcdef"],
        "--seeds must stand after `sweep scratch`",
    ),
    "method's own": (
        ["sweep", "--set", "rounds=5"],
        "--set rounds must start with lr., recipe., train. or task.",
        "--methods NAME:rounds=5",
    ),
    "reach": (
        ["sweep", "--methods", "lrpet", "--ratios", "64"],
        "--methods lrpet must reach every point",
        "leave the sparsest points or the method out",
    ),
    "no study": (["sweep", "scratch", "none", "--trial", "abcdef"], "study must be one of those"),
    "workers": (["oracle", "--workers", "2", "--executor", "inline"], "--workers must be 1"),
    "executor": (["sweep", "--executor", "dask"], "--executor must be ray or inline"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_message(case: str, tmp_path: Path) -> None:
    arguments, *words = BAD[case]
    home = tmp_path / "home"
    more = [] if "--executor" in arguments else ["--executor", "inline"]
    refused(call(*arguments, *more, "--home", home), *words)
    assert not home.exists(), "nothing is written"


def test_arms_are_read_from_words() -> None:
    assert _arm("random").label == "random"
    assert _arm("magnitude:uniform").params == {"allocation": "uniform"}
    assert _arm("magnitude:uniform").label == "magnitude (uniform)"
    found = _arm("imp:rounds=5+rewind=init+reinit")
    assert (found.params, found.reinit) == ({"rounds": 5, "rewind": "init"}, True)
    assert found.label == "imp (rounds 5, rewind init, re-initialised)"


def test_files_are_written_where_the_user_wants_them_too(tmp_path: Path) -> None:
    folder, copy = tmp_path / "study", tmp_path / "copy.csv"
    folder.mkdir()
    files = Files({"results.csv": lambda answer: f"{answer['a']}\n"}, {"results.csv": copy})
    files.check()
    found = files.write({"a": 1}, folder)
    assert found == {"results.csv": folder / "results.csv"}
    assert copy.read_text() == "1\n"
    with pytest.raises(ConfigError, match=r"--csv must end in \.csv"):
        Files(files.makers, {"results.csv": tmp_path / "a.txt"}).check()

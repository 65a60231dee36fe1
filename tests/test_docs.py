"""What README and docs tell users to type is typed here."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

from autoprune.cli.main import app
from autoprune.core.config import TaskConfig
from autoprune.core.registry import Registry
from autoprune.data.registry import DATA
from autoprune.methods.base import METHODS
from autoprune.models.registry import MODELS
from autoprune.pruning.registry import ALLOCATIONS, GRANULARITIES, SCORES, SPARSITY_SCHEDULES
from autoprune.report.conventions import translate
from autoprune.space import parse_space
from autoprune.space.files import list_spaces
from autoprune.training.registry import LR_SCHEDULES, RECIPES
from autoprune.training.task import load_task
from tests import doc_tables
from tests.docs_blocks import BLOCKS, PAGES, ROOT, block_of, blocks

README = (ROOT / "README.md").read_text(encoding="utf-8")
SPACES = (ROOT / "docs" / "space-grammar.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def _lines(language: str) -> list[str]:
    texts = [block.text.replace("\\\n", " ") for block in blocks(language)]
    return [line for text in texts for line in text.splitlines() if line.strip()]


def _calls() -> list[str]:
    """Every call of autoprune in a shell block, without what follows && or #."""
    parts = [p.strip() for line in _lines("bash") for p in re.split(r"&&|  #", line)]
    return sorted({p for p in parts if p.startswith("autoprune ")})


@pytest.mark.parametrize(
    "command",
    ["pip install -e . && autoprune search --budget 100", "pip install -e '.[test]' && pytest"],
)
def test_the_two_commands_stand_in_the_readme(command):
    assert f"```bash\n{command}\n```" in README


def test_ci_runs_the_readmes_test_command():
    script = (ROOT / ".ci" / "run").read_text()
    assert "pip install -q -e '.[test]'" in script
    assert script.splitlines()[-1] == "step python -m pytest -q"


@pytest.mark.parametrize("call", _calls())
def test_commands_and_options_exist(call):
    name, *arguments = shlex.split(call)[1:]
    group = typer.main.get_command(app)
    command = group.commands[name]
    if arguments and arguments[0] in getattr(command, "commands", {}):
        name = arguments.pop(0)
        command = command.commands[name]
    command.make_context(name, arguments)  # raises on an unknown option or a missing argument


def test_calls_are_found():
    assert "autoprune search --budget 100" in _calls()
    assert len(_calls()) > 15


def test_other_programs_in_shell_blocks_exist():
    for line in _lines("bash"):
        words = shlex.split(line, comments=True)
        if words[:2] == ["python", "-m"]:
            assert find_spec(words[2])
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file()
        else:
            assert words[0] in {"pip", "autoprune", "mlflow", "ray"}


def test_the_mlflow_project_has_what_the_docs_type():
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    (line,) = (line for line in _lines("bash") if line.startswith("mlflow run"))
    words = shlex.split(line)
    entry = project["entry_points"][words[words.index("-e") + 1]]
    assert words[words.index("-P") + 1].split("=")[0] in entry["parameters"]


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda b: b.name)
def test_yaml_blocks_are_spaces(block):
    space = parse_space({"name": "docs", **yaml.safe_load(block.text)})
    for seed in range(5):
        flat = space.random(np.random.default_rng(seed))
        low, high = space.reaches(flat)
        assert space.flatten(space.config(flat, min(max(0.7, low), high))) == flat


def test_yaml_blocks_are_found():
    assert len(blocks("yaml")) >= 4


@pytest.mark.parametrize("block", blocks("python"), ids=lambda b: b.name)
def test_python_blocks_compile(block):
    compile(block.text, block.name, "exec")


def test_only_known_languages_are_used():
    assert {b.language for b in BLOCKS} <= {"bash", "yaml", "python", "toml"}


def test_the_readmes_task_file_loads(tmp_path, monkeypatch):
    for part in ("train", "val"):
        for label, grey in (("dark", 30), ("light", 200)):
            folder = tmp_path / "photos" / part / label
            folder.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (80, 70), (grey, grey, grey + number)).save(
                    folder / f"{number}.png"
                )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.py").write_text(block_of("README.md", "# task.py"))
    info = load_task(TaskConfig(task_file=str(tmp_path / "task.py"))).info
    assert (info.num_classes, info.input_shape, info.num_train) == (2, (3, 64, 64), 8)
    assert "layer1.0.conv1.weight" in {layer.name for layer in info.layers}


def test_the_docs_task_file_loads(tmp_path):
    (tmp_path / "task.py").write_text(block_of("docs/task-file.md", "# task.py"))
    info = load_task(TaskConfig(task_file=str(tmp_path / "task.py"))).info
    assert (info.num_train, info.num_val, info.num_test) == (1200, 300, 297)
    assert info.num_prunable == 16 * 9 + 256 * 10
    assert not info.warnings


def test_accountings_example_is_right():
    info = load_task(TaskConfig()).info
    assert (info.num_prunable, info.params, info.macs) == (50_200, 50_610, 50_200)
    entry = {"params": 50_610, "params_nonzero": 5_430, "macs": 50_200, "macs_effective": 5_020}
    said = translate(entry, {"params": info.params, "macs": info.macs})
    assert round(said.shrinkbench_compression, 1) == 9.3
    assert said.shrinkbench_speedup == 10
    assert said.modelopt_params == said.torch_pruning_params == said.torch_pruning_macs == 1.0


@pytest.mark.parametrize("name", ["method_parameters", "schedules", "sections"])
def test_tables_of_the_space_grammar_are_current(name):
    assert getattr(doc_tables, name)() in SPACES


def test_the_readmes_methods_are_current():
    assert doc_tables.methods() in README


def test_every_schedule_stands_on_its_page_with_its_paper():
    page = (ROOT / "docs" / "learning-rate.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    found = {row[0].strip("| `"): row[-1].removesuffix(" |") for row in rows}
    assert found == {name: LR_SCHEDULES.get(name).reference for name in LR_SCHEDULES}


def test_allocations_and_spaces_are_all_described():
    for name in ALLOCATIONS:
        assert f"`{name}`" in SPACES
    for name in list_spaces():
        assert name in README


def test_entry_point_groups_are_the_registries():
    page = (ROOT / "docs" / "methods.md").read_text()
    known: list[Registry] = [
        *(METHODS, SCORES, ALLOCATIONS, GRANULARITIES, SPARSITY_SCHEDULES),
        *(LR_SCHEDULES, RECIPES, MODELS, DATA),
    ]
    assert [r.group for r in known if f"`{r.group}`" not in page] == []


def test_environment_variables_are_all_described():
    pattern = r"(?:environ\.get\(|given\.get\(|envvar=)\"([A-Z_]+)\""
    sources = [p.read_text() for p in (ROOT / "autoprune").rglob("*.py")]
    read = {name for text in sources for name in re.findall(pattern, text)}
    assert "AUTOPRUNE_HOME" in read
    assert {name for name in read if f"`{name}`" not in OPERATIONS} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)[^)]*\)", text)
    broken = [x for x in links if "://" not in x and not (page.parent / x).exists()]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pages_are_plain(page):
    text = page.read_text(encoding="utf-8")
    assert "<!--" not in text
    words = (
        r"\b(powerful|seamless\w*|state-of-the-art|blazing\w*|effortless\w*|revolution\w*|robust)\b"
    )
    assert not re.findall(words, text, re.IGNORECASE)

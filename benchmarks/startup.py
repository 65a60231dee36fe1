"""How long `autoprune --help` takes, and what a search driver imports."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.common import Row, in_turns

SMALL = Path(__file__).parents[1] / "examples" / "small.yaml"
LIMIT_S = 0.5
HEAVY = ("torch", "timm", "mlflow", "ray", "sklearn", "optuna")
DRIVER = """
import json, sys
from pathlib import Path
from autoprune.search.engine import SearchOptions
from autoprune.search.session import SearchRequest, Session
request = SearchRequest(
    space=sys.argv[1], options=SearchOptions(budget="2", confirm_seeds=1),
    home=Path(sys.argv[2]), executor="ray", workers=1,
)
with Session(request) as session:
    engine = session.open()
    if sys.argv[3] == "run":
        session.run()
    else:
        engine.next()
print(json.dumps([name for name in {heavy} if name in sys.modules]))
"""


def measure(quick: bool = False) -> list[Row]:
    """Start the command line a few times, and a driver once."""
    code = "from autoprune.cli.main import main; main()"
    times = in_turns({"help": partial(_python, code, "--help")}, 1 if quick else 9)["help"]
    imported = driver_imports(run=not quick)
    unwanted = [name for name in ("torch", "timm") if name in imported]
    note = f"imports {', '.join(imported) or 'none'} of {', '.join(HEAVY)}"
    return [
        Row("autoprune --help", median(times), "s", LIMIT_S, len(times)),
        Row("torch and timm in the Ray driver", len(unwanted), "names", 0.0, 1, note),
    ]


def driver_imports(run: bool) -> list[str]:
    """Return which heavy packages a search driver with the Ray executor has imported."""
    with tempfile.TemporaryDirectory() as home:
        mode = "run" if run else "open"
        return list(
            json.loads(_python(DRIVER.replace("{heavy}", repr(HEAVY)), str(SMALL), home, mode))
        )


def _python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.strip().splitlines()[-1]

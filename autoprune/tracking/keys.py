"""What a mirrored study is known by, and the model that is registered for it."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

from autoprune.search.study import study_folder


def study_key(home: Path, study: str) -> str:
    """Return the study's key, drawn when it is first mirrored and deleted with its folder."""
    return key_in(study_folder(home, study), study)


def key_in(folder: Path, study: str) -> str:
    """Return the key that a study's folder keeps, drawn when there is none yet."""
    path = folder / "mlflow.json"
    if not path.exists():
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({"key": f"{study}-{uuid.uuid4().hex[:12]}"}))
        new.replace(path)
    return str(json.loads(path.read_text())["key"])


def save_model(path: Path, folder: Path) -> None:
    """Write a model from code over an exported folder, with nothing pickled."""
    from importlib.metadata import version

    from mlflow import pyfunc

    # No signature: it would refuse every number type of raw inputs but one.
    pyfunc.save_model(
        str(path),
        python_model=str(Path(__file__).with_name("champion.py")),
        artifacts={"folder": str(folder)},
        pip_requirements=[f"autoprune=={version('autoprune')}"],
    )

"""What a mirrored study is known by, and the model that is registered for it."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
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


def has_champion(ids: Mapping[str, str | None], study: str) -> bool:
    """Whether the model of a study's run is registered: a search may die before it is.

    Parameters
    ----------
    ids : mapping
        `Mirror.ids` of a study that was mirrored.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = ids["tracking_uri"]
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    try:
        version = client.get_model_version_by_alias(f"autoprune-{study}", "champion")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return False
        raise
    return bool(version.run_id == ids["run_id"])

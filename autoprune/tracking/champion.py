"""The registered model, which MLflow runs from this file: nothing of it is pickled."""

from __future__ import annotations

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class Champion(PythonModel):  # type: ignore[misc] # mlflow is skipped by mypy
    """An exported folder as an MLflow model."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the exported folder."""
        from autoprune.export.load import load_predictor

        self._predict = load_predictor(context.artifacts["folder"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, object] | None = None,
    ) -> np.ndarray:
        """Return class probabilities ``(N, classes)`` of raw inputs ``(N, C, H, W)``."""
        return self._predict(model_input)


set_model(Champion())

"""A regressor on a table, whole: preprocessing, network, calibration residuals and background, saved without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.pipeline import Pipeline

from qkan import preprocessing
from qkan.analysis.conformal_regression import ConformalIntervals
from qkan.analysis.intervals import Intervals
from qkan.errors import DataError, OptionError
from qkan.models.base import rebuild
from qkan.saving import save_folder
from qkan.sklearn import KANRegressor
from qkan.tabular import TabularModel

#: What ``config.json`` calls this kind of model.
KIND = "tabular-regressor"


class TabularRegressor(TabularModel):
    """Preprocessing and a regressor in one scikit-learn pipeline, with prediction intervals.

    Args:
        estimator: an unfitted ``KANRegressor``; the preprocessing standardises, so give it ``standardize=False``.
        target: name of the target column, for messages.

    Use: ``fit``, then ``calibrate`` on rows not trained on, then ``predict``, ``predict_interval``, ``save``. What
    :class:`~qkan.tabular.TabularModel` says about columns, inputs and edge functions holds here too; there are no
    classes, prediction sets or SHAP values.
    """

    kind = KIND

    def __init__(self, estimator: KANRegressor, target: str = "target"):
        super().__init__(estimator, target)
        self.calibration: tuple[np.ndarray, np.ndarray] | None = None

    def calibrate(self, X: pd.DataFrame, y: Any) -> TabularRegressor:
        """Set up prediction intervals from labelled rows.

        Args:
            X: (rows, columns), not trained on.
            y: true values (rows,).

        Raises:
            LeakageError: some of the rows were trained on, or decided when training stopped.
        """
        targets = np.array(y, dtype=np.float64)
        ConformalIntervals(targets, rows=self.conform(X, unseen="keep"), trained=self.trained)  # refuses trained rows
        self.calibration = targets, self.pipeline.predict(self.conform(X, unseen="missing"))
        return self

    def predict(self, frame: pd.DataFrame, reorder: bool = False) -> np.ndarray:
        """Predicted numbers (rows,).

        Args:
            frame: rows with the model's columns.
            reorder: accept the columns in any order.
        """
        return self.pipeline.predict(self.conform(frame, reorder))

    def predict_interval(self, predictions: np.ndarray, level: float = 0.9) -> Intervals:
        """Split-conformal intervals around given predictions, one half-width for all.

        See :meth:`qkan.analysis.conformal_regression.ConformalIntervals.absolute`.

        Raises:
            DataError: the model is not calibrated.
        """
        if self.calibration is None:
            raise DataError("the model has no calibration rows; call calibrate(X, y) first.")
        targets, own = self.calibration
        conformal = ConformalIntervals(targets, rows=np.empty((len(targets), 0)), trained=())
        return conformal.absolute(own, predictions, level)

    @property
    def classes(self) -> np.ndarray:
        raise OptionError("a regressor has no classes.")

    def predict_proba(self, frame: pd.DataFrame, reorder: bool = False) -> np.ndarray:
        raise OptionError("a regressor has no class probabilities; call predict(rows).")

    def explain(self, *args: Any, **options: Any) -> Any:
        raise OptionError("SHAP values are those of classifiers; for a regressor see edge_curves and permutation.")

    def save(self, path: str | Path) -> None:
        if self.calibration is None or self.background is None:
            raise DataError("only a fitted and calibrated model can be saved; call fit and calibrate first.")
        regressor = self.pipeline[-1]
        config = {
            "target": self.target,
            "columns": self.columns,
            "preprocessing": preprocessing.to_state(self.pipeline[0]),
            "network": {"kind": type(regressor.network_).__name__, "config": regressor.network_.config()},
            "target_scaling": [regressor.target_mean_, regressor.target_scale_],
            "trained": self.trained,
            "background": self.background.astype(object).where(self.background.notna(), None).to_dict("list"),
        }
        tensors = {f"network.{name}": value for name, value in regressor.network_.state_dict().items()}
        tensors["calibration.targets"], tensors["calibration.predictions"] = map(torch.as_tensor, self.calibration)
        save_folder(path, self.kind, config, tensors)

    @classmethod
    def _restore(cls, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Self:
        weights = {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
        kind, state = config["network"]["kind"], config["preprocessing"]
        network = rebuild(kind, config["network"]["config"], weights)
        regressor = KANRegressor(model=kind.lower(), standardize=False)
        regressor.network_ = network
        regressor.target_mean_, regressor.target_scale_ = config["target_scaling"]
        width = regressor.n_features_in_ = network.in_features
        regressor.mean_, regressor.scale_ = np.zeros(width), np.ones(width)
        model = cls(regressor, config["target"])
        model.columns, model.numeric, model.levels = config["columns"], state["numeric"], state["levels"]
        model.pipeline = Pipeline([("preprocess", preprocessing.from_state(state)), ("classifier", regressor)])
        model.trained = config["trained"]
        model.calibration = tensors["calibration.targets"].numpy(), tensors["calibration.predictions"].numpy()
        background = pd.DataFrame(config["background"])[model.columns]
        model.background = preprocessing.conform(background, model.numeric, model.levels)[model.columns]
        return model

"""A classifier on a table, whole: preprocessing, network, calibration rows and background, saved without pickle."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.pipeline import Pipeline

from qkan import preprocessing
from qkan.analysis.conformal import ConformalSets, refuse_trained_rows, row_hashes
from qkan.analysis.explain import Columnwise, Explanation, checked, evaluations, shap_values
from qkan.analysis.network_shap import additive_values, expected_gradients, is_additive
from qkan.errors import DataError, ModelFileError, OptionError, check_choice
from qkan.models import KAAM, KAN, LogisticKAN
from qkan.models.base import Network, rebuild
from qkan.models.dcnn import class_probabilities
from qkan.saving import load_folder, save_folder
from qkan.sklearn import KAAMClassifier, KACQClassifier, KANClassifier, LogisticKANClassifier

#: What ``config.json`` calls this kind of model.
KIND = "tabular-classifier"
#: Ways of explaining, see :meth:`TabularModel.explain`.
METHODS = ("auto", "exact", "permutation", "additive", "expected_gradients")
_LABEL = "\0label"  # no file can hold a column of this name
#: Rows through the network beyond which SHAP values may be computed in float32.
QUICK = 50_000
#: Background rows are kept in the model folder, and SHAP's cost grows with their number.
BACKGROUND = 50


class TabularModel:
    """Preprocessing and a classifier in one scikit-learn pipeline, with prediction sets and SHAP values.

    Args:
        estimator: an unfitted classifier of :mod:`qkan.sklearn`; the preprocessing standardises, so give it
            ``standardize=False``.
        target: name of the target column, for messages.

    Use: ``fit``, then ``calibrate`` on rows not trained on, then ``predict_proba``, ``predict_set``, ``explain``,
    ``save``.

    Raises:
        OptionError: the estimator would standardise once more.
    """

    kind = KIND

    def __init__(self, estimator: Any, target: str = "target"):
        if getattr(estimator, "standardize", False):
            raise OptionError(
                f"{type(estimator).__name__} must have standardize=False: the preprocessing standardises already."
            )
        self.estimator, self.target = estimator, target
        self.columns: list[str] = []
        self.trained: list[str] = []
        self.conformal: ConformalSets | None = None
        self.background: pd.DataFrame | None = None
        self.background_labels: np.ndarray | None = None

    # -- fitting -----------------------------------------------------------------------------------------

    def fit(
        self, X: pd.DataFrame, y: Any, X_val: pd.DataFrame, y_val: Any, categorical: Sequence[str] = (), seed: int = 0
    ) -> TabularModel:
        """Fit preprocessing and network on X (rows, columns); stop early on the validation rows.

        A sample of at most 50 training rows and their labels is kept, also on disk: the background of SHAP values.

        Args:
            X: training rows (rows, columns).
            y: (rows,) their labels.
            X_val: validation rows.
            y_val: their labels.
            categorical: names of the categorical columns.
            seed: of the sample that is kept.
        """
        levels = preprocessing.known_levels(X, categorical)
        numeric = [name for name in X.columns if name not in levels]
        self.columns, self.numeric, self.levels = list(X.columns), numeric, levels
        preprocessor = preprocessing.make_preprocessor(numeric, levels)
        train, watched = self.conform(X), self.conform(X_val, unseen="missing")
        self.trained = row_hashes(train) + row_hashes(self.conform(X_val, unseen="keep"))
        validation = preprocessor.fit(train).transform(watched)
        self.pipeline = Pipeline([("preprocess", preprocessor), ("classifier", self.estimator)])
        self.pipeline.fit(train, np.asarray(y), classifier__X_val=validation, classifier__y_val=np.asarray(y_val))
        labelled = train.assign(**{_LABEL: np.asarray(y)}).sample(min(BACKGROUND, len(train)), random_state=seed)
        self.background_labels = labelled.pop(_LABEL).to_numpy()
        self.background = labelled.reset_index(drop=True)
        if hasattr(self.pipeline[-1], "reference_"):  # of additive models: the rows that the folder keeps
            self.pipeline[-1].reference_ = preprocessor.transform(self.background)
        return self

    def calibrate(self, X: pd.DataFrame, y: Any) -> TabularModel:
        """Set up prediction sets from labelled rows.

        Args:
            X: rows (rows, columns) that were not trained on.
            y: (rows,) their labels.

        Raises:
            LeakageError: some of the rows were trained on, or decided when training stopped.
        """
        refuse_trained_rows(self.trained, self.conform(X, unseen="keep"))
        rows = self.conform(X, unseen="missing")
        labels = np.searchsorted(self.classes, np.asarray(y))
        self.conformal = ConformalSets(self.pipeline.predict_proba(rows), labels)
        return self

    # -- use ---------------------------------------------------------------------------------------------

    @property
    def classes(self) -> np.ndarray:
        """Class labels in the order of the probabilities, (C,)."""
        return self.pipeline[-1].classes_

    def conform(self, frame: pd.DataFrame, reorder: bool = False, unseen: str = "error") -> pd.DataFrame:
        """The model's columns of a table, checked and in order; further columns are left out.

        Args:
            frame: rows with at least the model's columns.
            reorder: accept the columns in any order.
            unseen: "missing" treats a categorical level unknown from training as missing; "keep" leaves it, for
                comparing rows; "error" raises.

        Raises:
            DataError: the model is not fitted, a column is missing or out of order, or a value cannot be used.
        """
        if not self.columns:
            raise DataError("the model is not fitted; call fit first.")
        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            raise DataError(f"the rows lack the column {missing[0]!r}; the model needs {', '.join(self.columns)}.")
        present = [name for name in frame.columns if name in self.columns]
        if present != self.columns and not reorder:
            at = next(i for i, (a, b) in enumerate(zip(present, self.columns, strict=True)) if a != b)
            raise DataError(
                f"the columns are in another order than in training (column {at + 1} is {present[at]!r}, expected "
                f"{self.columns[at]!r}); reorder them, or pass --reorder to match them by name."
            )
        return preprocessing.conform(frame, self.numeric, self.levels, unseen)[self.columns]

    def predict_proba(self, frame: pd.DataFrame, reorder: bool = False) -> np.ndarray:
        """Class probabilities (rows, classes).

        Args:
            frame: rows with the model's columns.
            reorder: accept the columns in any order.
        """
        return self.pipeline.predict_proba(self.conform(frame, reorder))

    def predict_set(self, probabilities: np.ndarray, level: float = 0.9, method: str = "lac") -> np.ndarray:
        """Prediction sets (rows, classes) for given probabilities; see ``ConformalSets.predict_set``.

        Args:
            probabilities: (rows, classes).
            level: confidence level in (0, 1).
            method: "lac" or "mondrian".

        Raises:
            DataError: the model is not calibrated.
        """
        if self.conformal is None:
            raise DataError("the model has no calibration rows; call calibrate(X, y) first.")
        return self.conformal.predict_set(probabilities, level, method)

    def explain(
        self,
        frame: pd.DataFrame,
        reorder: bool = False,
        seed: int = 0,
        method: str = "auto",
        *,
        background: pd.DataFrame | None = None,
        rounds: int = 4,
        progress: Callable[[int], None] | None = None,
    ) -> Explanation:
        """SHAP values for the rows, one per column of the table and class.

        Args:
            frame: rows to explain.
            reorder: accept the columns in any order.
            seed: of permutations and samples.
            method: "exact" or "permutation" of the class probabilities; "additive", exact and at once, of the logits of
                a network without a hidden layer; "expected_gradients" of the class probabilities, a fast estimate of a
                related quantity; "auto": "additive" where possible, else "exact" up to 12 columns, else "permutation".
            background: rows in place of the model's own, as :meth:`conform` returns them.
            rounds: permutations per row and direction.
            progress: called with the number of rows done.

        Raises:
            OptionError: the method is unknown or does not fit the model.
            NonFiniteError: the values do not add up to the model's output.
            DataError: the model is not fitted.
        """
        if self.background is None:
            raise DataError("the model is not fitted; call fit first.")
        check_choice("method", method, METHODS)
        background = self.background if background is None else background
        rows = self.conform(frame, reorder)
        network, groups = self.pipeline[-1].network_, self.groups
        if method == "additive" or (method == "auto" and is_additive(network)):
            found = additive_values(network, self.inputs(background), self.inputs(rows), groups, rows)
            if progress is not None:
                progress(len(rows))
            return found
        if method == "expected_gradients":
            inputs = self.inputs(background), self.inputs(rows)
            return expected_gradients(network, *inputs, groups, rows, seed=seed, progress=progress)
        work = len(rows) * len(background) * evaluations(method, len(self.columns), rounds)
        sample = self.inputs(pd.concat([background, rows]))
        found = shap_values(
            _probabilities(network, sample, quickly=work > QUICK),
            background,
            rows,
            method=method,
            seed=seed,
            rounds=rounds,
            columnwise=Columnwise(self.inputs, groups),
            progress=progress,
        )
        return checked(found, self.pipeline.predict_proba(rows))

    def inputs(self, rows: pd.DataFrame) -> np.ndarray:
        """What the network sees (rows, p) of rows as :meth:`conform` returns them."""
        classifier = self.pipeline[-1]
        return (self.pipeline[0].transform(rows) - classifier.mean_) / classifier.scale_

    @property
    def groups(self) -> np.ndarray:
        """Number of the table's column that each of the network's inputs comes from, (p,)."""
        return np.array([self.columns.index(name) for name in preprocessing.output_columns(self.pipeline[0])])

    def edge_importance(self) -> np.ndarray | None:
        """Spread of the first layer's edge functions by column of the table, (columns,).

        For every node of the first layer the contributions of a column's inputs are added up; their standard deviation
        over the background rows is averaged over the nodes as a root mean square. What later layers make of a node is
        left out of account. ``None`` for a network that does not begin with one KAN layer on the row.

        Raises:
            DataError: the model is not fitted.
        """
        if self.background is None:
            raise DataError("the model is not fitted; call fit first.")
        network = self.pipeline[-1].network_
        if not isinstance(network, KAN):
            return None
        like = next(network.parameters())
        with torch.no_grad():
            inputs = torch.as_tensor(self.inputs(self.background), dtype=like.dtype, device=like.device)
            edges = network.layers[0].edges(inputs).cpu().numpy()  # (rows, nodes, p)
        groups = self.groups
        columns = np.stack([edges[..., groups == place].sum(-1) for place in range(len(self.columns))], -1)
        return np.sqrt(columns.var(0).mean(0))

    def edge_curves(self, features: Sequence[str], points: int = 200) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """First-layer edge functions of numeric features over the background's range, in the feature's own units.

        Returns:
            (feature, positions (points,), values (points, outputs of the first layer)) per numeric feature; none for a
            network that does not begin with one KAN layer on the row.

        Raises:
            DataError: the model is not fitted.
        """
        if self.background is None:
            raise DataError("the model is not fitted; call fit first.")
        network = self.pipeline[-1].network_
        if not isinstance(network, KAN):
            return []
        outputs = self.pipeline[0].get_feature_names_out().tolist()
        layer = network.layers[0]
        scaler: Any = self.pipeline[0].named_transformers_["numeric"]["scale"] if self.numeric else None
        curves = []
        for name in (name for name in features if name in self.numeric):
            place = self.numeric.index(name)
            seen = self.background[name].dropna()
            positions = np.linspace(seen.min(), seen.max(), points)
            inputs = torch.zeros(points, layer.in_features, dtype=torch.float64)
            inputs[:, outputs.index(f"numeric__{name}")] = torch.as_tensor(
                (positions - scaler.mean_[place]) / scaler.scale_[place]
            )
            with torch.no_grad():
                values = layer.edges(inputs.to(next(layer.parameters())))[..., outputs.index(f"numeric__{name}")]
            curves.append((name, positions, values.cpu().numpy()))
        return curves

    def shape_curves(self, features: Sequence[str], points: int = 200) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """What numeric features add to the logits of an additive model, their mean over the background taken off.

        Args:
            features: names of columns; those that are not numeric are left out.
            points: on each curve.

        Returns:
            Feature, positions (points,) and values (points, outputs), as :meth:`edge_curves`; none for a network that
            is not additive.
        """
        if self.background is None or not is_additive(self.pipeline[-1].network_):
            return []
        network = self.pipeline[-1].network_
        outputs = self.pipeline[0].get_feature_names_out().tolist()
        inputs = torch.as_tensor(self.inputs(self.background)).to(next(network.parameters()))
        with torch.no_grad():
            means = network.layers[0].edges(inputs).mean(0).cpu().numpy()  # (outputs, p)
        curves = self.edge_curves(features, points)
        return [(name, at, own - means[:, outputs.index(f"numeric__{name}")]) for name, at, own in curves]

    # -- disk --------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Save as a model folder (safetensors and JSON, atomic).

        Raises:
            DataError: the model is not fitted and calibrated.
        """
        if self.conformal is None or self.background is None:
            raise DataError("only a fitted and calibrated model can be saved; call fit and calibrate first.")
        classifier = self.pipeline[-1]
        config = {
            "target": self.target,
            "classes": self.classes.tolist(),
            "columns": self.columns,
            "preprocessing": preprocessing.to_state(self.pipeline[0]),
            "network": {"kind": type(classifier.network_).__name__, "config": classifier.network_.config()},
            "trained": self.trained,
            "background": self.background.astype(object).where(self.background.notna(), None).to_dict("list"),
        }
        if self.background_labels is not None:
            config["background_labels"] = self.background_labels.tolist()
        tensors = {f"network.{name}": value for name, value in classifier.network_.state_dict().items()}
        tensors["calibration.probabilities"] = torch.as_tensor(self.conformal.probabilities)
        tensors["calibration.labels"] = torch.as_tensor(self.conformal.labels)
        save_folder(path, self.kind, config, tensors)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a model saved with :meth:`save`.

        Raises:
            ModelFileError: missing, damaged or of another kind.
        """
        _, config, tensors = load_folder(path, cls.kind)
        try:
            return cls._restore(config, tensors)
        except ModelFileError:
            raise
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise ModelFileError(f"{path} is damaged: its configuration does not fit together ({error}).") from None

    @classmethod
    def _restore(cls, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Self:
        weights = {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
        network = rebuild(config["network"]["kind"], config["network"]["config"], weights)
        state = config["preprocessing"]
        classifier = _estimator_of(network)
        preprocessor = preprocessing.from_state(state)
        classifier.network_ = network
        classifier.classes_ = np.asarray(config["classes"])
        width = classifier.n_features_in_ = network.in_features
        classifier.mean_, classifier.scale_ = np.zeros(width), np.ones(width)
        model = cls(classifier, config["target"])
        model.columns, model.numeric, model.levels = config["columns"], state["numeric"], state["levels"]
        model.pipeline = Pipeline([("preprocess", preprocessor), ("classifier", classifier)])
        model.trained = config["trained"]
        calibration = tensors["calibration.probabilities"].numpy(), tensors["calibration.labels"].numpy()
        model.conformal = ConformalSets(*calibration)
        background = pd.DataFrame(config["background"])[model.columns]
        model.background = preprocessing.conform(background, model.numeric, model.levels)[model.columns]
        if "background_labels" in config:  # older folders have none
            model.background_labels = np.asarray(config["background_labels"])
        if isinstance(network, KAAM):
            classifier.reference_ = preprocessor.transform(model.background)
        return model


def _estimator_of(network: Network) -> Any:
    """An unfitted estimator of the kind that holds such a network."""
    if isinstance(network, KAAM):
        return KAAMClassifier(standardize=False)
    if isinstance(network, LogisticKAN):
        return LogisticKANClassifier(standardize=False)
    if isinstance(network, KAN):
        return KANClassifier(model=type(network).__name__.lower(), standardize=False)
    return KACQClassifier(standardize=False)


def _probabilities(network: Network, sample: np.ndarray, quickly: bool) -> Callable[[np.ndarray], np.ndarray]:
    """The network's class probabilities; quickly: in float32 if that changes none of the sample by more than 3e-7.

    SHAP values are sums of differences between probabilities that add up to the difference between those of a row and
    of the background, so their additivity stays well within 1e-6. Float32 is two to five times as fast.
    """

    def run(model: Network, rows: np.ndarray) -> np.ndarray:
        outputs = torch.as_tensor(model.predict(rows, batch=2048))  # stays in the processor's cache
        return class_probabilities(outputs.double()).numpy()

    if quickly:
        quick = copy.deepcopy(network).float()
        if np.abs(run(quick, sample) - run(network, sample)).max() < 3e-7:
            return lambda rows: run(quick, rows)
    return lambda rows: run(network, rows)

"""What the scikit-learn estimators share: training, standardisation, prediction, labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from qkan import bases, training
from qkan.bases.mixture import POOL
from qkan.errors import OptionError, check_positive
from qkan.models.base import Network
from qkan.models.dcnn import class_probabilities, cross_entropy

#: Where standardised inputs mostly lie, within three standard deviations: the interval of bases that have one.
STANDARDISED = (-3.0, 3.0)


def for_standardised(basis: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a basis, with the interval that suits standardised inputs unless they name another.

    Args:
        basis: its name; the members of a mixture are seen to one by one.
        options: those given.
    """
    known, found = bases.options(basis), dict(options)
    if basis == "mixture":
        found["members"] = [_member(one) for one in found.get("members", POOL)]
    if "grid_range" in known:
        found.setdefault("grid_range", STANDARDISED)
    if "domain" in known and found.get("extend", "tanh") != "tanh":  # tanh of it suits such inputs as it is
        found.setdefault("domain", STANDARDISED)
    return found


def _member(member: Any) -> Any:
    given = {"basis": member} if isinstance(member, str) else dict(member)
    return {"basis": given["basis"], **for_standardised(given.pop("basis"), given)}


class NetworkEstimator(BaseEstimator):
    """Training and prediction of a network. Parameters are only stored in the constructor, and checked in ``fit``."""

    # What every subclass has among its parameters.
    epochs: int
    lr: float
    batch_size: int
    weight_decay: float
    early_stopping: bool
    validation_fraction: float
    patience: int
    standardize: bool
    device: str
    verbose: bool
    random_state: Any

    def _build(self, n_in: int, n_out: int, seed: int) -> Network:
        raise NotImplementedError

    def _train(
        self, X: np.ndarray, y: torch.Tensor, n_out: int, loss: Any, validation: tuple[np.ndarray, torch.Tensor] | None
    ) -> Any:
        check_positive("batch_size", self.batch_size)
        check_positive("epochs", self.epochs)
        if not 0 < self.validation_fraction < 1:
            raise OptionError(f"validation_fraction={self.validation_fraction!r} must lie strictly between 0 and 1.")
        random = check_random_state(self.random_state)
        seed = int(random.randint(2**31 - 1))
        if validation is None and self.early_stopping:
            X, y, validation = self._hold_out(X, y, seed)
        scaler = StandardScaler().fit(X)
        self.mean_ = scaler.mean_ if self.standardize else np.zeros(X.shape[1])
        self.scale_ = scaler.scale_ if self.standardize else np.ones(X.shape[1])
        self.network_ = self._build(X.shape[1], n_out, seed).to(self.device)
        steps = max(1, -(-len(X) // self.batch_size))
        self.history_ = training.fit(
            self.network_,
            (self._tensor(X), y),
            steps=self.epochs * steps,
            lr=self.lr,
            loss_fn=loss,
            batch=self.batch_size,
            validation=None if validation is None else (self._tensor(validation[0]), validation[1]),
            patience=self.patience if validation is not None else None,
            weight_decay=self.weight_decay,
            log=steps,
            seed=seed,
            progress=self.verbose,
        )
        self.n_iter_ = len(self.history_["step"])
        # Trained in float32 for speed; float64 predictions do not depend on how rows are batched or ordered.
        self.network_.double()
        return self

    def _hold_out(self, X: np.ndarray, y: torch.Tensor, seed: int) -> Any:
        """Split off validation rows, stratified where every class is large enough."""
        counts = np.unique(y.numpy(), return_counts=True)[1] if not y.is_floating_point() else np.array([0])
        held = max(1, round(self.validation_fraction * len(X)))
        if len(X) - held < 1:
            raise OptionError(f"early_stopping needs at least 2 rows, but there are {len(X)}.")
        possible = counts.min() >= 2 and held >= len(counts) and len(X) - held >= len(counts)
        keep, check = train_test_split(
            np.arange(len(X)), test_size=held, random_state=seed, stratify=y.numpy() if possible else None
        )
        return X[keep], y[keep], (X[check], y[check])

    def _tensor(self, X: np.ndarray) -> torch.Tensor:
        return torch.as_tensor((X - self.mean_) / self.scale_, dtype=torch.float32)

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "network_")
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return self.network_.predict((X - self.mean_) / self.scale_)


class Classifier(ClassifierMixin, NetworkEstimator):
    """Labels, loss and probabilities of classifiers."""

    def fit(self, X: Any, y: Any, X_val: Any = None, y_val: Any = None) -> Any:
        """Fit to X (rows, features) and labels y (rows,); optional validation rows for early stopping."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise OptionError(
                f"y holds one class only, {self.classes_.tolist()[0]!r}; a classifier needs at least two."
            )
        validation = None
        if X_val is not None:
            X_val = validate_data(self, X_val, reset=False, dtype=np.float64)
            unknown = np.setdiff1d(y_val, self.classes_)
            if len(unknown):
                raise OptionError(f"y_val holds {unknown.tolist()[0]!r}, which is not a class of y.")
            validation = (X_val, torch.as_tensor(np.searchsorted(self.classes_, y_val)))
        labels = torch.as_tensor(codes)
        return self._train(X, labels, len(self.classes_), self._loss(labels), validation)

    def _loss(self, labels: torch.Tensor) -> Any:
        """Loss of predictions and labels; ``labels`` are those of all rows."""
        return cross_entropy

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities, float64 (rows, classes), each row summing to 1."""
        return class_probabilities(torch.as_tensor(self._outputs(X))).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of every row."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

"""Logistic-KAN and the additive model KAAM as scikit-learn classifiers, in the units of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from qkan import training
from qkan.errors import OptionError, ShapeError, check_choice
from qkan.models import KAAM, LogisticKAN
from qkan.models.additive import weighted_cross_entropy
from qkan.models.dcnn import cross_entropy
from qkan.sklearn._base import Classifier, for_standardised

#: Training rows that are kept as reference of the contributions.
REFERENCE = 500


class _AdditiveClassifier(Classifier):
    """What both share: basis, options and the weights of classes."""

    basis: str
    basis_options: dict[str, Any] | None
    class_weight: Any

    def _options(self) -> dict[str, Any]:
        return {"basis": self.basis, **for_standardised(self.basis, self.basis_options or {})}

    def _loss(self, labels: torch.Tensor) -> Any:
        if self.class_weight is None:
            return cross_entropy
        if self.class_weight != "balanced" and not isinstance(self.class_weight, dict):
            raise OptionError(f"class_weight={self.class_weight!r} must be 'balanced', a dict or None.")
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[labels.numpy()])
        return weighted_cross_entropy(torch.as_tensor(weights))


class LogisticKANClassifier(_AdditiveClassifier):
    """A KAN whose outputs are logits, two classes sharing one, see :class:`qkan.models.LogisticKAN` (arXiv 2509.16750).

    Args:
        basis: any basis; "daruan" makes the edges circuits.
        hidden: widths of the hidden layers.
        basis_options: options of the basis and of :class:`qkan.KAN`, e.g. ``{"grid": 8}``. Grids cover (-3, 3) unless
            ``grid_range`` is given.
        class_weight: "balanced" weighs class c by N / (classes · N_c), and probabilities are those of balanced classes;
            a dict gives the weight of every class.
        epochs: passes over the training rows at most.
        lr: learning rate of AdamW.
        batch_size: rows per step.
        weight_decay: of AdamW.
        early_stopping: hold out ``validation_fraction`` of the rows and keep the parameters that are best on them.
        validation_fraction: share of rows held out.
        patience: epochs without improvement before stopping.
        standardize: centre and scale every feature by the training rows inside the estimator.
        device: torch device of the network, such as "cpu" or "cuda".
        verbose: show a progress bar.
        random_state: seed, ``RandomState`` or ``None``.

    Attributes after ``fit``, labels and validation rows of one's own: as of :class:`qkan.sklearn.KANClassifier`.
    """

    def __init__(
        self,
        basis: str = "bspline",
        hidden: tuple[int, ...] = (5,),
        basis_options: dict[str, Any] | None = None,
        class_weight: dict[Any, float] | str | None = None,
        epochs: int = 100,
        lr: float = 0.01,
        batch_size: int = 64,
        weight_decay: float = 0.01,
        early_stopping: bool = False,
        validation_fraction: float = 0.15,
        patience: int = 20,
        standardize: bool = True,
        device: str = "cpu",
        verbose: bool = False,
        random_state: Any = None,
    ):
        self.basis = basis
        self.hidden = hidden
        self.basis_options = basis_options
        self.class_weight = class_weight
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.standardize = standardize
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def _build(self, n_in: int, n_out: int, seed: int) -> LogisticKAN:
        hidden = (self.hidden,) if isinstance(self.hidden, int) else self.hidden
        return LogisticKAN(n_in, n_out, hidden, seed=seed, **self._options())


class KAAMClassifier(_AdditiveClassifier):
    """A generalised additive model with any basis, see :class:`qkan.models.KAAM` (arXiv 2509.16750).

    Args:
        basis, basis_options, class_weight: as of :class:`LogisticKANClassifier`.
        epochs: passes over the training rows at most.
        lr: learning rate of AdamW.
        batch_size: rows per step.
        weight_decay: of AdamW.
        early_stopping: hold out ``validation_fraction`` of the rows and keep the parameters that are best on them.
        validation_fraction: share of rows held out.
        patience: epochs without improvement before stopping.
        standardize: centre and scale every feature by the training rows inside the estimator.
        device: torch device of the network, such as "cpu" or "cuda".
        verbose: show a progress bar.
        random_state: seed, ``RandomState`` or ``None``.

    Attributes after ``fit``: as of :class:`qkan.sklearn.KANClassifier`, and ``reference_``, up to 500 training rows
    against whose mean the contributions of features are measured. Rows of the methods below are in the units of the
    table, (rows, features); outputs are one logit for two classes, the class that sorts last, else one per class.
    """

    network_: Any

    def __init__(
        self,
        basis: str = "bspline",
        basis_options: dict[str, Any] | None = None,
        class_weight: dict[Any, float] | str | None = None,
        epochs: int = 100,
        lr: float = 0.01,
        batch_size: int = 64,
        weight_decay: float = 0.01,
        early_stopping: bool = False,
        validation_fraction: float = 0.15,
        patience: int = 20,
        standardize: bool = True,
        device: str = "cpu",
        verbose: bool = False,
        random_state: Any = None,
    ):
        self.basis = basis
        self.basis_options = basis_options
        self.class_weight = class_weight
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.standardize = standardize
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def _build(self, n_in: int, n_out: int, seed: int) -> KAAM:
        return KAAM(n_in, n_out, seed=seed, **self._options())

    def fit(self, X: Any, y: Any, X_val: Any = None, y_val: Any = None) -> KAAMClassifier:
        """Fit to rows and labels, and keep some rows as reference.

        Args:
            X: (rows, features).
            y: labels (rows,).
            X_val: validation rows for early stopping, with the same features.
            y_val: their labels.
        """
        super().fit(X, y, X_val, y_val)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        self.reference_ = training.spaced(rows, REFERENCE).copy()
        return self

    def contributions(self, X: Any) -> np.ndarray:
        """What every feature adds to every logit, (rows, outputs, features + 1), the constant last; they sum to it."""
        return self.network_.contributions(self._rows(X), self._known()).cpu().numpy()

    def importance(self) -> np.ndarray:
        """Variance of every feature's contribution over ``reference_``, (outputs, features)."""
        check_is_fitted(self, "network_")
        return self.network_.importance(self._known()).cpu().numpy()

    def shape_curve(self, feature: int, points: int = 101) -> tuple[np.ndarray, np.ndarray]:
        """The function of one feature over its range in ``reference_``: values (points,) and (points, outputs)."""
        check_is_fitted(self, "network_")
        values, curves = self.network_.shape_curve(feature, self._known(), points)
        return self.mean_[feature] + self.scale_[feature] * values.cpu().numpy(), curves.cpu().numpy()

    def nearest(self, X: Any, pool: Any = None, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """Places in ``pool`` (``reference_`` if ``None``) and distances of the rows nearest to X, (rows, count) each.

        Distances are between contributions, so that features count as far as the model uses them.

        Args:
            X: (rows, features).
            pool: (others, features) to look among.
            count: neighbours per row.

        Raises:
            OptionError: the pool has fewer than ``count`` rows.
        """
        known = self._known() if pool is None else self._rows(pool)
        found = self.network_.nearest(self._rows(X), known, count)
        return found[0].cpu().numpy(), found[1].cpu().numpy()

    def spokes(self, X: Any) -> np.ndarray:
        """Class probabilities with one feature of the row and average contributions else, (rows, features, classes)."""
        return self.network_.spokes(self._rows(X), self._known()).cpu().numpy()

    def plot_dependence(self, feature: int, row: Any = None, neighbours: Any = None, name: str | None = None) -> Any:
        """The function of one feature as a matplotlib Figure, with a row and its neighbours marked on it.

        Args:
            feature: its number.
            row: (features,).
            neighbours: (k, features).
            name: of the feature, for the axis; that of the column if ``None``.
        """
        check_is_fitted(self, "network_")
        return self.network_.plot_dependence(
            feature,
            row=None if row is None else self._row(row)[0],
            neighbours=None if neighbours is None else self._rows(neighbours),
            reference=self._known(),
            name=self._name(feature) if name is None else name,
            classes=[str(label) for label in self.classes_],
            origin=float(self.mean_[feature]),
            unit=float(self.scale_[feature]),
        )

    def plot_radar(
        self, row: Any, features: Sequence[int] | None = None, neighbours: Any = None, label: Any = None
    ) -> Any:
        """One row (features,) against its neighbours and the average as a matplotlib Figure.

        Args:
            row: (features,).
            features: numbers of 3 to 10 features; the most important ones if ``None``.
            neighbours: (k, features), by default the five nearest of ``reference_``.
            label: the class whose probability is shown; the last if ``None``.

        Raises:
            OptionError: fewer than 3 or more than 10 features, or no such class.
        """
        check_is_fitted(self, "network_")
        own, known = self._row(row), self._known()
        if label is not None:
            check_choice("label", label, self.classes_.tolist())
        nearest = known[self.network_.nearest(own, known, min(5, len(known)))[0][0]]
        return self.network_.plot_radar(
            own[0],
            features,
            neighbours=nearest if neighbours is None else self._rows(neighbours),
            target=len(self.classes_) - 1 if label is None else self.classes_.tolist().index(label),
            reference=known,
            names=[self._name(feature) for feature in range(self.n_features_in_)],
        )

    def formula(self, variables: Sequence[str] | None = None, digits: int = 4, **options: Any) -> list[Any]:
        """The logits as SymPy expressions of the features in their own units, edges replaced by library functions.

        An approximation of the network, fitted on ``reference_``; see :func:`qkan.models.symbolic.auto_symbolic`.

        Args:
            variables: names of the features; those of a table the model was fitted to, else x_1, x_2, … if ``None``.
            digits: significant digits.
            **options: of :func:`qkan.models.symbolic.auto_symbolic`.

        Raises:
            OptionError: an edge is not described well enough by any function of the library; ``r2_threshold`` says how
                well it has to be.
        """
        check_is_fitted(self, "network_")
        report = self.network_.auto_symbolic(self._known(), **options)
        if not report.complete:
            poor = report.edges[report.edges["function"].isna()]
            raise OptionError(
                f"no function of the library describes the edge of feature {self._name(int(poor['input'].iloc[0]))!r} "
                f"with R² above the threshold (best {poor['r2'].iloc[0]:.3g}); lower r2_threshold to accept it."
            )
        names = [self._name(feature) for feature in range(self.n_features_in_)] if variables is None else variables
        return report.model.symbolic_formula(names, digits, (self.mean_, self.scale_))

    def _known(self) -> torch.Tensor:
        return self._scaled(self.reference_)

    def _scaled(self, rows: np.ndarray) -> torch.Tensor:
        return torch.as_tensor((rows - self.mean_) / self.scale_)

    def _row(self, row: Any) -> torch.Tensor:
        """One row (features,) as the network sees it, (1, features)."""
        found = np.asarray(row, dtype=np.float64)
        if found.shape != (self.n_features_in_,):
            raise ShapeError(f"a row of shape {found.shape} must be ({self.n_features_in_},).")
        return self._scaled(found[None])

    def _rows(self, X: Any) -> torch.Tensor:
        check_is_fitted(self, "network_")
        return self._scaled(validate_data(self, X, reset=False, dtype=np.float64))

    def _name(self, feature: int) -> str:
        if not 0 <= feature < self.n_features_in_:
            raise ShapeError(f"feature={feature} must be a number from 0 to {self.n_features_in_ - 1}.")
        names = getattr(self, "feature_names_in_", None)
        return f"x_{feature + 1}" if names is None else str(names[feature])

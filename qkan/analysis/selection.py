"""Which inputs a KAN uses, read from its first layer, and a selector of columns for scikit-learn's pipelines.

The measures follow arXiv 2509.23366 with three changes. Coefficients are measured by the functions they stand for, so
that bases can be compared; slopes are per standard deviation of the input; and knocking a feature out leaves its mean,
because what an edge adds on average belongs to the bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from qkan.errors import OptionError, ShapeError, check_choice
from qkan.models import KAN
from qkan.models.attribution import check_rows
from qkan.models.dcnn import cross_entropy
from qkan.training import evaluate, mean_squared_error

#: (prediction, label) -> scalar.
Loss = Callable[[Tensor, Tensor], Tensor]

#: Points over an input's range for the Gram matrix of the basis.
POINTS = 256


def feature_importance(
    model: KAN, x: Tensor | np.ndarray, y: Any = None, method: str = "coef_l2", loss_fn: Loss | None = None
) -> np.ndarray:
    """How much the network uses each input, float64 (n,), none negative.

    With φ_oi = Σ_k c_oik B_k the first layer's edges and G the Gram matrix of the B_k, their means taken off, over the
    range of input i on the rows (uniformly, so that the density of the data does not matter):

    * "coef_l1": Σ_o Σ_k |c_oik| √G_kk.
    * "coef_l2": √(Σ_o c_oiᵀ G c_oi), the size of the functions whatever the basis.
    * "contribution": √(Σ_o Var φ_oi(x_i)) over the rows: the same where the data are.
    * "sensitivity": Σ_o E|∂f_o/∂x_i| · std(x_i), f the whole network.
    * "knockout": rise of the loss when all edges of input i are replaced by their means; falls count as 0.

    The first three see the first layer only: an edge that later layers ignore counts.

    Args:
        model: a network trained on other rows than those that judge the selection.
        x: rows (rows, n), two or more.
        y: labels for "knockout".
        method: one of the five.
        loss_fn: for "knockout": (prediction, label) -> scalar. By default cross-entropy for labels of whole numbers,
            else the mean squared error.

    Raises:
        OptionError: the method is not known, "knockout" lacks labels, or coefficients are asked of a basis without any.
        ShapeError: x or y has another shape.
    """
    check_choice("method", method, METHODS)
    rows = check_rows(model, torch.as_tensor(x))
    if method == "knockout":
        return _knockout(model, rows, y, loss_fn)
    return METHODS[method](model, rows)


def _coefficients(model: KAN, x: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (n, m, K) and centred features (n, points, K) over the range of each input."""
    layer = model.layers[0]
    low, high = x.aminmax(dim=0)
    share = torch.linspace(0, 1, POINTS, dtype=x.dtype, device=x.device).unsqueeze(-1)
    with torch.no_grad():
        features = layer.features(low + share * (high - low)).transpose(0, 1).double()
        coefficients = layer.coefficients().transpose(0, 1).double()
    return coefficients, features - features.mean(1, keepdim=True)


def _coef_l1(model: KAN, x: Tensor) -> np.ndarray:
    coefficients, features = _coefficients(model, x)
    return (coefficients.abs() * features.pow(2).mean(1).sqrt().unsqueeze(1)).sum((1, 2)).cpu().numpy()


def _coef_l2(model: KAN, x: Tensor) -> np.ndarray:
    coefficients, features = _coefficients(model, x)
    # √(cᵀGc) without the matrix: the mean square of the functions themselves.
    functions = features @ coefficients.transpose(1, 2)
    return functions.pow(2).mean(1).sum(-1).sqrt().cpu().numpy()


def _contribution(model: KAN, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        edges = model.layers[0].edges(x).double()
    return edges.var(0, correction=0).sum(0).sqrt().cpu().numpy()


def _sensitivity(model: KAN, x: Tensor) -> np.ndarray:
    inputs = x.detach().clone().requires_grad_(True)
    outputs = model(inputs)
    total = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for output in range(outputs.shape[1]):
        (slopes,) = torch.autograd.grad(outputs[:, output].sum(), inputs, retain_graph=True)
        total += slopes.abs().double().mean(0)
    return (total * x.double().std(0, correction=0)).cpu().numpy()


def _knockout(model: KAN, x: Tensor, y: Any, loss_fn: Loss | None) -> np.ndarray:
    if y is None:
        raise OptionError("method='knockout' needs labels y.")
    labels = torch.as_tensor(y)
    if len(labels) != len(x):
        raise ShapeError(f"there are {len(x)} rows of x but {len(labels)} labels.")
    labels = labels.to(x) if labels.is_floating_point() else labels.to(x.device)
    loss_fn = loss_fn or (mean_squared_error if labels.is_floating_point() else cross_entropy)
    before = evaluate(model, (x, labels), loss_fn)
    rises = []
    with torch.no_grad():
        first = model.layers[0]
        edges, outputs = first.edges(x), first(x)
        away = edges - edges.mean(0)
        for feature in range(x.shape[1]):
            hidden = outputs - away[..., feature]
            for layer in model.layers[1:]:
                hidden = layer(hidden)
            rises.append(float(loss_fn(hidden, labels)) - before)
    return np.maximum(np.asarray(rises, dtype=np.float64), 0.0)


#: Measures by name; "knockout" needs labels too.
METHODS: dict[str, Any] = {
    "coef_l1": _coef_l1,
    "coef_l2": _coef_l2,
    "contribution": _contribution,
    "sensitivity": _sensitivity,
    "knockout": _knockout,
}


class KANImportance(BaseEstimator):
    """A KAN trained to say which columns matter, for scikit-learn's ``SelectFromModel``.

    >>> SelectFromModel(KANImportance(KANClassifier()), threshold=-np.inf, max_features=5)  # doctest: +SKIP

    Put into a pipeline, it is fitted on the training part of every fold only.

    Args:
        estimator: a ``qkan.sklearn.KANClassifier`` or ``KANRegressor`` (or any estimator with a fitted KAN as
            ``network_``, inputs standardised by ``mean_`` and ``scale_``); it is cloned.
        method: see :func:`feature_importance`.
        holdout: fraction of the rows that "knockout" keeps from training to measure the loss on; a network that has
            learnt its rows by heart misses every feature there.
        random_state: of that split.

    Attributes:
        estimator_: the fitted clone.
        feature_importances_: (features,).
    """

    def __init__(
        self, estimator: Any = None, method: str = "coef_l2", holdout: float = 0.25, random_state: int | None = 0
    ):
        self.estimator = estimator
        self.method = method
        self.holdout = holdout
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> KANImportance:
        """Train the network on X (rows, features) and y (rows,), and measure.

        Raises:
            OptionError: an option is not valid, or the estimator holds no KAN.
        """
        check_choice("method", self.method, METHODS)
        if not 0 < self.holdout < 1:
            raise OptionError(f"holdout={self.holdout!r} must lie strictly between 0 and 1.")
        if self.estimator is None:
            raise OptionError("KANImportance needs an estimator, such as qkan.sklearn.KANClassifier().")
        X, y = validate_data(self, X, y, dtype=np.float64)
        train, check = (X, y), (X, y)
        if self.method == "knockout":
            parts = train_test_split(X, y, test_size=self.holdout, random_state=self.random_state)
            train, check = (parts[0], parts[2]), (parts[1], parts[3])
        self.estimator_ = clone(self.estimator).fit(*train)
        network = getattr(self.estimator_, "network_", None)
        if not isinstance(network, KAN):
            raise OptionError(
                f"{type(self.estimator).__name__} holds no KAN to measure; use KANClassifier or KANRegressor."
            )
        rows = (check[0] - self.estimator_.mean_) / self.estimator_.scale_
        self.feature_importances_ = feature_importance(network, rows, self._labels(check[1]), self.method)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """What the network predicts from all columns, X (N, n) -> (N,)."""
        check_is_fitted(self, "estimator_")
        return self.estimator_.predict(X)

    def _labels(self, y: np.ndarray) -> np.ndarray:
        """Labels as the network was trained on them."""
        if hasattr(self.estimator_, "classes_"):
            return np.searchsorted(self.estimator_.classes_, y)
        mean, scale = self.estimator_.target_mean_, self.estimator_.target_scale_
        return ((np.asarray(y, dtype=np.float64) - mean) / scale).reshape(len(y), -1)

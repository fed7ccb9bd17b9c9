"""KANs, KACQ-DCNNs and any other network as scikit-learn estimators."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import column_or_1d, validate_data

from qkan import training
from qkan.errors import OptionError, check_choice
from qkan.models import KACQDCNN, KAN, QKAN, QCKANNet, TensorNetworkQNN
from qkan.models.base import Network
from qkan.sklearn._base import Classifier, NetworkEstimator, for_standardised


class _KANEstimator(NetworkEstimator):
    """What KANs as classifier and regressor share."""

    def __init__(
        self,
        model: str = "qkan",
        basis: str | None = None,
        hidden: tuple[int, ...] = (4,),
        basis_options: dict[str, Any] | None = None,
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
        self.model = model
        self.basis = basis
        self.hidden = hidden
        self.basis_options = basis_options
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

    def _build(self, n_in: int, n_out: int, seed: int) -> KAN:
        check_choice("model", self.model, ("qkan", "kan"))
        hidden = (self.hidden,) if isinstance(self.hidden, int) else self.hidden
        width = [n_in, *hidden, n_out]
        options = dict(self.basis_options or {})
        if self.model == "qkan":
            if self.basis not in (None, "daruan"):
                raise OptionError(f"model='qkan' has the basis 'daruan', not {self.basis!r}; use model='kan'.")
            return QKAN(width, seed=seed, **options)
        basis = self.basis or "bspline"
        return KAN(width, basis, seed=seed, **for_standardised(basis, options))


class KANClassifier(Classifier, _KANEstimator):
    """A KAN or QKAN classifier (softmax over one output per class).

    Args:
        model: "qkan" (DARUAN edges) or "kan".
        basis: basis of a "kan"; default "bspline".
        hidden: widths of the hidden layers; ``()`` gives an additive model.
        basis_options: options of the basis, e.g. ``{"reps": 4}`` or ``{"grid": 8}``. Grids cover (-3, 3) unless
            ``grid_range`` is given; so does the ``domain`` of polynomials with ``extend="clamp"`` or "linear".
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

    Attributes after ``fit``: ``classes_``, ``network_`` (the torch model), ``history_``, ``n_iter_`` (epochs run),
    ``mean_`` and ``scale_``. Labels may be numbers or strings. ``fit(X, y, X_val, y_val)`` stops early on rows of your
    own choice.
    """


class KACQClassifier(Classifier):
    """A KACQ-DCNN classifier, see :class:`qkan.models.KACQDCNN` (Jahin et al., arXiv 2410.07446).

    Args:
        preset, wires, quantum_layers, circuits, embedding, classical, quantum, basis, core, dropout, backend: of the
            network.
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

    Attributes after ``fit``, labels and validation rows of one's own: as of :class:`KANClassifier`.
    """

    def __init__(
        self,
        preset: str = "compact",
        wires: int = 4,
        quantum_layers: int = 1,
        circuits: int = 3,
        embedding: str = "amplitude",
        classical: Any = True,
        quantum: Any = True,
        basis: Any = None,
        core: str = "circuit",
        dropout: float | None = None,
        backend: Any = "torch",
        epochs: int = 60,
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
        self.preset = preset
        self.wires = wires
        self.quantum_layers = quantum_layers
        self.circuits = circuits
        self.embedding = embedding
        self.classical = classical
        self.quantum = quantum
        self.basis = basis
        self.core = core
        self.dropout = dropout
        self.backend = backend
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

    def _build(self, n_in: int, n_out: int, seed: int) -> KACQDCNN:
        names = ("preset", "wires", "quantum_layers", "circuits", "embedding", "classical", "quantum", "basis", "core")
        options = {name: getattr(self, name) for name in (*names, "dropout", "backend")}
        return KACQDCNN(n_in, n_out, **options, seed=seed)


class NetworkClassifier(Classifier):
    """Any network of the toolkit as a classifier, by name.

    Args:
        network: name of a class of :mod:`qkan.models` whose first arguments are ``in_features`` and ``n_classes``:
            "KACQDCNN", "QCKANNet", "TensorNetworkQNN".
        options: further arguments of the network, by name.
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

    Attributes after ``fit``, labels and validation rows of one's own: as of :class:`KANClassifier`.
    """

    #: What may be named.
    NETWORKS: ClassVar[dict[str, type[Network]]] = {one.__name__: one for one in (KACQDCNN, QCKANNet, TensorNetworkQNN)}
    #: Arguments of a network that are no options: they come from the data and from parameters of the estimator.
    _GIVEN: ClassVar[tuple[str, ...]] = ("in_features", "n_classes", "seed", "device")

    def __init__(
        self,
        network: str = "KACQDCNN",
        options: dict[str, Any] | None = None,
        epochs: int = 60,
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
        self.network = network
        self.options = options
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

    def _build(self, n_in: int, n_out: int, seed: int) -> Network:
        check_choice("network", self.network, self.NETWORKS)
        network = self.NETWORKS[self.network]
        known = [name for name in inspect.signature(network).parameters if name not in self._GIVEN]
        for name in self.options or {}:
            check_choice("options", name, known)
        return network(n_in, n_out, **(self.options or {}), seed=seed)


class KANRegressor(RegressorMixin, _KANEstimator):
    """A KAN or QKAN regressor (mean squared error on a standardised target).

    Takes the parameters of :class:`KANClassifier`; attributes after ``fit`` are ``network_``, ``history_``,
    ``n_iter_``, ``mean_``, ``scale_``, ``target_mean_`` and ``target_scale_``.
    """

    def fit(self, X: Any, y: Any, X_val: Any = None, y_val: Any = None) -> KANRegressor:
        """Fit to X (rows, features) and numbers y (rows,); optional validation rows for early stopping.

        Args:
            X: (rows, features).
            y: (rows,).
            X_val: validation rows, with the same features.
            y_val: their numbers.

        Raises:
            OptionError: only one of ``X_val`` and ``y_val`` is given.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        self.target_mean_, self.target_scale_ = float(y.mean()), float(y.std()) or 1.0
        validation = None
        if (X_val is None) != (y_val is None):
            raise OptionError("X_val and y_val belong together: give both or neither.")
        if X_val is not None:
            X_val = validate_data(self, X_val, reset=False, dtype=np.float64)
            validation = (X_val, self._target(column_or_1d(np.asarray(y_val, dtype=np.float64))))
        return self._train(X, self._target(y), 1, training.mean_squared_error, validation)

    def _target(self, y: np.ndarray) -> torch.Tensor:
        return torch.as_tensor((y - self.target_mean_) / self.target_scale_, dtype=torch.float32).unsqueeze(1)

    def predict(self, X: Any) -> np.ndarray:
        """Predicted numbers (rows,)."""
        return self._outputs(X)[:, 0] * self.target_scale_ + self.target_mean_

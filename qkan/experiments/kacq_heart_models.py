"""The models of ``qkan reproduce kacq-heart`` by name: one registry for every protocol.

All take preprocessed rows (missing values as levels and indicators of their own) and have scikit-learn's interface.
None is tuned on the data: the classical ones have their packages' settings, networks one common recipe of training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from sklearn import discriminant_analysis, ensemble, linear_model, naive_bayes, neighbors, neural_network, tree
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from qkan.sklearn import KACQClassifier, KANClassifier, NetworkClassifier

GROUPS = ("classical", "quantum network", "hybrid", "KAN", "KACQ", "ablation", "control")


@dataclass(frozen=True)
class Recipe:
    """Training of every network.

    Attributes:
        epochs: at most.
        patience: epochs without a lower loss on the held-out rows.
        validation: share of the training rows held out for it.
        batch_size: rows per step.
        lr: learning rate of AdamW for networks of the compact size.
        lr_published: for those of the published sizes, as published.
        lr_circuit: for circuits alone, whose parameters are angles.
    """

    epochs: int = 100
    patience: int = 10
    validation: float = 0.15
    batch_size: int = 64
    lr: float = 0.01
    lr_published: float = 0.001
    lr_circuit: float = 0.05


@dataclass(frozen=True)
class Model:
    """A model of the registry.

    Attributes:
        name: in tables and files.
        group: one of :data:`GROUPS`.
        make: (recipe, seed, preset) -> unfitted classifier; the preset is the size of the KACQ-DCNNs.
        needs: package that must be installed besides scikit-learn.
        trained: whether it is a network that stops early.
    """

    name: str
    group: str
    make: Callable[[Recipe, int, str], Any]
    needs: str | None = None
    trained: bool = False

    @property
    def available(self) -> bool:
        """Whether its package is installed."""
        return self.needs is None or find_spec(self.needs) is not None


def _catboost(seed: int) -> Any:
    from catboost import CatBoostClassifier

    return CatBoostClassifier(random_seed=seed, verbose=0, allow_writing_files=False, thread_count=1)


def _lightgbm(seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(random_state=seed, verbosity=-1, n_jobs=1)


def _xgboost(seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(random_state=seed, n_jobs=1)


#: Default settings, but for iterations enough to converge and 500 trees, those of the reference scores.
_CLASSICAL: dict[str, Callable[[int], Any]] = {
    "catboost": _catboost,
    "mlp": lambda seed: neural_network.MLPClassifier(max_iter=2000, random_state=seed),
    "logistic_regression": lambda seed: linear_model.LogisticRegression(max_iter=3000),
    "knn": lambda seed: neighbors.KNeighborsClassifier(),
    "lda": lambda seed: discriminant_analysis.LinearDiscriminantAnalysis(),
    "random_forest": lambda seed: ensemble.RandomForestClassifier(n_estimators=500, random_state=seed),
    # Indicators and levels are collinear; a little shrinkage makes the covariances invertible.
    "qda": lambda seed: discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1),
    "hist_gradient_boosting": lambda seed: ensemble.HistGradientBoostingClassifier(random_state=seed),
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "gradient_boosting": lambda seed: ensemble.GradientBoostingClassifier(random_state=seed),
    "adaboost": lambda seed: ensemble.AdaBoostClassifier(random_state=seed),
    "bagging": lambda seed: ensemble.BaggingClassifier(random_state=seed),
    "bernoulli_nb": lambda seed: naive_bayes.BernoulliNB(),
    "decision_tree": lambda seed: tree.DecisionTreeClassifier(random_state=seed),
    "dummy": lambda seed: DummyClassifier(),
}
_PACKAGES = ("catboost", "lightgbm", "xgboost")

_QCKAN_LAYERS = QNN_LAYERS = KACQ_LAYERS = (1, 2, 3, 4)

#: Options of the network that differ from KACQ-DCNN with one layer. The compact preset has one BiLSTM and the published
#: one two, so there is one more in the one and one fewer in the other.
_ABLATIONS: dict[str, dict[str, Any]] = {
    "kacq-no-quantum": {"quantum": False},
    "kacq-angle": {"embedding": "angle"},
    "kacq-lstm": {"classical": {"recurrent": "lstm"}},
    "kacq-other-depth": {},
    "kacq-no-bilstm": {"classical": {"recurrent": None}},
    "kacq-mlp-classical": {"classical": {"layer": "mlp"}},
    "kacq-mlp-quantum": {"quantum": {"layer": "mlp"}},
    "kacq-mlp": {"classical": {"layer": "mlp"}, "quantum": {"layer": "mlp"}},
    "kacq-no-dropout": {"dropout": 0.0},
}
_OTHER_DEPTH = {"compact": (8, 8), "published": (64,)}
_CONTROLS = {"kacq-identity": "identity", "kacq-mlp-core": "mlp", "kacq-random": "random"}


def _common(recipe: Recipe, seed: int, lr: float) -> dict[str, Any]:
    return {
        "epochs": recipe.epochs,
        "lr": lr,
        "batch_size": recipe.batch_size,
        "early_stopping": True,
        "validation_fraction": recipe.validation,
        "patience": recipe.patience,
        "standardize": False,
        "random_state": seed,
    }


def _kacq(options: dict[str, Any], preset: str | None = None) -> Callable[[Recipe, int, str], Any]:
    def make(recipe: Recipe, seed: int, usual: str) -> Any:
        size = preset or usual
        lr = recipe.lr_published if size == "published" else recipe.lr
        classifier = KACQClassifier(preset=size, **_common(recipe, seed, lr), **options)
        return _unit_range(classifier) if size == "published" else classifier

    return make


def _other_depth(recipe: Recipe, seed: int, preset: str) -> Any:
    return _kacq({"classical": {"units": _OTHER_DEPTH[preset]}})(recipe, seed, preset)


def _network(network: str, options: dict[str, Any], published: bool) -> Callable[[Recipe, int, str], Any]:
    def make(recipe: Recipe, seed: int, preset: str) -> Any:
        lr = recipe.lr_published if published else recipe.lr_circuit
        classifier = NetworkClassifier(network, options, **_common(recipe, seed, lr))
        return _unit_range(classifier) if published else classifier

    return make


def _kan(kind: str) -> Callable[[Recipe, int, str], Any]:
    return lambda recipe, seed, preset: KANClassifier(model=kind, **_common(recipe, seed, recipe.lr))


def _unit_range(classifier: Any) -> Any:
    """Inputs scaled to [0, 1] by the training rows, as published: the splines there live on [-1, 1]."""
    return make_pipeline(MinMaxScaler(clip=True), classifier)


def _registry() -> dict[str, Model]:
    models = [
        Model(name, "classical", lambda recipe, seed, preset, make=make: make(seed), name if name in _PACKAGES else None)
        for name, make in _CLASSICAL.items()
    ]
    for kind in ("mera", "mps", "ttn"):
        for layers in QNN_LAYERS:
            make = _network("TensorNetworkQNN", {"network": kind, "layers": layers}, published=False)
            models.append(Model(f"{kind}-{layers}", "quantum network", make, trained=True))
    models.append(Model("bilstm-kan", "hybrid", _kacq({"quantum": False}, "published"), trained=True))
    models.append(Model("qdense-kan", "hybrid", _kacq({"classical": False}, "published"), trained=True))
    for layers in _QCKAN_LAYERS:
        make = _network("QCKANNet", {"quantum_layers": layers}, published=True)
        models.append(Model(f"qckan-{layers}", "hybrid", make, trained=True))
    models += [Model(kind, "KAN", _kan(kind), trained=True) for kind in ("kan", "qkan")]
    for layers in KACQ_LAYERS:
        models.append(Model(f"kacq-{layers}", "KACQ", _kacq({"quantum_layers": layers}), trained=True))
    models.append(Model("kacq-published", "KACQ", _kacq({}, "published"), trained=True))
    for name, options in _ABLATIONS.items():
        make = _other_depth if name == "kacq-other-depth" else _kacq(options)
        models.append(Model(name, "ablation", make, trained=True))
    models += [Model(name, "control", _kacq({"core": core}), trained=True) for name, core in _CONTROLS.items()]
    return {model.name: model for model in models}


#: Every model, in the order of the tables.
MODELS: dict[str, Model] = _registry()

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

from qkan.sklearn import KACQClassifier, KANClassifier, NetworkClassifier

#: Seeds of the networks whose probabilities "kacq-ensemble" averages.
ENSEMBLE = 5


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
        group: one of :data:`qkan.experiments.kacq_heart_results.GROUPS`.
        make: (recipe, seed, preset) -> unfitted classifier; the preset is the size of the KACQ-DCNNs.
        needs: package that must be installed besides scikit-learn.
        size: "published" or "compact" if it is always that; else the preset's.
        published: whether the publication has it.
    """

    name: str
    group: str
    make: Callable[[Recipe, int, str], Any]
    needs: str | None = None
    size: str | None = None
    published: bool = True

    @property
    def available(self) -> bool:
        """Whether its package is installed."""
        return self.needs is None or find_spec(self.needs) is not None

    def unit_range(self, preset: str) -> bool:
        """Whether inputs are scaled to [0, 1], as published: the splines of those sizes live on [-1, 1]."""
        return (self.size or preset) == "published"


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

#: Of circuits: quantum networks, QCKANNet and KACQ-DCNN come with one to four.
LAYERS = (1, 2, 3, 4)

#: Options of the network that differ from KACQ-DCNN with one layer. The compact preset has one BiLSTM and the published
#: one two, so there is one more in the one and one fewer in the other.
_ABLATIONS: dict[str, dict[str, Any]] = {
    "kacq-no-quantum": {"quantum": False},
    "kacq-angle": {"embedding": "angle"},
    "kacq-lstm": {"classical": {"recurrent": "lstm"}},
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


def _kacq(options: dict[str, Any], size: str | None = None) -> Callable[[Recipe, int, str], Any]:
    def make(recipe: Recipe, seed: int, preset: str) -> Any:
        used = size or preset
        lr = recipe.lr_published if used == "published" else recipe.lr
        return KACQClassifier(preset=used, **_common(recipe, seed, lr), **options)

    return make


def _other_depth(recipe: Recipe, seed: int, preset: str) -> Any:
    return _kacq({"classical": {"units": _OTHER_DEPTH[preset]}})(recipe, seed, preset)


def _ensemble(recipe: Recipe, seed: int, preset: str) -> Any:
    """Every member holds out other rows for early stopping, so that together they train on all."""
    members = [(str(k), _kacq({})(recipe, ENSEMBLE * seed + k, preset)) for k in range(ENSEMBLE)]
    return ensemble.VotingClassifier(members, voting="soft")


def _circuit(kind: str, layers: int) -> Callable[[Recipe, int, str], Any]:
    options = {"network": kind, "layers": layers}
    return lambda recipe, seed, preset: NetworkClassifier(
        "TensorNetworkQNN", options, **_common(recipe, seed, recipe.lr_circuit)
    )


def _qckan(layers: int) -> Callable[[Recipe, int, str], Any]:
    options = {"quantum_layers": layers}
    return lambda recipe, seed, preset: NetworkClassifier(
        "QCKANNet", options, **_common(recipe, seed, recipe.lr_published)
    )


def _kan(kind: str) -> Callable[[Recipe, int, str], Any]:
    return lambda recipe, seed, preset: KANClassifier(model=kind, **_common(recipe, seed, recipe.lr))


def _classical(name: str) -> Model:
    make = _CLASSICAL[name]
    needs = name if name in _PACKAGES else None
    return Model(name, "classical", lambda recipe, seed, preset: make(seed), needs, "compact")


def _registry() -> dict[str, Model]:
    models = [_classical(name) for name in _CLASSICAL]
    models += [
        Model(f"{kind}-{layers}", "quantum network", _circuit(kind, layers), size="compact")
        for kind in ("mera", "mps", "ttn")
        for layers in LAYERS
    ]
    models += [
        Model("bilstm-kan", "hybrid", _kacq({"quantum": False}, "published"), size="published"),
        Model("qdense-kan", "hybrid", _kacq({"classical": False}, "published"), size="published"),
        *(Model(f"qckan-{layers}", "hybrid", _qckan(layers), size="published") for layers in LAYERS),
        *(Model(kind, "KAN", _kan(kind), size="compact", published=False) for kind in ("kan", "qkan")),
        *(Model(f"kacq-{layers}", "KACQ", _kacq({"quantum_layers": layers})) for layers in LAYERS),
        Model("kacq-published", "KACQ", _kacq({}, "published"), size="published", published=False),
        Model("kacq-ensemble", "KACQ", _ensemble, published=False),
    ]
    ablations = {name: _kacq(options) for name, options in _ABLATIONS.items()} | {"kacq-other-depth": _other_depth}
    models += [Model(name, "ablation", make) for name, make in ablations.items()]
    controls = [Model(name, "control", _kacq({"core": core}), published=False) for name, core in _CONTROLS.items()]
    return {model.name: model for model in [*models, *controls]}


#: Every model, in the order of the tables.
MODELS: dict[str, Model] = _registry()

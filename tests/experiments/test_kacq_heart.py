"""The heart benchmark: what is compared, on which rows, and that an interrupted run goes on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from qkan.data import _files
from qkan.errors import OptionError
from qkan.experiments import kacq_heart
from qkan.experiments.kacq_heart_data import data_of, fold_named, folds_of, matrices
from qkan.experiments.kacq_heart_models import MODELS, Recipe
from qkan.models import KACQDCNN

needs_sites = pytest.mark.skipif(
    _files.find("processed.cleveland.data", None) is None, reason="QKAN_DATA_DIR names no folder with the heart files"
)
QUICK = Recipe(epochs=1)
SMALL = kacq_heart.Plan(
    ("breast_cancer",), {"breast_cancer": 1}, ("logistic_regression", "dummy", "mps-1", "kacq-identity"), QUICK, 2
)


def test_the_registry_has_every_model_of_the_publication_and_the_controls():
    counts: dict[str, int] = {}
    for model in MODELS.values():
        counts[model.group] = counts.get(model.group, 0) + 1
    published = {"classical": 16, "quantum network": 12, "hybrid": 6, "ablation": 9, "control": 3}
    assert counts == {**published, "KAN": 2, "KACQ": 4 + 2}  # beside one to four layers: published sizes, an ensemble
    assert sum(model.published for model in MODELS.values()) == 16 + 12 + 6 + 4 + 9


@pytest.mark.parametrize(
    "name", [name for name in MODELS if name not in ("bilstm-kan", "qdense-kan", "kacq-published")]
)
def test_every_model_fits_and_gives_probabilities(name):
    """On few rows and one epoch, with the arguments that the experiment uses."""
    if not MODELS[name].available:
        pytest.skip(f"{MODELS[name].needs} is not installed")
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 5))
    y = (X[:, 0] + 0.3 * random.normal(size=60) > 0).astype(int)
    model = MODELS[name].make(replace(QUICK, batch_size=64), 0, "compact").fit(X, y)
    found = np.asarray(model.predict_proba(X), dtype=float)
    assert found.shape == (60, 2)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    assert name == "dummy" or found[:, 1].std() > 0


@pytest.mark.parametrize("preset", ["compact", "published"])
def test_ablations_differ_from_the_whole_in_one_respect(preset):
    whole = _network("kacq-1", preset)
    for name in (name for name, model in MODELS.items() if model.group in ("ablation", "control")):
        own = _network(name, preset)
        different = [key for key in whole if own[key] != whole[key]]
        assert different == [_RESPECT[name]] if name != "kacq-mlp" else different == ["classical", "quantum"]
    assert [part["units"] for part in (whole["classical"], _network("kacq-other-depth", preset)["classical"])] == (
        [[8], [8, 8]] if preset == "compact" else [[64, 64], [64]]
    )


_RESPECT = {
    "kacq-no-quantum": "quantum",
    "kacq-angle": "embedding",
    "kacq-lstm": "classical",
    "kacq-other-depth": "classical",
    "kacq-no-bilstm": "classical",
    "kacq-mlp-classical": "classical",
    "kacq-mlp-quantum": "quantum",
    "kacq-no-dropout": "dropout",
    "kacq-identity": "core",
    "kacq-mlp-core": "core",
    "kacq-random": "core",
}


def _network(name, preset):
    classifier = MODELS[name].make(QUICK, 0, preset)
    names = ("wires", "quantum_layers", "circuits", "embedding", "classical", "quantum", "core", "dropout")
    options = {key: getattr(classifier, key) for key in names}
    return KACQDCNN(12, preset=preset, **options, seed=0).config()


@needs_sites
def test_rows_and_folds_of_the_four_sites():
    data = data_of("heart")
    assert (data.features.shape, int(data.labels.sum())) == ((918, 11), 508)
    missing = data.features.isna().sum()
    expected = {"slope": 307, "chol": 29 + 172, "fbs": 90, "exang": 55, "oldpeak": 62, "thalach": 55, "trestbps": 60}
    assert {name: missing[name] for name in expected} == expected
    folds = folds_of("heart", 2)
    assert [fold.name for fold in folds] == [f"{r}.{k}" for r in (1, 2) for k in range(1, 6)]
    assert [fold.seed for fold in folds] == [0] * 5 + [1] * 5
    for repeat in (folds[:5], folds[5:]):
        assert sorted(np.concatenate([fold.test for fold in repeat])) == list(range(918))
    assert all(not set(fold.test) & set(fold.train) for fold in folds)
    np.testing.assert_array_equal(fold_named("heart", "2.3").test, folds_of("heart", 10)[7].test)  # whatever the number
    sites = folds_of("heart-sites", 1)
    assert [(fold.name, len(fold.test)) for fold in sites] == [
        ("cleveland", 303),
        ("hungarian", 293),
        ("switzerland", 123),
        ("va", 199),
    ]


@needs_sites
def test_preprocessing_learns_from_the_training_rows_alone():
    fold = folds_of("heart", 1)[0]
    train, test = matrices("heart", fold, unit_range=False)
    assert train.shape == (734, 31)
    np.testing.assert_allclose(train[:, :5].mean(0), 0, atol=1e-12)
    assert np.abs(test[:, :5].mean(0)).max() > 0.01
    train, test = matrices("heart", fold, unit_range=True)
    assert (train.min(), train.max(), test.min(), test.max()) == (0, 1, 0, 1)


@needs_sites
def test_published_split_rules():
    if _files.find("heart.csv", None) is None:
        pytest.skip("QKAN_DATA_DIR names no folder with heart.csv")
    supports = {}
    for group in ("classical", "hybrid", "KACQ"):
        fold = folds_of("published", 1, group)[0]
        supports[group] = np.bincount(data_of("published").labels[fold.test]).tolist()
    assert supports == {"classical": [82, 102], "hybrid": [112, 164], "KACQ": [123, 153]}
    found = kacq_heart.one_run("published", "logistic_regression", "test", {})
    assert abs(found["roc_auc"] - 0.9267) < 2e-4  # the published value; codes and scales are those of the publication
    assert matrices("published", folds_of("published", 1, "classical")[0], False)[0].shape == (734, 11)


def test_a_small_run_and_its_continuation(tmp_path):
    outcome = kacq_heart.run(tmp_path, SMALL, progress=False)
    (table,) = outcome.tables
    assert (table.name, table.rows, table.title) == ("breast_cancer", 569, "Breast cancer, 2 folds")
    assert [(e.model, [run["fold"] for run in e.runs]) for e in table.entries] == [
        (name, ["1.1", "1.2"]) for name in SMALL.models
    ]
    logistic, dummy, circuit, control = table.entries
    assert logistic.mean("accuracy") > 0.95 > dummy.mean("accuracy")
    assert dummy.mean("roc_auc") == 0.5
    assert dummy.mean("kappa") == 0.0
    assert (logistic.runs[0]["parameters"], circuit.runs[0]["parameters"], circuit.runs[0]["epochs"]) == (None, 10, 1)
    assert control.runs[0]["parameters"] > 10_000
    kept = tmp_path / "breast_cancer--dummy--1.2.json"
    content = json.loads(kept.read_text())
    kept.write_text(json.dumps({**content, "result": {**content["result"], "accuracy": 0.123}}))
    again = kacq_heart.run(tmp_path, replace(SMALL, folds=3), progress=False)
    entry = again.tables[0].entries[1]
    assert len(entry.runs) == 3
    assert entry.values("accuracy")[1] == 0.123  # taken from the file, not computed anew


def test_models_whose_package_is_missing_are_left_out_aloud(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "catboost", replace(MODELS["catboost"], needs="not_a_package"))
    told = []
    plan = replace(SMALL, models=("catboost", "dummy"), folds=1)
    outcome = kacq_heart.run(tmp_path, plan, progress=False, warn=told.append)
    assert [entry.model for entry in outcome.tables[0].entries] == ["dummy"]
    assert told == ["catboost is left out: the package 'not_a_package' is not installed."]
    with pytest.raises(OptionError, match="none of the models catboost is installed, for the table 'breast_cancer'"):
        kacq_heart.run(tmp_path, replace(plan, models=("catboost",)), progress=False)


def test_mistakes(tmp_path):
    for plan, words in (
        (replace(SMALL, tables=("hearts",)), "table='hearts' is not known"),
        (replace(SMALL, models=("kacq-9",)), "model='kacq-9' is not known"),
        (replace(SMALL, models=()), "one table and one model at least"),
        (replace(SMALL, repeats={"breast_cancer": 0}), "repeats=0"),
        (replace(SMALL, tables=("published",), models=("kan", "kacq-identity")), "of the publication, for the table"),
    ):
        with pytest.raises(OptionError, match=words):
            kacq_heart.run(tmp_path, plan, progress=False)

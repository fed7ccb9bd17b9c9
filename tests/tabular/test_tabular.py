"""The whole classifier: fitting, calibration guard, explanation, disk; and the split and output folder of a run."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from qkan.analysis.conformal import row_hashes
from qkan.errors import DataError, LeakageError, ModelFileError, NonFiniteError, OptionError
from qkan.experiments.output import output_folder
from qkan.experiments.predict import predict_rows
from qkan.experiments.split import SHARES, split_rows
from qkan.models import KAN
from qkan.sklearn import KANClassifier, KANRegressor
from qkan.tabular import TabularModel
from qkan.tabular_regression import TabularRegressor


def table(rows: int = 240, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    random = np.random.default_rng(seed)
    X = pd.DataFrame(
        {"a": random.normal(size=rows), "b": random.normal(size=rows), "c": random.choice(["u", "v"], rows)}
    )
    score = X["a"] + np.where(X["c"] == "u", 1.0, -1.0) + 0.5 * random.normal(size=rows)
    X.loc[::11, "b"] = np.nan
    return X, pd.Series(np.where(score > 0, "ill", "well"), name="state")


@pytest.fixture(scope="module")
def model() -> TabularModel:
    X, y = table()
    estimator = KANClassifier(epochs=40, patience=8, standardize=False, random_state=0)
    fitted = TabularModel(estimator, "state").fit(X[:120], y[:120], X[120:160], y[120:160], ["c"])
    return fitted.calibrate(X[160:], y[160:])


def test_it_learns(model):
    X, y = table(400, seed=1)
    predicted = model.classes[model.predict_proba(X).argmax(1)]
    assert (predicted == y).mean() > 0.85


def test_coverage_on_new_rows(model):
    X, y = table(4000, seed=2)
    labels = np.searchsorted(model.classes, y)
    for method in ("lac", "mondrian"):
        sets = model.predict_set(model.predict_proba(X), 0.9, method)
        assert 0.82 < sets[np.arange(4000), labels].mean() < 0.98  # 80 calibration rows: sd of the coverage 0.033


def test_trained_rows_are_refused_for_calibration_also_after_loading(model, tmp_path):
    X, y = table()
    for own in (model, _reloaded(model, tmp_path)):
        with pytest.raises(LeakageError, match="1 of 81 calibration rows were trained on"):
            own.calibrate(X[159:240], y[159:240])  # row 159 decided when training stopped


def _reloaded(model: TabularModel, tmp_path) -> TabularModel:
    model.save(tmp_path / "model")
    return TabularModel.load(tmp_path / "model")


def test_rows_that_differ_in_levels_unknown_to_the_model_are_different_rows():
    """Both reach the network as missing; only the one that decided when training stopped is refused."""
    towns = pd.DataFrame({"town": ["a", "b"] * 10, "sex": ["f", "f", "m", "m"] * 5}, dtype=object)
    y = np.resize(["ill", "well"], 20)
    watched, new = towns[:4].assign(town=["c", "c", "a", "b"]), towns[:4].assign(town=["d", "e", "d", "e"])
    model = TabularModel(KANClassifier(epochs=1, standardize=False, random_state=0))
    model.fit(towns, y, watched, y[:4], ["town", "sex"])
    model.calibrate(new, y[:4])
    with pytest.raises(LeakageError, match="1 of 4 calibration rows"):
        model.calibrate(pd.concat([new[:3], watched[:1]]), y[:4])


def test_disk_round_trip_is_exact(model, tmp_path):
    X, _ = table(50, seed=3)
    loaded = _reloaded(model, tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    pd.testing.assert_frame_equal(loaded.background, model.background)
    for method in ("lac", "mondrian"):
        probabilities = model.predict_proba(X)
        np.testing.assert_array_equal(
            loaded.predict_set(probabilities, 0.8, method), model.predict_set(probabilities, 0.8, method)
        )
    np.testing.assert_array_equal(loaded.explain(X[:2]).values, model.explain(X[:2]).values)


def test_nothing_is_pickled(model, tmp_path):
    model.save(tmp_path / "model")
    assert sorted(path.suffix for path in (tmp_path / "model").iterdir()) == [".json", ".safetensors"]
    json.loads((tmp_path / "model" / "config.json").read_text())


def test_other_models_are_refused(tmp_path):
    KAN([2, 1], seed=0).save(tmp_path / "kan")
    with pytest.raises(ModelFileError, match="kind 'KAN', not 'tabular-classifier'"):
        TabularModel.load(tmp_path / "kan")


def test_explanations_sum_to_the_probability(model):
    X, _ = table(5, seed=4)
    found = model.explain(X)
    assert found.method == "exact"
    np.testing.assert_allclose(found.base + found.values.sum(1), model.predict_proba(X), atol=1e-9)


def test_large_jobs_in_float32_stay_additive(model, monkeypatch):
    X, _ = table(6, seed=4)
    slow = model.explain(X)
    monkeypatch.setattr("qkan.tabular.QUICK", 0)
    quick = model.explain(X)
    assert not np.array_equal(quick.values, slow.values)
    assert quick.additivity_gap < 1e-6
    np.testing.assert_allclose(quick.values, slow.values, atol=1e-6)
    np.testing.assert_allclose(quick.base + quick.values.sum(1), model.predict_proba(X), atol=1e-6)
    assert next(model.pipeline[-1].network_.parameters()).dtype.itemsize == 8  # the model itself stays as it was


def test_float32_is_not_used_where_it_is_too_coarse(model, monkeypatch):
    import copy

    import torch

    steep = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in steep.pipeline[-1].network_.layers[-1].parameters():
            parameter.mul_(300)  # outputs in the hundreds, whose rounding moves probabilities
    monkeypatch.setattr("qkan.tabular.QUICK", 0)
    X, _ = table(40, seed=4)
    assert steep.explain(X).additivity_gap < 1e-12


def test_another_background(model):
    X, _ = table(40, seed=6)
    rows = model.conform(X)
    found = model.explain(rows.iloc[:3], background=rows.iloc[3:])
    np.testing.assert_allclose(found.base, model.predict_proba(rows.iloc[3:]).mean(0), atol=1e-9)


def test_explanation_options(model):
    X, _ = table(3)
    with pytest.raises(OptionError, match="method='tree' is not known"):
        model.explain(X, method="tree")
    drawn = model.explain(X, method="permutation", rounds=2)
    assert drawn.method == "permutation"
    assert drawn.additivity_gap < 1e-9


def test_edge_curves_are_the_first_layers_edges(model):
    (name, positions, values), *others = model.edge_curves(["b", "c", "a"])
    assert (name, [other[0] for other in others]) == ("b", ["a"])
    assert values.shape == (200, 4)
    rows = pd.DataFrame({"a": 0.0, "b": positions[:3], "c": "u"}).astype({"c": object})
    inputs = model.pipeline[0].transform(model.conform(rows))
    network = model.pipeline[-1].network_
    column = model.pipeline[0].get_feature_names_out().tolist().index("numeric__b")
    import torch

    edges = network.layers[0].edges(torch.as_tensor(inputs))[..., column].detach().numpy()
    np.testing.assert_allclose(values[:3], edges, atol=1e-12)


def test_prediction_table(model):
    X, _ = table(6, seed=5)
    found = predict_rows(model, X, level=0.9, top=2, explain=4)
    assert found["row"].tolist() == [1, 2, 3, 4, 5, 6]
    assert set(found["prediction set"]) <= {"{}", "{ill}", "{well}", "{ill, well}"}
    assert found["top contributions"].ne("").tolist() == [True] * 4 + [False] * 2


def test_contributions_of_an_additive_model_are_log_odds():
    X, y = table()
    estimator = KANClassifier(hidden=(), epochs=5, standardize=False, random_state=0)
    own = TabularModel(estimator).fit(X[:120], y[:120], X[120:160], y[120:160], ["c"]).calibrate(X[160:], y[160:])
    assert "top contributions (log-odds)" in predict_rows(own, X[:3]).columns


def test_uncalibrated_models_say_so():
    X, y = table()
    fresh = TabularModel(KANClassifier(epochs=1, standardize=False, random_state=0), "state")
    with pytest.raises(DataError, match="not fitted"):
        fresh.edge_curves(["a"])
    fresh.fit(X[:100], y[:100], X[100:], y[100:], ["c"])
    with pytest.raises(DataError, match="no calibration rows"):
        fresh.predict_set(np.full((1, 2), 0.5))
    with pytest.raises(DataError, match="call fit and calibrate first"):
        fresh.save("nowhere")


# -- the split ---


def test_split_is_a_stratified_partition():
    X, y = table(500)
    split = split_rows(X, y, seed=3)
    rows = np.concatenate(list(split.parts().values()))
    assert sorted(rows) == list(range(500))
    for name, part in split.parts().items():
        assert len(part) == pytest.approx(500 * SHARES[name], abs=2)
        assert (y.iloc[part] == "ill").mean() == pytest.approx((y == "ill").mean(), abs=0.03)


def test_equal_rows_are_in_one_part():
    X, y = table(300)
    X, y = pd.concat([X, X[:60]], ignore_index=True), pd.concat([y, y[:60]], ignore_index=True)
    split = split_rows(X, y, seed=0)
    assert split.repeated == 120
    hashes = np.asarray(row_hashes(X))
    parts = [set(hashes[rows]) for rows in split.parts().values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 300
    assert sum(map(len, split.parts().values())) == 360


def test_coarse_tables_split_too():
    """One whole-number column: 60 distinct ages in 600 rows."""
    random = np.random.default_rng(0)
    X = pd.DataFrame({"age": random.integers(20, 80, 600).astype(float)})
    y = pd.Series(np.where(random.random(600) < X["age"] / 100, "ill", "well"))
    sizes = {name: len(rows) for name, rows in split_rows(X, y, seed=0).parts().items()}
    assert all(size == pytest.approx(600 * SHARES[name], rel=0.4) for name, size in sizes.items())


def test_split_needs_every_class_in_every_part():
    X, y = table(20)
    y[:] = "well"
    y[0] = "ill"
    with pytest.raises(DataError, match="too few distinct rows"):
        split_rows(X, y, seed=0)


# -- the output folder ---


def test_output_appears_whole(tmp_path):
    with output_folder(tmp_path / "a" / "b") as folder:
        (folder / "metrics.json").write_text("{}")
        assert not (tmp_path / "a").exists()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["metrics.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


RUN = json.dumps({"format": "qkan-run"})


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_output_of_a_failed_run_leaves_the_old_one(tmp_path, error):
    with output_folder(tmp_path / "run") as folder:
        (folder / "metrics.json").write_text(RUN)

    def fail():
        with output_folder(tmp_path / "run") as folder:
            (folder / "metrics.json").write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert (tmp_path / "run" / "metrics.json").read_text() == RUN
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_earlier_run_is_replaced(tmp_path):
    for content in ("old", "new"):
        with output_folder(tmp_path / "run") as folder:
            (folder / "metrics.json").write_text(RUN)
            (folder / "report.html").write_text(content)
    assert (tmp_path / "run" / "report.html").read_text() == "new"


@pytest.mark.parametrize("stray", ["notes.txt", "model/notes.txt", "sub/thesis.txt"])
def test_a_run_folder_with_other_files_is_refused(tmp_path, stray):
    with output_folder(tmp_path / "run") as folder:
        (folder / "metrics.json").write_text(RUN)
    (tmp_path / "run" / stray).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / stray).write_text("precious")
    with pytest.raises(DataError, match="not of an earlier run"), output_folder(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / stray).read_text() == "precious"


@pytest.mark.parametrize("content", ["{}", "[]", "not json"])
def test_any_other_metrics_file_is_refused(tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(DataError, match="not of an earlier run"), output_folder(tmp_path):
        pass


def test_files_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"), output_folder(tmp_path / "file"):
        pass


def test_calibration_before_fit_or_without_numbers_is_one_sentence():
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    with pytest.raises(DataError, match="the model is not fitted; call fit first"):
        TabularModel(KANClassifier(standardize=False)).calibrate(frame, ["no", "yes"])
    regressor = TabularRegressor(KANRegressor(epochs=1, standardize=False))
    with pytest.raises(DataError, match="the model is not fitted; call fit first"):
        regressor.calibrate(frame, [0.0, 1.0])
    some = pd.DataFrame({"a": np.linspace(0, 1, 12)})
    regressor.fit(some[:8], some["a"][:8], some[8:10], some["a"][8:10])
    with pytest.raises(NonFiniteError, match="the targets hold NaN or infinity"):
        regressor.calibrate(some[10:], [np.nan, np.nan])

"""Additive models: contributions that sum to the logits, curves, neighbours, pictures and formulas."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

import qkan
from qkan.errors import OptionError, ShapeError
from qkan.models import KAAM, KAN, LogisticKAN

MODELS = {
    "bspline": lambda: KAAM(3, seed=1),
    "daruan": lambda: KAAM(3, basis="daruan", reps=2, seed=1),
    "classes": lambda: KAAM(3, 4, "rbf", bias=False, base=None, seed=1),
    "edge-bias": lambda: KAAM(3, basis="daruan", encoding="edge", bias="edge", reps=1, seed=1),
}


@pytest.fixture(params=MODELS)
def model(request) -> KAAM:
    return MODELS[request.param]()


@pytest.fixture
def x(rng) -> torch.Tensor:
    return torch.randn(80, 3, generator=rng)


def test_contributions_sum_to_the_logits(model, x):
    found = model.contributions(x, x)
    assert found.shape == (80, model.width[-1], 4)
    torch.testing.assert_close(found.sum(-1), model(x).detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[..., :-1].mean(0), torch.zeros(model.width[-1], 3), atol=1e-5, rtol=0)
    assert bool((found[..., -1] == found[0, :, -1]).all())


def test_a_contribution_depends_on_its_feature_alone(model, x):
    changed = x.clone()
    changed[:, [0, 2]] = 0.3
    torch.testing.assert_close(model.contributions(changed, x)[..., 1], model.contributions(x, x)[..., 1])


def test_curves_pass_through_the_contributions(model, x):
    values, curve = model.shape_curve(1, x, points=7)
    assert curve.shape == (7, model.width[-1])
    assert (float(values[0]), float(values[-1])) == (float(x[:, 1].min()), float(x[:, 1].max()))
    lowest = x[:, 1].argmin()
    torch.testing.assert_close(curve[0], model.contributions(x, x)[lowest, :, 1], rtol=1e-4, atol=1e-5)


def test_importance_is_the_variance_of_contributions(model, x):
    expected = model.layers[0].edges(x).detach().var(0, correction=0)
    torch.testing.assert_close(model.importance(x), expected, rtol=1e-4, atol=1e-6)


def test_neighbours_are_near_in_what_the_model_uses(x):
    model = MODELS["bspline"]()
    model.layers[0].set_mask(torch.tensor([[1, 0, 1]]))
    rows, distances = model.nearest(x[:2], x, count=3)
    assert rows[:, 0].tolist() == [0, 1]
    torch.testing.assert_close(distances[:, 0], torch.zeros(2), atol=1e-3, rtol=0)
    twin = x[5:6].clone()
    twin[0, 1] = 100.0  # a feature the model does not use
    assert int(model.nearest(twin, x)[0][0, 0]) == 5
    own = model.contributions(x, x)[..., :-1].flatten(1)
    expected = (own - own[0]).norm(dim=1).sort().values[:3]
    torch.testing.assert_close(distances[0], expected, atol=1e-3, rtol=1e-3)


def test_spokes_move_one_feature_at_a_time(model, x):
    found = model.spokes(x[:4], x)
    assert found.shape == (4, 3, model.classes)
    torch.testing.assert_close(found.sum(-1), torch.ones(4, 3))
    parts = model.contributions(x[:4], x)
    logits = parts[:, :, 2] + parts[:, :, -1]
    expected = torch.softmax(logits, -1) if model.classes > 2 else torch.sigmoid(logits)
    torch.testing.assert_close(found[:, 2, -expected.shape[-1] :], expected)


def test_save_and_load(model, x, tmp_path):
    model.save(tmp_path / "m")
    loaded = qkan.load(tmp_path / "m")
    assert type(loaded) is KAAM
    assert torch.equal(loaded(x), model(x))
    hidden = LogisticKAN(3, 3, hidden=(4, 2), seed=0)
    hidden.save(tmp_path / "hidden")
    loaded = KAN.load(tmp_path / "hidden")
    assert (type(loaded), loaded.width, loaded.classes) == (LogisticKAN, [3, 4, 2, 3], 3)
    assert torch.equal(loaded(x), hidden(x))


def test_pictures_are_returned_and_not_written(model, x, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figure = model.plot_dependence(1, row=x[0], neighbours=x[1:4], reference=x, name="age")
    axes = figure.axes[0]
    assert axes.get_xlabel() == "age"
    curves = [line for line in axes.lines if len(line.get_xdata()) == 101]
    assert len(curves) == model.width[-1]
    star = axes.collections[1].get_offsets()[0]
    expected = model.contributions(x[:1], x)[0, 0, 1]
    assert star.tolist() == pytest.approx([float(x[0, 1]), float(expected)], abs=1e-6)
    figure = model.plot_radar(x[0], neighbours=x[1:4], reference=x, names=["a", "b", "c"])
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["this row", "neighbours", "average"]
    expected = model.spokes(x[:1], x)[0, :, 1]
    assert lines[0].get_ydata()[:3].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert not list(tmp_path.iterdir())


def test_a_formula_of_the_logit(rng):
    x = torch.rand(300, 2, generator=rng) * 2 - 1
    labels = (torch.rand(300, generator=rng) < torch.sigmoid(3 * x[:, 0] ** 2 - x[:, 1])).long()
    model = KAAM(2, grid=3, seed=0)
    model.fit((x, labels), opt="LBFGS", steps=3, progress=False)
    report = model.auto_symbolic(functions=["x", "x^2"], r2_threshold=0, steps=2)
    (formula,) = report.model.symbolic_formula(["a", "b"], digits=None)
    assert {str(symbol) for symbol in formula.free_symbols} <= {"a", "b"}
    point = x[:1].double()
    value = formula.subs(dict(zip(sympy.symbols("a b", real=True), point[0].tolist(), strict=True)))
    assert float(value) == pytest.approx(float(report.model(x[:1]).detach()), abs=1e-4)


def test_class_weights_by_hand(rng):
    x = torch.randn(40, 3, generator=rng)
    labels = (torch.arange(40) < 10).long()
    pair = LogisticKAN(3, seed=0)
    weighted = pair.fit((x, labels), steps=1, class_weight="balanced", progress=False)["train_loss"][0]
    logits = LogisticKAN(3, seed=0)(x)[:, 0].detach()
    each = functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    assert weighted == pytest.approx(float((each[:10].mean() + each[10:].mean()) / 2), rel=1e-5)
    plain = LogisticKAN(3, seed=0).fit((x, labels), steps=1, progress=False)["train_loss"][0]
    assert plain == pytest.approx(float(each.mean()), rel=1e-5)
    several = LogisticKAN(3, 3, seed=0)
    labels = torch.arange(40) % 3
    loss = several.fit((x, labels), steps=1, class_weight="balanced", progress=False)["train_loss"][0]
    each = functional.cross_entropy(LogisticKAN(3, 3, seed=0)(x).detach(), labels, reduction="none")
    assert loss == pytest.approx(float(torch.stack([each[labels == c].mean() for c in range(3)]).mean()), rel=1e-5)


def test_on_real_data_it_is_no_worse_than_a_line():
    data = load_breast_cancer()
    x = (data.data - data.data[:400].mean(0)) / data.data[:400].std(0)
    model = KAAM(30, grid=3, grid_range=(-3, 3), seed=0)
    rows, labels = torch.as_tensor(x[:400], dtype=torch.float32), torch.as_tensor(data.target[:400])
    model.fit((rows, labels), steps=60, weight_decay=0.1, progress=False)
    found = model.predict_proba(x[400:])
    assert isinstance(found, np.ndarray)
    line = LogisticRegression().fit(x[:400], data.target[:400]).score(x[400:], data.target[400:])
    assert (found.argmax(1) == data.target[400:]).mean() > line - 0.04
    rows_near, _ = model.nearest(x[400:402])
    assert rows_near.shape == (2, 5)


def test_bad_input_is_one_sentence(x):
    model = MODELS["bspline"]()
    with pytest.raises(OptionError, match="contributions needs data"):
        model.contributions(x)
    with pytest.raises(ShapeError, match=r"rows of shape \(80, 2\) must be \(rows, 3\)"):
        model.contributions(x[:, :2], x)
    with pytest.raises(OptionError, match="feature=3 must be a whole number from 0 to 2"):
        model.shape_curve(3, x)
    with pytest.raises(OptionError, match="count=81 neighbours need a pool"):
        model.nearest(x, x, count=81)
    with pytest.raises(OptionError, match="3 to 10 features, not 2"):
        model.plot_radar(x[0], [0, 1], reference=x)
    with pytest.raises(OptionError, match="target=2 must be a class from 0 to 1"):
        model.plot_radar(x[0], reference=x, target=2)
    with pytest.raises(ShapeError, match="must be one-dimensional"):
        model.plot_radar(x, reference=x)
    with pytest.raises(OptionError, match="classes=1 must be"):
        KAAM(3, 1)
    with pytest.raises(OptionError, match="needs rows of all 2 classes"):
        model.fit((x, torch.zeros(80).long()), class_weight="balanced", progress=False)
    with pytest.raises(OptionError, match="class_weight='weighted' is not known"):
        model.fit((x, torch.zeros(80).long()), class_weight="weighted", progress=False)

"""Calibrators on overconfident probabilities, the bias of ECE, reliability by group, and selective prediction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import rankdata
from sklearn.isotonic import IsotonicRegression

from qkan.analysis import plots
from qkan.analysis.calibration import Isotonic, Temperature, VennAbers, calibration_error, reliability
from qkan.analysis.conformal import row_hashes
from qkan.analysis.metrics import expected_calibration_error
from qkan.analysis.selective import ABSTAIN, decide_by_set, predict_or_abstain, risk_coverage
from qkan.errors import LeakageError, OptionError, ShapeError


def draw(rows: int, seed: int, classes: int = 2, sharpness: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from calibrated probabilities, whose logits are then multiplied by ``sharpness``."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes))
    true = softmax(logits, axis=1)
    labels = (random.random((rows, 1)) > true.cumsum(1)).sum(1)
    return softmax(sharpness * logits, axis=1), labels


def rows_of(rows: int) -> np.ndarray:
    return np.arange(rows, dtype=float)[:, None]


def fitted(kind, rows: int = 2000, classes: int = 2):
    return kind().fit(*draw(rows, 0, classes), rows=rows_of(rows), trained=[])


@pytest.mark.parametrize("classes", [2, 4])
def test_temperature_finds_the_sharpness_and_leaves_the_ranking(classes):
    calibrator = fitted(Temperature, 5000, classes)
    assert calibrator.temperature == pytest.approx(3, rel=0.1)
    new, labels = draw(3000, 1, classes)
    found = calibrator.transform(new)
    np.testing.assert_array_equal(found.argmax(1), new.argmax(1))
    np.testing.assert_allclose(found.sum(1), 1)
    if classes == 2:
        np.testing.assert_array_equal(rankdata(found[:, 1]), rankdata(new[:, 1]))
    assert calibration_error(labels, found).p_value > 0.01 > calibration_error(labels, new).p_value


@pytest.mark.parametrize(("kind", "classes"), [(Isotonic, 2), (Isotonic, 4), (VennAbers, 2)])
def test_calibrators_lower_the_error(kind, classes):
    new, labels = draw(3000, 1, classes)
    found = fitted(kind, 5000, classes).transform(new)
    np.testing.assert_allclose(found.sum(1), 1)
    assert calibration_error(labels, new).value > 0.15
    assert calibration_error(labels, found).debiased < 0.03


def test_venn_abers_bounds_contain_the_isotonic_value():
    """Adding a row as negative lowers the isotonic fit and as positive raises it, at a score met in calibration."""
    probabilities, _ = draw(200, 0)
    isotonic, venn = fitted(Isotonic, 200), fitted(VennAbers, 200)
    low, high = venn.bounds(probabilities).T
    middle = isotonic.transform(probabilities)[:, 1]
    assert (low <= middle + 1e-9).all()
    assert (middle <= high + 1e-9).all()
    assert (low < high).all()
    single = venn.transform(probabilities)[:, 1]
    assert ((low <= single) & (single <= high)).all()
    wide = (high - low).mean()
    assert np.diff(fitted(VennAbers, 2000).bounds(probabilities), axis=1).mean() < wide / 2


def test_venn_abers_is_two_isotonic_fits():
    """The definition: the new row joins the calibration rows, once as negative and once as positive."""
    probabilities, labels = draw(80, 0)
    new, _ = draw(15, 1)
    found = fitted(VennAbers, 80).bounds(new)
    for row, score in enumerate(new[:, 1]):
        for label in (0, 1):
            fit = IsotonicRegression().fit(np.append(probabilities[:, 1], score), np.append(labels, label))
            assert found[row, label] == pytest.approx(fit.predict([score])[0], abs=1e-9)


def test_ece_of_a_perfect_model_is_its_bias():
    values = []
    for seed in range(40):
        probabilities, labels = draw(200, seed, sharpness=1.0)
        values.append(calibration_error(labels, probabilities, draws=100))
    probabilities, labels = draw(200, 39, sharpness=1.0)
    assert values[39].value == pytest.approx(expected_calibration_error(labels, probabilities))
    assert np.mean([one.value for one in values]) == pytest.approx(np.mean([one.expected for one in values]), rel=0.1)
    assert np.mean([one.value for one in values]) > 0.04
    assert np.mean([one.p_value < 0.05 for one in values]) < 0.15


def test_reliability_by_group():
    probabilities, labels = draw(4000, 0, sharpness=1.0)
    groups = np.resize(["f", "m"], 4000)
    probabilities[groups == "m"] = 0.5
    women, men = reliability(labels, probabilities, groups=groups)
    assert (women.name, men.name) == ("f", "m")
    assert men.rows.tolist() == [2000]
    assert men.predicted.tolist() == [0.5]
    assert men.observed[0] == labels[groups == "m"].mean()
    assert ((women.low <= women.predicted) & (women.predicted <= women.high)).mean() >= 0.8
    assert women.rows.sum() == 2000
    assert reliability(labels, probabilities, 0)[0].name == "class 0"
    with pytest.raises(OptionError, match="label=2"):
        reliability(labels, probabilities, 2)


def test_guards():
    probabilities, labels = draw(50, 0)
    for kind in (Temperature, Isotonic, VennAbers):
        with pytest.raises(LeakageError, match="1 of 50"):
            kind().fit(probabilities, labels, rows=rows_of(50), trained=row_hashes(rows_of(3)[2:]))
        with pytest.raises(OptionError, match="not fitted"):
            kind().transform(probabilities)
        with pytest.raises(ShapeError, match=r"must be \(rows, 2\)"):
            fitted(kind, 50).transform(np.ones((3, 3)) / 3)
    with pytest.raises(OptionError, match="two classes, not 3"):
        fitted(VennAbers, 50, 3)


# Selective prediction.


def test_risk_coverage_by_hand():
    confidence = np.array([0.9, 0.8, 0.8, 0.6])
    probabilities = np.stack([1 - confidence, confidence], 1)
    curve = risk_coverage(np.array([1, 0, 1, 0]), probabilities)
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.6]
    assert curve.coverage.tolist() == [0.25, 0.75, 1.0]
    assert curve.risk.tolist() == [0, 1 / 3, 0.5]
    assert curve.area == pytest.approx(0.5 / 3 + 0.25 * 0.5)


def test_risk_falls_with_coverage_if_confidence_is_right():
    """Errors all below some confidence: the curve is monotone. Confidence that says nothing: the curve is flat."""
    probabilities, labels = draw(5000, 0, sharpness=1.0)
    order = np.argsort(-probabilities.max(1))
    ideal = probabilities.argmax(1).copy()
    ideal[order[3000:]] = 1 - ideal[order[3000:]]
    assert (np.diff(risk_coverage(ideal, probabilities).risk) >= 0).all()
    curve = risk_coverage(labels, probabilities)
    tenths = np.interp(np.linspace(0.1, 1, 10), curve.coverage, curve.risk)
    assert (np.diff(tenths) > 0).all()
    blind = risk_coverage(labels, probabilities, np.random.default_rng(0).random(5000))
    assert blind.area == pytest.approx(blind.risk[-1], abs=0.02)
    assert curve.area < blind.area


def test_abstaining():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    assert predict_or_abstain(probabilities, 0.6).tolist() == [0, 1, ABSTAIN]
    assert decide_by_set(np.array([[1, 0], [1, 1], [0, 0]], dtype=bool)).tolist() == [0, ABSTAIN, ABSTAIN]
    with pytest.raises(OptionError, match=r"threshold=1\.5"):
        predict_or_abstain(probabilities, 1.5)
    with pytest.raises(ShapeError, match="do not fit"):
        risk_coverage(np.zeros(2), probabilities)


def test_pictures():
    probabilities, labels = draw(300, 0)
    figure = plots.reliability_curves(reliability(labels, probabilities, groups=np.resize(["f", "m"], 300)))
    shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert shown == ["f (150 rows)", "m (150 rows)"]
    *bars, _ = plots.reliability(labels, probabilities).axes[0].lines
    points = np.array([place.get_offsets()[0] for place in bars[0].axes.collections])
    ends = np.array([bar.get_ydata() for bar in bars])
    assert len(points) == len(bars)
    assert (ends[:, 0] < points[:, 1]).all()
    assert (points[:, 1] < ends[:, 1] + 1e-12).all()
    curve = risk_coverage(labels, probabilities)
    [line] = plots.risk_coverage(curve).axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), np.stack([curve.coverage, curve.risk], 1))

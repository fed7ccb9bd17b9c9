"""Pictures of many models: what they show, and that names do not run into each other."""

import io
import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from qkan.analysis.bayesian import Posterior
from qkan.analysis.comparison_plots import cliques, critical_difference, posteriors, ranking
from qkan.analysis.statistics import Interval, friedman, pairwise
from qkan.errors import ShapeError

KINDS = ("classical", "quantum network", "hybrid", "KACQ", "ablation", "control")


def many(count=50, folds=20):
    """Scores of models that share the luck of the fold and differ in strength, and their groups."""
    random = np.random.default_rng(0)
    luck = random.normal(0, 0.03, folds)
    strengths = np.sort(random.beta(6, 2, count))
    scores = {f"a-model-with-{i}": s / 5 + 0.6 + luck + random.normal(0, 0.01, folds) for i, s in enumerate(strengths)}
    return scores, {name: KINDS[i % 6] for i, name in enumerate(scores)}


def names_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def assert_legible(figure: Figure):
    """Names neither overlap each other nor leave the page."""
    figure.savefig(io.BytesIO(), format="png", dpi=100)
    page = figure.bbox
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].get_yticklabels()), key=lambda box: box.y0)
    for box in boxes:
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
    for below, above in itertools.pairwise(boxes):
        assert below.y1 <= above.y0 + 0.5


def test_ranking_of_fifty_models():
    scores, groups = many()
    intervals = {name: Interval(own.mean(), own.min(), own.max()) for name, own in scores.items()}
    figure = ranking(intervals, groups, "accuracy", baseline="a-model-with-7", title="Costs in $ and $")
    assert names_of(figure) == sorted(scores, key=lambda name: -scores[name].mean())
    assert_legible(figure)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*KINDS, "a-model-with-7, mean"]
    losses = ranking(intervals, groups, "log loss", larger=False)
    assert names_of(losses) == names_of(figure)[::-1]


def test_critical_difference_of_fifty_models():
    scores, groups = many()
    figure = critical_difference(scores, groups, p_values=pairwise(scores, 0.2))
    ranks = friedman(scores).ranks
    assert names_of(figure) == sorted(ranks, key=lambda name: ranks[name])
    assert_legible(figure)
    assert max(figure.axes[0].get_xticks()) <= len(scores)


def test_bars_join_what_nemenyi_does_not_tell_apart():
    scores = {"a": [0.9] * 30, "b": [0.8, 1.0] * 15, "c": [0.1] * 30}
    figure = critical_difference(scores, dict.fromkeys(scores, "classical"))
    dark = [line for line in figure.axes[0].lines if line.get_color() == "0.2"]
    assert [list(line.get_ydata()) for line in dark] == [[-0.25, 1.25]]
    assert "0.61" in figure.legends[0].get_texts()[-1].get_text()  # 2.343 √(3·4 / (6·30))


def test_cliques():
    alike = np.eye(5, dtype=bool)
    for i, j in ((0, 1), (1, 2), (0, 2), (2, 3)):
        alike[i, j] = alike[j, i] = True
    assert cliques(alike) == [(0, 2), (2, 3)]
    assert cliques(np.eye(3, dtype=bool)) == []
    assert cliques(np.ones((4, 4), dtype=bool)) == [(0, 3)]


def test_posteriors():
    found = {"x": Posterior(0.7, 0.2, 0.1), "y": Posterior(0.1, 0.1, 0.8), "z": Posterior(0.3, 0.6, 0.1)}
    figure = posteriors(found, "logistic_regression", 0.01)
    assert names_of(figure) == ["y", "z", "x"]  # by better less worse
    widths = np.array([bar.get_width() for bar in figure.axes[0].patches]).reshape(3, 3)
    np.testing.assert_allclose(widths.sum(0), 1)
    np.testing.assert_allclose(widths[0], [0.1, 0.3, 0.7])
    assert_legible(figure)


def test_mistakes():
    scores, groups = many(3)
    with pytest.raises(ShapeError, match=r"shape \(2, 2\) do not fit 3 models"):
        critical_difference(scores, groups, p_values=np.ones((2, 2)))

"""What the pictures of SHAP values show: numbers read back from the figures."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from qkan.analysis import explain_plots, plots
from qkan.analysis.explain import Explanation
from qkan.errors import OptionError
from qkan.report import png


@pytest.fixture
def explanation() -> Explanation:
    random = np.random.default_rng(0)
    values = random.normal(size=(30, 5, 1)) * np.array([1, 4, 2, 0.5, 0.1])[:, None]
    rows = pd.DataFrame(random.normal(size=(30, 5)), columns=["a", "b", "US$ {x}", "text", "e"])
    rows["text"] = pd.Series(random.choice(["low", "$\\high$"], 30), dtype=object)
    rows.loc[0, "text"], rows.loc[1, "b"] = np.nan, np.nan
    return Explanation(np.concatenate([-values, values], 2), np.array([0.6, 0.4]), rows, "exact", 0.0)


@pytest.fixture(autouse=True)
def _nothing_global():
    before, state = plt.get_fignums(), np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    assert plt.get_fignums() == before
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_waterfall_leads_from_base_to_output(explanation):
    figure = explain_plots.waterfall(explanation, 0, 1, "ill", count=3)
    bars = figure.axes[0].patches
    assert len(bars) == 4
    own = explanation.values[0, :, 1]
    assert bars[-1].get_x() == pytest.approx(0.4)
    assert bars[0].get_x() + bars[0].get_width() == pytest.approx(0.4 + own.sum())
    assert sum(bar.get_width() for bar in bars) == pytest.approx(own.sum())
    sizes = [abs(bar.get_width()) for bar in bars[:3]]
    assert sizes == sorted(sizes, reverse=True)
    for below, above in zip(bars[1:], bars, strict=False):
        assert below.get_x() + below.get_width() == pytest.approx(above.get_x())
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels[-1] == "2 others"
    assert len(png(figure)) > 1000


def test_dependence_shows_every_row_and_sets_missing_values_apart(explanation):
    figure = explain_plots.dependence(explanation, ["b", "text", "US$ {x}"], 1, "ill")
    numeric, text, money, empty = figure.axes
    present, missing = (collection.get_offsets() for collection in numeric.collections)
    assert (len(present), len(missing)) == (29, 1)
    assert missing[0, 0] < present[:, 0].min()
    assert missing[0, 1] == pytest.approx(explanation.values[1, 1, 1])
    assert len(text.collections[0].get_offsets()) == 30
    assert [tick.get_text() for tick in text.get_xticklabels()] == ["\\$\\high\\$", "low", "missing"]
    assert money.get_title() == "US\\$ {x}"
    assert not empty.axison
    assert len(png(figure)) > 1000
    with pytest.raises(OptionError, match="must name some of a, b"):
        explain_plots.dependence(explanation, ["zzz"], 1, "ill")


def test_decision_lines_end_at_the_outputs(explanation):
    figure = explain_plots.decision(explanation, 1, "ill", marked=[2, 3], names=["row 7", "row 9"], count=3)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 5]  # base, others, three features
    assert len(lines) == 30
    np.testing.assert_allclose([line.get_xdata()[0] for line in lines], 0.4)
    ends = sorted(line.get_xdata()[-1] for line in lines)
    np.testing.assert_allclose(ends, sorted(0.4 + explanation.values[:, :, 1].sum(1)))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["row 7", "row 9"]
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert ticks[0] == "2 others"
    assert ticks[-1] == "b"
    assert len(png(figure)) > 1000


def test_beeswarm_and_importance(explanation):
    swarm = plots.beeswarm(explanation, 1, "ill")
    assert swarm.axes[0].get_xlabel() == "SHAP value, probability of ill"
    assert png(swarm) == png(plots.beeswarm(explanation, 1, "ill"))
    bars = plots.importance(explanation, 3)
    assert bars.axes[0].patches[-1].get_width() == pytest.approx(explanation.importance.max())
    assert len(bars.axes[0].collections) + len(bars.axes[0].lines) > 0  # the standard errors
    plots.importance(explanation.take([0]), 3)  # one row has none


def test_take(explanation):
    some = explanation.take([3, 1])
    np.testing.assert_array_equal(some.values, explanation.values[[3, 1]])
    assert some.rows["a"].tolist() == explanation.rows["a"].iloc[[3, 1]].tolist()

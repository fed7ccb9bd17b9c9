"""The QKAN-LSTM experiment on a small plan."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qkan.data import load_series
from qkan.errors import OptionError
from qkan.experiments import qkan_lstm, qkan_lstm_report
from qkan.experiments.forecasting import Protocol
from qkan.experiments.qkan_lstm import EQUAL, Entry, Outcome, Plan

PLAN = Plan(2, Protocol(epochs=2, patience=2), {"lstm": (1, EQUAL), "qkan-lstm": (1, EQUAL)}, ("damped_pendulum",))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return qkan_lstm.run(tmp_path_factory.mktemp("runs"), PLAN, progress=False)


def test_every_run_is_there(outcome):
    assert [(e.model, e.hidden, e.trainable) for e in outcome.entries] == [
        ("lstm", 1, 18),
        ("lstm", 5, 166),
        ("qkan-lstm", 1, 54),
        ("qkan-lstm", 5, 746),
    ]
    for entry in outcome.entries:
        assert len(entry.runs) == 2
        assert entry.values("mse")[0] != entry.values("mse")[1]
    assert outcome.matched("damped_pendulum", "qkan-lstm").trainable == 54
    assert set(outcome.baselines["damped_pendulum"]) == {"persistence", "AR(8)"}


def test_same_seed_same_numbers(outcome, tmp_path):
    again = qkan_lstm.run(tmp_path, replace(PLAN, sizes={"lstm": (EQUAL,)}), progress=False)
    assert again.entries[0].values("mse") == outcome.find("damped_pendulum", "lstm", EQUAL).values("mse")


def test_an_interrupted_experiment_goes_on(tmp_path, monkeypatch):
    plan = replace(PLAN, sizes={"lstm": (EQUAL,)})
    called = []
    original = qkan_lstm.forecasting.run

    def interrupted(*arguments):
        called.append(arguments)
        if len(called) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(qkan_lstm.forecasting, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        qkan_lstm.run(tmp_path, plan, progress=False)
    qkan_lstm.run(tmp_path, plan, progress=False)
    assert len(called) == 3


def test_scores_never_see_the_test_part_in_training(monkeypatch):
    """Other test values change the scores, and nothing else."""
    windows = qkan_lstm.windows_of("damped_pendulum", 8)
    series = load_series("damped_pendulum")
    values = series.values[:, :1].copy()
    values[windows.test.start :] *= -3
    changed = qkan_lstm.make_windows(replace(series, values=values, channels=series.channels[:1]), 8)
    protocol = Protocol(epochs=2, patience=2)
    first, second = (qkan_lstm.forecasting.run("lstm", 2, 0, part, protocol) for part in (windows, changed))
    assert first["validation_mse"] == second["validation_mse"]
    assert first["mse"] != second["mse"]


def test_the_report_says_what_was_found(outcome, tmp_path):
    paths = qkan_lstm_report.save(outcome, tmp_path, "qkan reproduce qkan-lstm")
    assert [path.name for path in paths] == ["qkan-lstm.json", "qkan-lstm.md", "qkan-lstm.png"]
    text = paths[1].read_text()
    assert "Made by `qkan reproduce qkan-lstm`" in text
    assert re.search(r"\| QKAN-LSTM \| 5 \| 746 \| 0 \| \d\.\d\de-0\d ± ", text)
    assert "second-hand" in text
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    content = json.loads(paths[0].read_text())
    assert content["entries"][0]["runs"][0]["mse"] == outcome.entries[0].values("mse")[0]
    assert len(content["comparisons"]) == 2


def made(errors):
    """An outcome with given mean errors by (model, hidden, parameters)."""
    entries = [
        Entry("damped_pendulum", model, hidden, size, 0, [{"mse": error}, {"mse": error * 1.01}])
        for (model, hidden, size), error in errors.items()
    ]
    sizes = {"lstm": (1, EQUAL, 16), "qkan-lstm": (1, EQUAL), "hqkan-lstm": (EQUAL,)}
    sizes = {model: own for model, own in sizes.items() if any(entry.model == model for entry in entries)}
    baselines = {"damped_pendulum": {"persistence": {"trainable": 0, "mse": 1e-2}}}
    return Outcome(replace(PLAN, sizes=sizes), entries, baselines)


def test_what_the_claim_can_mean():
    """A saving is stated where a smaller network is at least as good as the smallest LSTM of its error."""
    found = made(
        {
            ("lstm", 1, 18): 1e-1,
            ("lstm", 5, 166): 1e-2,
            ("lstm", 16, 1233): 1e-3,
            ("qkan-lstm", 1, 54): 2e-3,
            ("qkan-lstm", 5, 746): 5e-4,
            ("hqkan-lstm", 5, 164): 2e-2,
        }
    )
    text = qkan_lstm_report.claim(found)
    assert "the LSTM has 166 trainable parameters, QKAN-LSTM has 746 (349 % more)" in text
    assert "QKAN-LSTM (1; 54): LSTM (16; 1,233) is as good, 96 % fewer." in text
    assert "QKAN-LSTM (5; 746): no LSTM tried is as good." in text
    assert "HQKAN-LSTM (5; 164): LSTM (5; 166) is as good, 1 % fewer." in text
    assert "A saving of 79 % is reached by QKAN-LSTM (1; 54)." in text
    assert "a saving of 79 % at no larger error does not occur" in text
    assert "persistence with 0 parameters, has an error of 1.0e-02, above that of the best network" in text


def test_a_saving_beside_a_needlessly_large_lstm_is_told_apart():
    found = made({("lstm", 5, 166): 1e-3, ("lstm", 16, 1233): 2e-3, ("hqkan-lstm", 5, 164): 1e-3})
    text = qkan_lstm_report.claim(found)
    assert "A saving of 79 % is not reached." in text
    assert "HQKAN-LSTM (5; 164) beside LSTM (16; 1,233), 87 % fewer." in text


def test_comparisons_find_a_difference_and_none(outcome):
    errors = {("lstm", EQUAL, 166): 1.0, ("qkan-lstm", EQUAL, 746): 2.0}
    found = made({**errors, ("qkan-lstm", 1, 54): 1.0})
    by_setting = {one.setting: one for one in qkan_lstm.compare(found)}
    assert by_setting["equal hidden size"].difference[0] == pytest.approx(1.005)
    assert by_setting["equal hidden size"].p < 0.05
    np.testing.assert_allclose(by_setting["equal parameters"].difference, 0)
    assert by_setting["equal parameters"].p == 1


def test_mistakes(tmp_path):
    with pytest.raises(OptionError, match="must be run at hidden size 5"):
        qkan_lstm.run(tmp_path, replace(PLAN, sizes={"lstm": (2,)}), progress=False)
    with pytest.raises(OptionError, match="seeds=0"):
        qkan_lstm.run(tmp_path, replace(PLAN, seeds=0), progress=False)


def test_the_readme_says_what_the_committed_results_say():
    root = Path(__file__).resolve().parents[2]
    page = " ".join((root / "README.md").read_text().split())
    found = json.loads((root / "experiments" / "results" / "qkan-lstm.json").read_text())
    entries = [Entry(**entry) for entry in found["entries"]]
    assert found["seeds"] == 5
    assert "No difference from the LSTM survives correction" in page
    assert min(one["p"] for one in found["comparisons"]) > 0.05
    assert "needs more parameters than the smallest LSTM of its error on all three series" in page
    for series in qkan_lstm.SERIES:
        lstms = sorted((e for e in entries if (e.series, e.model) == (series, "lstm")), key=lambda e: e.trainable)
        for entry in (e for e in entries if (e.series, e.model) == (series, "qkan-lstm")):
            rival = next(lstm for lstm in lstms if lstm.mean("mse") <= entry.mean("mse"))
            assert entry.trainable > rival.trainable
    assert "better than every network by five orders of magnitude or more" in page
    for series in qkan_lstm.SERIES[:2]:
        best = min(entry.mean("mse") for entry in entries if entry.series == series)
        assert best > 1e5 * min(score["mse"] for score in found["baselines"][series].values())

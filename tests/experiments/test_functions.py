"""The function-fitting experiment on a small plan, and its text on made results."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qkan.counting import count, row_flops
from qkan.data import function_suites
from qkan.errors import NonFiniteError, OptionError
from qkan.experiments import functions, functions_report
from qkan.experiments.functions import BASELINE, KINDS, NODES, REFERENCE, SETTINGS, Entry, Outcome, Plan, Protocol

PLAN = Plan(2, Protocol(60, 20, 30, steps=1, patience=1), ("I.6.2", "jv"), ("bspline", "daruan-fixed", "mlp"))
RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return functions.run(tmp_path_factory.mktemp("runs"), PLAN, progress=False)


def test_every_run_is_there(outcome):
    assert len(outcome.entries) == 2 * 2 * 3
    for entry in outcome.entries:
        assert len({run["rmse"] for run in entry.runs}) == 2
        model = KINDS[entry.kind].build(2, entry.width, 0)
        assert (entry.parameters, entry.flops) == (count(model).trainable, row_flops(model))
    same, equal = (outcome.of(setting, REFERENCE) for setting in SETTINGS)
    assert [e.runs for e in same] == [e.runs for e in equal]
    assert same[0].width == NODES


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_other_width_is_nearer(setting, kind):
    measure, width = SETTINGS[setting], functions.width_of(kind, 2, setting)
    target = measure(KINDS[REFERENCE].build(2, NODES, 0))
    distance = {w: abs(measure(KINDS[kind].build(2, w, 0)) - target) for w in (width - 1, width, width + 1) if w}
    assert distance[width] == min(distance.values())
    assert distance[width] <= 0.3 * target


def test_same_seed_same_numbers_and_no_second_run(outcome, tmp_path, monkeypatch):
    plan = replace(PLAN, functions=("jv",), kinds=("daruan-fixed", "mlp"))
    again = functions.run(tmp_path, plan, progress=False)
    expected = [entry for entry in outcome.entries if entry.function == "jv" and entry.kind in plan.kinds]
    for one, other in zip(again.entries, expected, strict=True):
        assert one.logs() == other.logs()
    monkeypatch.setattr(functions.grid, "_call", None)  # whoever computes anything fails
    assert functions.run(tmp_path, plan, progress=False) == again


def test_scores_never_see_the_test_rows_in_training(monkeypatch):
    """Other test labels change the test error, and nothing else."""
    arguments = "jv", "mlp", 4, 0, vars(PLAN.protocol)
    first = functions.one_run(*arguments)
    original = function_suites.function_dataset

    def changed(*given):
        data = original(*given)
        return data | {"test_label": data["test_label"] + 1}

    monkeypatch.setattr(functions, "function_dataset", changed)
    second = functions.one_run(*arguments)
    assert {key: first[key] for key in ("validation_rmse", "steps")} == {
        key: second[key] for key in ("validation_rmse", "steps")
    }
    assert second["rmse"] > first["rmse"]


def test_a_run_that_diverges_is_kept_as_such(monkeypatch):
    def failing(*_, **__):
        raise NonFiniteError("the loss became nan")

    monkeypatch.setattr(functions.MLP, "fit", failing)
    found = functions.one_run("jv", "mlp", 4, 0, vars(PLAN.protocol))
    assert found["diverged"] is True
    assert 0 < found["rmse"] < 100


def made(errors, setting_factor=1.0):
    """An outcome with given errors by kind, function by function; seeds differ by one per cent."""
    entries = [
        Entry(setting, name, kind, 5, 100, 1000, _runs(own[place] * factor))
        for setting, factor in zip(SETTINGS, (1.0, setting_factor), strict=True)
        for kind, own in errors.items()
        for place, name in enumerate(list(function_suites.FORMULAS)[: len(own)])
    ]
    names = tuple(function_suites.FORMULAS)[: len(next(iter(errors.values())))]
    return Outcome(replace(PLAN, functions=names, kinds=tuple(errors)), entries)


def _runs(error):
    common = {"steps": 1, "diverged": False, "seconds": 0.5, "validation_rmse": error}
    return [{"rmse": error / 1.01, **common}, {"rmse": error * 1.01, **common}]


ERRORS = {
    "fourier": [0.1, 0.2, 0.11, 0.23, 0.1],
    "daruan-fixed": [0.21, 0.39, 0.22, 0.46, 0.2],
    BASELINE: [0.1, 0.21, 0.11, 0.24, 0.1],
}


def test_ratios_ranks_and_corrected_p_values():
    found = functions.compare(made(ERRORS), "parameters")
    ratio, p = found.ratio("daruan-fixed", "fourier")
    back, same = found.ratio("fourier", "daruan-fixed")
    assert ratio.mean == pytest.approx(2.0, rel=0.02)
    assert back.mean == pytest.approx(1 / ratio.mean)
    assert (back.low, back.high) == pytest.approx((1 / ratio.high, 1 / ratio.low))
    assert p == same < 0.001
    assert found.ratio("fourier", BASELINE)[1] > 0.05
    assert found.ranking.ranks["daruan-fixed"] == 3
    uncorrected = found.tests["fourier", "daruan-fixed"].p
    assert p == pytest.approx(3 * uncorrected) or p == pytest.approx(2 * uncorrected)


def test_sentences_say_who_is_best_and_what_cannot_be_told_apart():
    text = functions_report.sentences(made(ERRORS))
    assert "Over 5 functions at equal parameters, Fourier KAN has the smallest error (1.4e-01" in text
    assert "it cannot be told apart from MLP (SiLU)." in text
    assert "DARUAN's errors are, by encoding, fixed 2.0" in text
    apart = functions_report.sentences(made({"fourier": [0.1, 0.2, 0.1], BASELINE: [0.5, 1.0, 0.51]}))
    assert "it is told apart from every other model." in apart
    assert "DARUAN" not in apart


def test_the_report_says_what_was_found(outcome, tmp_path):
    page, numbers, picture = functions_report.save(outcome, tmp_path, "qkan reproduce functions")
    text = page.read_text()
    assert "Made by `qkan reproduce functions`." in text
    assert "60 training, 20 validation and 30 test rows" in text
    for setting in SETTINGS:
        assert f"## At equal {setting}" in text
        assert f"### Pairs at equal {setting}" in text
    assert "| J_ν(x) | nu [0, 2], x [0, 10] |" in text
    assert text.count("**") == 2 * 2 * 2  # the smallest error of two functions in two settings
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert functions_report.from_json(json.loads(numbers.read_text())) == outcome


def test_one_function_has_no_tests(tmp_path):
    alone = made({kind: own[:1] for kind, own in ERRORS.items()})
    text = functions_report.save(alone, tmp_path, "qkan reproduce functions")[0].read_text()
    assert "Pairs" not in text
    assert "Friedman" not in text


def test_mistakes(tmp_path):
    with pytest.raises(OptionError, match="model='cnn' is not known"):
        functions.run(tmp_path, replace(PLAN, kinds=("mlp", "cnn")), progress=False)
    with pytest.raises(OptionError, match="'mlp', has nothing to be compared with"):
        functions.run(tmp_path, replace(PLAN, kinds=("mlp",)), progress=False)
    with pytest.raises(OptionError, match=r"function='I\.1' is not known"):
        functions.run(tmp_path, replace(PLAN, functions=("I.1",)), progress=False)
    with pytest.raises(OptionError, match="seeds=0"):
        functions.run(tmp_path, replace(PLAN, seeds=0), progress=False)


def test_the_committed_text_and_the_readme_say_what_the_committed_numbers_say():
    content = json.loads((RESULTS / "functions.json").read_text())
    found = functions_report.from_json(content)
    assert found.plan == Plan()
    compared = {setting: functions.compare(found, setting) for setting in SETTINGS}
    page = (RESULTS / "functions.md").read_text()
    assert page == functions_report.markdown(found, compared, content["command"], "functions.png")
    said = functions_report.sentences(found, compared)
    assert said in " ".join((RESULTS.parents[1] / "README.md").read_text().split())

"""The heart-disease report, on real folds of small models and on scores made up to have one answer."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from qkan.analysis.metrics import METRICS, classification_metrics
from qkan.analysis.statistics import corrected_interval, corrected_paired_test, holm
from qkan.experiments import kacq_heart_models, kacq_heart_report, kacq_heart_tables
from qkan.experiments.kacq_heart_comparison import best, by_fold, compare
from qkan.experiments.kacq_heart_published import PUBLISHED, accuracy_interval
from qkan.experiments.kacq_heart_results import Entry, Outcome, Table

#: Small models under the names and groups of the registry; the networks themselves are tested elsewhere.
STAND_INS = {
    "logistic_regression": ("classical", make_pipeline(StandardScaler(), LogisticRegression())),
    "lda": ("classical", LinearDiscriminantAnalysis()),
    "kacq-1": ("KACQ", GaussianNB()),
    "kacq-mlp": ("ablation", DecisionTreeClassifier(max_depth=1, random_state=0)),
}
SITES = ("cleveland", "hungarian", "switzerland", "va")
RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results" / "kacq-heart.json"


def measured(name: str, folds, names: list[str]) -> Table:
    """A table of the stand-ins on 200 rows and 4 features of the breast-cancer data."""
    data = load_breast_cancer()
    x, y = data.data[:200, :4], data.target[:200]
    entries = []
    for model, (group, classifier) in STAND_INS.items():
        runs = []
        for fold, (train, test) in zip(names, folds, strict=True):
            probabilities = classifier.fit(x[train], y[train]).predict_proba(x[test])
            costs = {"parameters": 5 if group == "KACQ" else None, "seconds": 0.25, "epochs": None}
            scores = classification_metrics(y[test], probabilities)
            runs.append({"fold": fold, **costs, "test_rows": len(test), **scores})
        entries.append(Entry(model, group, runs))
    return Table(name, f"{name}, the folds", len(folds[0][1]) / 200, 200, entries)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    rows, labels = np.zeros((200, 1)), load_breast_cancer().target[:200]
    ten = list(RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0).split(rows, labels))
    four = list(RepeatedStratifiedKFold(n_splits=4, n_repeats=1, random_state=1).split(rows, labels))
    tables = [measured("heart", ten, [str(i) for i in range(10)]), measured("heart-sites", four, list(SITES))]
    return Outcome([*tables, measured("published", four[:1], ["0"])], {"seed": 0, "folds": 5})


@pytest.fixture(scope="module")
def report(outcome, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return {path.name: path for path in kacq_heart_report.save(outcome, folder, "qkan reproduce kacq-heart")}


def cells(text: str, model: str, section: str) -> list[str]:
    """The first row of a model after a heading."""
    lines = text[text.index(section) :].splitlines()
    return next(line for line in lines if line.startswith(f"| {model} |")).strip("| ").split(" | ")


def test_files(report):
    pictures = [f"kacq-heart-heart-{kind}.png" for kind in ("posterior", "ranking", "ranks")]
    assert sorted(report) == [*pictures, "kacq-heart.json", "kacq-heart.md"]
    text = report["kacq-heart.md"].read_text()
    for picture in pictures:
        assert report[picture].read_bytes().startswith(b"\x89PNG")
        assert f"]({picture})" in text
    assert "Made by `qkan reproduce kacq-heart`." in text
    assert '"folds": 5' in text


def test_scores_of_every_fold_are_kept(outcome, report):
    content = json.loads(report["kacq-heart.json"].read_text())
    again = kacq_heart_report.from_json(content)
    assert again.settings == outcome.settings
    for kept, table in zip(again.tables, outcome.tables, strict=True):
        assert (kept.name, kept.title, kept.rows) == (table.name, table.title, table.rows)
        for one, other in zip(kept.entries, table.entries, strict=True):
            assert (one.model, one.group) == (other.model, other.group)
            assert [run["fold"] for run in one.runs] == [run["fold"] for run in other.runs]
            for key in METRICS:
                np.testing.assert_allclose(
                    one.values(key), other.values(key), rtol=5e-5
                )  # half a unit of the fifth digit
    assert kacq_heart_report.from_json(kacq_heart_report.to_json(again, "")) == again
    assert {"torch", "catboost"} <= set(content["versions"])


def test_every_metric_has_its_interval(outcome, report):
    text, table = report["kacq-heart.md"].read_text(), outcome.find("heart")
    row = cells(text, "kacq-1", "### Scores")
    first, second = text[text.index("### Scores") :].split("\n\n")[1:3]
    shown = dict(zip(first.splitlines()[0].strip("| ").split(" | "), row, strict=True))
    other = next(line for line in second.splitlines() if line.startswith("| kacq-1 |")).strip("| ").split(" | ")
    shown |= dict(zip(second.splitlines()[0].strip("| ").split(" | "), other, strict=True))
    for key, (label, _) in METRICS.items():
        found = corrected_interval(table.find("kacq-1").values(key), table.test_share)
        assert shown[label] == f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
    assert shown["parameters"] == "5"
    assert shown["seconds"] == "0.25"


def test_comparisons_with_the_baseline_named_beforehand(outcome, report):
    table = outcome.find("heart")
    baseline = table.find("logistic_regression").values("accuracy")
    others = [entry for entry in table.entries if entry.model != "logistic_regression"]
    tests = {entry.model: corrected_paired_test(entry.values("accuracy"), baseline, 0.2) for entry in others}
    by_holm = holm({model: test.p for model, test in tests.items()})
    found = {one.entry.model: one for one in compare(table, table.find("logistic_regression"), table.entries)}
    assert set(found) == set(tests)
    for model, one in found.items():
        assert one.test == tests[model]
        assert one.holm == by_holm[model]
        assert one.bonferroni == pytest.approx(min(1, 3 * tests[model].p))
        assert one.bonferroni >= one.holm >= one.test.p
    assert tests["kacq-mlp"].p < 0.05  # a tree with one split is worse, and is found to be
    text = report["kacq-heart.md"].read_text()
    row = cells(text, "kacq-mlp", "### Beside logistic_regression, named beforehand")
    test = tests["kacq-mlp"]
    assert row[1] == f"{test.mean:+.3f} [{test.low:+.3f}, {test.high:+.3f}]"


def test_sites_have_a_column_each(outcome, report):
    text, table = report["kacq-heart.md"].read_text(), outcome.find("heart-sites")
    header = next(line for line in text.splitlines() if "| switzerland |" in line).strip("| ").split(" | ")
    row = dict(zip(header, cells(text, "lda", "## heart-sites"), strict=True))
    runs = table.find("lda").runs
    for run in runs:
        low, high = accuracy_interval(run["accuracy"], 50)
        assert row[run["fold"]] == f"{run['accuracy']:.3f} [{low:.3f}, {high:.3f}] / {run['roc_auc']:.3f}"
    assert row["mean accuracy"] == f"{np.mean([run['accuracy'] for run in runs]):.3f}"
    probabilities = [float(part) for part in row["signed rank"].split(" / ")]
    assert sum(probabilities) == pytest.approx(1, abs=0.011)


def test_the_leaking_file_is_called_so(report):
    text = report["kacq-heart.md"].read_text()
    assert "**This file reveals its label" in text
    assert "published notebooks" in text
    assert "Table" not in text
    row = cells(text, "lda", "## published")
    assert row[-3:] == ["0.848 [0.788, 0.896]", "0.924", "184"]


def test_the_published_protocol_alone(outcome, tmp_path):
    """A run of the leaking file alone finds nothing, and draws nothing."""
    paths = kacq_heart_report.save(Outcome([outcome.find("published")], {}), tmp_path, "qkan", "kacq-heart-published")
    assert [path.name for path in paths] == ["kacq-heart-published.md", "kacq-heart-published.json"]
    assert "## What was found" not in paths[0].read_text()
    assert "**This file reveals its label" in paths[0].read_text()


def test_published_intervals():
    """254 of 276 rows, by the quantiles of the beta distribution."""
    from scipy.stats import beta

    assert PUBLISHED["kacq-1"].interval == pytest.approx((beta.ppf(0.025, 254, 23), beta.ppf(0.975, 255, 22)), abs=1e-9)


def made(accuracies, name="heart"):
    """A table with given mean accuracies, and folds that share their luck; small differences from fold to fold."""
    luck = np.random.default_rng(0).normal(0, 0.02, 10)
    entries = []
    for i, ((model, group), mean) in enumerate(accuracies.items()):
        own = mean + luck + 0.002 * np.cos(np.arange(10) * (i + 1))
        runs = [
            {"fold": str(f), "parameters": None, "seconds": 1.0, "epochs": None}
            | dict.fromkeys(METRICS, float(score))
            | {"roc_auc": float(score) + 0.05}
            for f, score in enumerate(own)
        ]
        entries.append(Entry(model, group, runs))
    return Table(name, "Four sites", 0.2, 920, entries)


CLASSICAL = {("logistic_regression", "classical"): 0.80, ("random_forest", "classical"): 0.81}


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [
        (0.85, "is more accurate than the best of 2 classical models, `random_forest`"),
        (0.81, "cannot be told apart in accuracy from the best of 2"),
        (0.75, "is less accurate than the best of 2"),
    ],
)
def test_the_sentence_follows_the_interval(accuracy, said):
    table = made({**CLASSICAL, ("kacq-1", "KACQ"): 0.7, ("kacq-2", "KACQ"): accuracy})
    text = kacq_heart_report.sentences(Outcome([table], {}))
    assert text.startswith("On the four heart-disease sites the best of 2 KACQ models, `kacq-2` (accuracy 0.")
    assert said in text
    assert text.count("[") == 6  # nothing without its interval
    both = Outcome([table, made({**CLASSICAL, ("kacq-1", "KACQ"): 0.6}, "cleveland")], {})
    assert kacq_heart_report.sentences(both).startswith(text + " On Cleveland alone the best of 1")
    assert "On Cleveland alone the best of 1 KACQ models" not in text


def test_nothing_is_said_of_what_was_not_run():
    assert kacq_heart_report.sentences(Outcome([made(CLASSICAL)], {})) == ""
    assert kacq_heart_tables.bars(Outcome([made(CLASSICAL, "breast_cancer")], {})) == ""


def test_the_bar():
    table = made({**CLASSICAL, ("kacq-1", "KACQ"): 0.75, ("kacq-2", "KACQ"): 0.86})
    rows = [line.strip("| ").split(" | ") for line in kacq_heart_tables.bars(Outcome([table], {})).splitlines()[2:]]
    assert [(row[1], row[2], row[3], row[5]) for row in rows] == [
        ("Accuracy", "0.810 (random_forest)", "kacq-1", "no"),
        ("Accuracy", "0.810 (random_forest)", "kacq-2", "yes"),
        ("ROC-AUC", "0.892 (logistic_regression)", "kacq-1", "no"),
        ("ROC-AUC", "0.892 (logistic_regression)", "kacq-2", "yes"),
    ]
    assert [row[7] for row in rows] == ["worse", "better", "worse", "better"]


def test_which_parts_help():
    changed = {("kacq-mlp", "ablation"): 0.75, ("kacq-random", "control"): 0.80, ("kacq-no-dropout", "ablation"): 0.83}
    table = made({("kacq-1", "KACQ"): 0.80, **changed})
    text = kacq_heart_tables.ablations(table)
    assert "Of 3 changes to kacq-1" in text
    assert "lower for kacq-mlp and higher for kacq-no-dropout;" in text
    assert "| kacq-random | control | random circuits that are not trained |" in text
    assert kacq_heart_tables.ablations(made(CLASSICAL)) == ""


def test_names_of_changes_and_published_models_are_those_of_the_registry():
    """They are looked up by name, so a name that no model has would show nothing and say nothing."""
    changed = {name for name, model in kacq_heart_models.MODELS.items() if model.group in ("ablation", "control")}
    assert set(kacq_heart_tables.CHANGES) == changed
    assert set(PUBLISHED) <= {name for name, model in kacq_heart_models.MODELS.items() if model.published}


def test_best_and_folds():
    table = made({**CLASSICAL, ("kacq-1", "KACQ"): 0.8})
    assert best(table, "classical").model == "random_forest"
    assert best(table, "classical", "log_loss").model == "logistic_regression"
    assert best(table, "hybrid") is None
    entry = Entry("x", "KACQ", [{"fold": f, "accuracy": a} for f, a in (("b", 1.0), ("a", 0.5), ("b", 0.0))])
    assert by_fold(entry, "accuracy") == {"b": 0.5, "a": 0.5}


@pytest.mark.skipif(not RESULTS.is_file(), reason="the full results are not there yet")
def test_the_readme_says_what_the_committed_results_say():
    outcome = kacq_heart_report.from_json(json.loads(RESULTS.read_text()))
    said = kacq_heart_report.sentences(outcome)
    assert "On the four heart-disease sites" in said
    assert "On Cleveland alone" in said
    assert said in " ".join((RESULTS.parents[2] / "README.md").read_text().split())
    assert said in RESULTS.with_suffix(".md").read_text()

"""KAN measures as feature selectors beside four usual ones: ``python benchmarks/selection.py``.

Stratified folds, drawn anew for every seed. In every fold columns are standardised, ranked and classified by what the
training part alone was fitted to; 20, 40 and 60 % of the columns are kept, the best ranked ones. Selectors: the five
measures of ``qkan.analysis.selection``, mutual information, permutation importance of a random forest, L1 logistic
regression, and SVM-RFE; beside them columns drawn at random, and all columns. The classifiers that score a selection
on the test part are logistic regression, a random forest and gradient boosting. Intervals of the difference from all
columns allow for folds that share training rows (Nadeau and Bengio 2003).

The table is printed; ``--out FOLDER`` writes it with the data as DATE-selection.json and .md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_selection import RFE, mutual_info_classif
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

sys.path.insert(0, str(Path(__file__).resolve().parent))
import environment

RETENTION = (0.2, 0.4, 0.6)
CLASSIFIERS = ("logistic regression", "random forest", "gradient boosting")
#: Columns, labels and a seed to one score per column, larger for more important.
Score = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns and labels."""
    if name == "made-up":
        made: Any = datasets.make_classification(
            300, 20, n_informative=5, n_redundant=5, n_clusters_per_class=2, class_sep=1.0, random_state=0
        )
        return made
    found = {"wine": datasets.load_wine, "breast cancer": datasets.load_breast_cancer}[name]()
    return found.data, found.target


def forest_permutation(X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Fall of a random forest's accuracy on a quarter of the training rows, held out, when a column is shuffled."""
    first, second = next(iter(StratifiedKFold(4, shuffle=True, random_state=seed).split(X, y)))
    forest = RandomForestClassifier(100, random_state=seed).fit(X[first], y[first])
    return permutation_importance(forest, X[second], y[second], n_repeats=5, random_state=seed).importances_mean


def lasso(X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Size of the coefficients of an L1 logistic regression; those it drops tie at 0, in the order of the columns."""
    model = LogisticRegression(C=0.1, l1_ratio=1.0, solver="saga", max_iter=5000, random_state=seed)
    return np.abs(model.fit(X, y).coef_).sum(0)


def elimination(X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Minus the rank in recursive elimination by a linear SVM, one column at a time: what remains at any size."""
    svm = LinearSVC(random_state=seed, max_iter=20000)
    return -RFE(svm, n_features_to_select=1).fit(X, y).ranking_


def selectors(epochs: int) -> dict[str, Score]:
    """Name -> scores of the columns."""
    from qkan.analysis.selection import METHODS, KANImportance
    from qkan.sklearn import KANClassifier

    def kan(method: str) -> Score:
        def score(X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
            network = KANClassifier("kan", hidden=(8,), epochs=epochs, random_state=seed)
            return KANImportance(network, method, random_state=seed).fit(X, y).feature_importances_

        return score

    return {f"KAN, {method}": kan(method) for method in METHODS} | {
        "mutual information": lambda X, y, seed: mutual_info_classif(X, y, random_state=seed),
        "forest, permutation": forest_permutation,
        "LASSO": lasso,
        "SVM-RFE": elimination,
        "at random": lambda X, y, seed: np.random.default_rng(seed).uniform(size=X.shape[1]),
    }


def measure(name: str, folds: int, seeds: int, epochs: int, wanted: list[str] | None) -> list[dict[str, Any]]:
    """One line per seed, fold, selector and retention; "all columns" has one line per seed and fold."""
    X, y = data(name)
    lines = []
    for seed in range(seeds):
        split = StratifiedKFold(folds, shuffle=True, random_state=seed).split(X, y)
        for fold, (train, test) in enumerate(split):
            scaler = StandardScaler().fit(X[train])
            parts = scaler.transform(X[train]), y[train], scaler.transform(X[test]), y[test]
            place = {"data": name, "seed": seed, "fold": fold}
            lines.append(
                {**place, "selector": "all columns", "retention": 1.0, "seconds": 0.0, **_scores(*parts, seed)}
            )
            for label, score in selectors(epochs).items():
                if wanted is None or label in wanted:
                    lines += [{**place, "selector": label, **line} for line in _selected(score, *parts, seed)]
    return lines


def _selected(
    score: Score, rows: np.ndarray, labels: np.ndarray, others: np.ndarray, truth: np.ndarray, seed: int
) -> Any:
    """Scores with the columns that rank highest, at every retention."""
    start = time.perf_counter()
    order = np.argsort(-score(rows, labels, seed), kind="stable")
    seconds = time.perf_counter() - start
    for retention in RETENTION:
        kept = np.sort(order[: max(1, round(retention * rows.shape[1]))])
        found = _scores(rows[:, kept], labels, others[:, kept], truth, seed)
        yield {"retention": retention, "seconds": seconds, "columns": kept.tolist(), **found}


def _scores(rows: np.ndarray, labels: np.ndarray, others: np.ndarray, truth: np.ndarray, seed: int) -> dict[str, float]:
    models = (
        LogisticRegression(max_iter=2000),
        RandomForestClassifier(60, random_state=seed),
        HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, random_state=seed),
    )
    return {
        name: float(one.fit(rows, labels).score(others, truth)) for name, one in zip(CLASSIFIERS, models, strict=True)
    }


def comparison(lines: list[dict[str, Any]], folds: int) -> list[dict[str, Any]]:
    """Accuracy and its difference from all columns, averaged over the classifiers, per data, selector and retention.

    Intervals are at 95 %, over folds and seeds.
    """
    from qkan.analysis.statistics import corrected_paired_test

    frame = pd.DataFrame(lines)
    frame["accuracy"] = frame[list(CLASSIFIERS)].mean(1)
    found = []
    for name, part in frame.groupby("data", sort=False):
        every = part[part["selector"] == "all columns"].set_index(["seed", "fold"])
        for (selector, retention), own in part.groupby(["selector", "retention"], sort=False):
            scores = own.set_index(["seed", "fold"]).loc[every.index]
            test = corrected_paired_test(scores["accuracy"].tolist(), every["accuracy"].tolist(), 1 / folds)
            found.append(
                {
                    "data": name,
                    "selector": selector,
                    "retention": retention,
                    **{key: float(own[key].mean()) for key in ("accuracy", *CLASSIFIERS)},
                    "difference": test.mean,
                    "low": test.low,
                    "high": test.high,
                    "seconds": float(own["seconds"].mean()),
                }
            )
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: accuracy in percent, and in brackets the interval of its difference from all columns in points."""
    frame = pd.DataFrame(found)
    text = []
    for name, part in frame.groupby("data", sort=False):
        whole = part[part["selector"] == "all columns"].iloc[0]
        head = "".join(f" {100 * retention:.0f} % |" for retention in RETENTION)
        text += [f"| {name}, all columns {100 * whole['accuracy']:.1f} |{head} seconds a fit |"]
        text += ["|---|" + "---|" * (len(RETENTION) + 1)]
        for selector, own in part[part["selector"] != "all columns"].groupby("selector", sort=False):
            cells = [own[own["retention"] == retention].iloc[0] for retention in RETENTION]
            shown = "".join(
                f" {100 * one['accuracy']:.1f} [{100 * one['low']:+.1f}, {100 * one['high']:+.1f}] |" for one in cells
            )
            text.append(f"| {selector} |{shown} {own['seconds'].mean():.2f} |")
        text.append("")
    return "\n".join(text)


def outcome(found: list[dict[str, Any]]) -> str:
    """What the table says in one paragraph, every number from the data."""
    frame = pd.DataFrame(found)
    chosen = frame[~frame["selector"].isin(["all columns", "at random"])]
    cells = [own for _, own in chosen.groupby(["data", "retention"], sort=False)]
    kan = chosen["selector"].str.startswith("KAN")
    wins = sum(own.loc[own["accuracy"].idxmax(), "selector"].startswith("KAN") for own in cells)
    means = chosen.groupby("selector")["accuracy"].mean().sort_values(ascending=False)
    best_kan = next(name for name in means.index if name.startswith("KAN"))
    best_other = next(name for name in means.index if not name.startswith("KAN"))
    worse, better = (chosen["high"] < 0).sum(), (chosen["low"] > 0).sum()
    ranked = ", ".join(f"{name} {100 * value:.1f}" for name, value in means.items())
    seconds = chosen.groupby(kan)["seconds"].mean()
    blind = frame.loc[frame["selector"] == "at random", "accuracy"]
    random = f" Columns drawn at random reach {100 * blind.mean():.1f}." if len(blind) else ""
    return (
        f"Mean accuracy in percent over data, retentions and classifiers: {ranked}.{random} A KAN measure is the best "
        f"selector in {wins} of {len(cells)} pairs of data and retention. The best KAN measure ({best_kan}) and the "
        f"best usual one ({best_other}) differ by {100 * (means[best_kan] - means[best_other]):+.1f} points. Of "
        f"{len(chosen)} cells, {worse} are below all columns by more than their interval and {better} above. A KAN "
        f"selector takes {seconds.get(True, float('nan')):.2f} s a fit, a usual one "
        f"{seconds.get(False, float('nan')):.2f} s."
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["wine", "breast cancer", "made-up"])
    parser.add_argument("--selectors", nargs="+", help="names as in the table; all of them by default")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2, help="of folds, networks and forests")
    parser.add_argument("--epochs", type=int, default=40, help="of the KANs")
    parser.add_argument("--out", type=Path, help="folder for DATE-selection.json and .md")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sizes = options.folds, options.seeds, options.epochs, options.selectors
    lines = [line for name in options.data for line in measure(name, *sizes)]
    found = comparison(lines, options.folds)
    text = table(found)
    print(text, end="")
    if options.out:
        _write(options, lines, found, text)


def _write(options: Any, lines: list[dict[str, Any]], found: list[dict[str, Any]], text: str) -> None:
    place = environment.describe(1, False)
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"{place['date']}-selection"
    content = {"environment": place, "summary": found, "rows": lines}
    stem.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    about = (
        f"# Feature selection, {place['date']}\n\n{options.folds} stratified folds, {options.seeds} seeds. Mean "
        f"accuracy in percent on the test parts of {', '.join(CLASSIFIERS)}; in brackets the 95 % interval of the "
        "difference from all columns in points, corrected for folds that share training rows. Columns are ranked on "
        f"the training part of each fold alone. KANs of 8 hidden nodes, {options.epochs} epochs. Seconds are rough, as "
        f"other work may share the processor. {place['processor']}; commit {place['commit']}. Command: `python "
        f"benchmarks/selection.py`.\n\n{outcome(found)}\n\n"
    )
    stem.with_suffix(".md").write_text(about + text)


if __name__ == "__main__":
    main()

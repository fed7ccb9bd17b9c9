"""KAN measures as feature selectors beside four usual ones: ``python benchmarks/selection.py``.

Stratified folds. In every fold columns are standardised, selected and classified by what the training part alone was
fitted to; 20, 40 and 60 % of the columns are kept. Selectors: the five measures of ``qkan.analysis.selection``, mutual
information, permutation importance of a random forest, L1 logistic regression, and SVM-RFE; and no selection at all.
Scores are accuracies of logistic regression and a random forest on the test part.

The table is printed; ``--out FOLDER`` writes it with the data as DATE-selection.json and .md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest, mutual_info_classif
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

sys.path.insert(0, str(Path(__file__).resolve().parent))
import environment

RETENTION = (0.2, 0.4, 0.6)


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns and labels."""
    if name == "made-up":
        made: Any = datasets.make_classification(
            300, 20, n_informative=5, n_redundant=5, n_clusters_per_class=2, class_sep=1.0, random_state=0
        )
        return made
    found = {"wine": datasets.load_wine, "breast cancer": datasets.load_breast_cancer}[name]()
    return found.data, found.target


class ForestPermutation(BaseEstimator):
    """Fall of a random forest's accuracy on held-out training rows when a column is shuffled."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> ForestPermutation:
        """Train on three quarters of the rows, shuffle on the others."""
        first, second = next(iter(StratifiedKFold(4, shuffle=True, random_state=0).split(X, y)))
        forest = RandomForestClassifier(100, random_state=0).fit(X[first], y[first])
        found = permutation_importance(forest, X[second], y[second], n_repeats=5, random_state=0)
        self.feature_importances_ = found.importances_mean.clip(0)
        return self


def shared_information(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mutual information of every column with the label; the noise that breaks ties has a seed."""
    return mutual_info_classif(X, y, random_state=0)


def selectors(epochs: int) -> dict[str, Any]:
    """Name -> function of the number of columns to keep."""
    from qkan.analysis.selection import METHODS, KANImportance
    from qkan.sklearn import KANClassifier

    network = KANClassifier("kan", hidden=(8,), epochs=epochs, random_state=0)
    found: dict[str, Any] = {f"KAN, {method}": _by_importance(KANImportance(network, method)) for method in METHODS}
    return found | {
        "mutual information": lambda k: SelectKBest(shared_information, k=k),
        "forest, permutation": _by_importance(ForestPermutation()),
        "LASSO": _by_importance(LogisticRegression(C=0.1, l1_ratio=1.0, solver="saga", max_iter=5000, random_state=0)),
        "SVM-RFE": lambda k: RFE(LinearSVC(random_state=0, max_iter=20000), n_features_to_select=k),
        "all columns": lambda k: None,
    }


def _by_importance(estimator: Any) -> Any:
    return lambda k: SelectFromModel(estimator, threshold=-np.inf, max_features=k)


def measure(name: str, folds: int, epochs: int, wanted: list[str] | None) -> list[dict[str, Any]]:
    """One line per selector, retention and fold."""
    X, y = data(name)
    lines = []
    for fold, (train, test) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=0).split(X, y)):
        scaler = StandardScaler().fit(X[train])
        rows, others = scaler.transform(X[train]), scaler.transform(X[test])
        for label, make in selectors(epochs).items():
            if wanted is None or label in wanted:
                for retention in RETENTION:
                    selector = make(max(1, round(retention * X.shape[1])))
                    start = time.perf_counter()
                    chosen = np.arange(X.shape[1])
                    if selector is not None:
                        chosen = selector.fit(rows, y[train]).get_support(indices=True)
                    seconds = time.perf_counter() - start
                    scores = _scores(rows[:, chosen], y[train], others[:, chosen], y[test])
                    lines.append({"data": name, "selector": label, "retention": retention, "fold": fold,
                                  "seconds": seconds, **scores})  # fmt: skip
    return lines


def _scores(rows: np.ndarray, labels: np.ndarray, others: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    classifiers = {
        "logistic regression": LogisticRegression(max_iter=2000),
        "random forest": RandomForestClassifier(100, random_state=0),
    }
    return {name: float(one.fit(rows, labels).score(others, truth)) for name, one in classifiers.items()}


def table(lines: list[dict[str, Any]]) -> str:
    """Markdown: mean accuracy in percent over the folds, logistic regression / random forest."""
    frame = pd.DataFrame(lines)
    text = []
    for name, part in frame.groupby("data", sort=False):
        head = "".join(f" {100 * retention:.0f} % |" for retention in RETENTION)
        text += [f"| {name} |{head} seconds a fit |", "|---|" + "---|" * (len(RETENTION) + 1)]
        for selector, own in part.groupby("selector", sort=False):
            cells = [own[own["retention"] == r][["logistic regression", "random forest"]].mean() for r in RETENTION]
            shown = "".join(f" {100 * cell.iloc[0]:.1f} / {100 * cell.iloc[1]:.1f} |" for cell in cells)
            text.append(f"| {selector} |{shown} {own['seconds'].mean():.2f} |")
        text.append("")
    return "\n".join(text)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["wine", "breast cancer", "made-up"])
    parser.add_argument("--selectors", nargs="+", help="names as in the table; all of them by default")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40, help="of the KANs")
    parser.add_argument("--out", type=Path, help="folder for DATE-selection.json and .md")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    lines = [line for name in options.data for line in measure(name, options.folds, options.epochs, options.selectors)]
    text = table(lines)
    print(text, end="")
    if options.out:
        found = environment.describe(1, False)
        options.out.mkdir(parents=True, exist_ok=True)
        stem = options.out / f"{found['date']}-selection"
        stem.with_suffix(".json").write_text(json.dumps({"environment": found, "rows": lines}, indent=1) + "\n")
        about = (
            f"# Feature selection, {found['date']}\n\n{options.folds} stratified folds, one seed; mean accuracy in "
            f"percent of logistic regression / random forest; KANs of 8 hidden nodes, {options.epochs} epochs. "
            f"{found['processor']}; commit {found['commit']}. Command: `python benchmarks/selection.py`.\n\n"
        )
        stem.with_suffix(".md").write_text(about + text)


if __name__ == "__main__":
    main()

"""Whether a ranking of features would come out again from other rows, another background, or a model fitted anew.

The bootstrap is that of Efron (Annals of Statistics 7, 1979); SHAP values are those of Lundberg and Lee (2017, arXiv
1705.07874).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from qkan.analysis.explain import Explanation
from qkan.errors import ShapeError, check_positive


@dataclass(frozen=True)
class Stability:
    """Importance of every feature over resamples.

    Attributes:
        table: ``feature``, ``importance`` and its standard deviation ``sd``, ``rank`` (mean; 1 is the most important)
            and ``rank_sd``; most important first.
        overlap: mean Jaccard index of the ``top`` leading features of two resamples: 1 if they are always the same.
        top: number of leading features.
        draws: number of resamples.
    """

    table: pd.DataFrame
    overlap: float
    top: int
    draws: int


def stability(features: Sequence[str], importances: np.ndarray, top: int = 5) -> Stability:
    """Summarise importances (draws, features) of resamples.

    Args:
        features: names.
        importances: from :func:`resampled_importance` or :func:`refitted_importance`.
        top: leading features to compare; all of them where there are fewer.

    Raises:
        ShapeError: fewer than two draws, or sizes that do not fit.
    """
    importances = np.asarray(importances, dtype=float)
    if importances.ndim != 2 or importances.shape[1] != len(features) or len(importances) < 2:
        raise ShapeError(f"importances of shape {importances.shape} must be (2 or more draws, {len(features)}).")
    top = min(check_positive("top", top), len(features))
    ranks = pd.DataFrame(importances).rank(axis=1, ascending=False).to_numpy()
    leading = [set(np.argsort(-row, kind="stable")[:top].tolist()) for row in importances]
    overlaps = [len(a & b) / len(a | b) for a, b in combinations(leading, 2)]
    columns = {
        "importance": importances.mean(0),
        "sd": importances.std(0, ddof=1),
        "rank": ranks.mean(0),
        "rank_sd": ranks.std(0, ddof=1),
    }
    table = pd.DataFrame({"feature": list(features), **columns})
    table = table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)
    return Stability(table, float(np.mean(overlaps)), top, len(importances))


def resampled_importance(
    explain: Callable[[pd.DataFrame, pd.DataFrame], Explanation],
    background: pd.DataFrame,
    rows: pd.DataFrame,
    *,
    draws: int = 20,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Mean |SHAP| on bootstrap resamples of background and rows, the model fixed: (draws, features).

    Args:
        explain: (background, rows) -> explanation.
        background: rows that stand for "feature unknown".
        rows: rows to explain.
        draws: resamples; each costs an explanation of all distinct rows drawn.
        seed: of the resamples.
        progress: called with 1 after every resample.
    """
    random = np.random.default_rng(seed)
    found = []
    for _ in range(check_positive("draws", draws, 2)):
        seen = background.iloc[random.integers(len(background), size=len(background))]
        drawn, times = np.unique(random.integers(len(rows), size=len(rows)), return_counts=True)
        sizes = np.abs(explain(seen.reset_index(drop=True), rows.iloc[drawn]).values).mean(2)
        found.append(times @ sizes / times.sum())
        if progress is not None:
            progress(1)
    return np.stack(found)


def refitted_importance(
    fit: Callable[[np.ndarray], np.ndarray], count: int, *, draws: int = 10, seed: int = 0
) -> np.ndarray:
    """Importance from models fitted anew to bootstrap resamples of the training rows: (draws, features).

    Args:
        fit: numbers of the training rows drawn, with repetition, -> importance (features,) of a model fitted to them,
            measured on rows that are not among them.
        count: number of training rows.
        draws: resamples, and models to fit.
        seed: of the resamples.
    """
    random = np.random.default_rng(seed)
    check_positive("count", count)
    return np.stack([fit(random.integers(count, size=count)) for _ in range(check_positive("draws", draws, 2))])

"""How prediction sets did on labelled rows, overall, by class and by group, with exact binomial intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qkan.errors import ShapeError


@dataclass(frozen=True)
class GroupCoverage:
    """Coverage, mean size, and fractions of empty sets and of sets of two or more classes in one group.

    ``interval`` is exact (Clopper-Pearson) at 95 %.
    """

    group: str
    rows: int
    coverage: float
    interval: tuple[float, float]
    mean_size: float
    empty: float
    double: float


def coverage_by_group(sets: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> list[GroupCoverage]:
    """One entry per group, in order of name.

    Args:
        sets: (rows, classes) boolean.
        labels: (rows,) true classes as indices.
        groups: (rows,) such as site or sex.

    Raises:
        ShapeError: lengths differ.
    """
    sets, labels, groups = np.asarray(sets, dtype=bool), np.asarray(labels), np.asarray(groups)
    if labels.shape != sets.shape[:1] or groups.shape != sets.shape[:1]:
        raise ShapeError(f"{len(sets)} sets, {len(labels)} labels and {len(groups)} groups must be equally many.")
    hit, sizes = sets[np.arange(len(labels)), labels], sets.sum(1)
    result = []
    for name in sorted(set(groups.tolist()), key=str):
        own = groups == name
        result.append(
            GroupCoverage(
                group=str(name),
                rows=int(own.sum()),
                coverage=float(hit[own].mean()),
                interval=binomial_interval(hit[own]),
                mean_size=float(sizes[own].mean()),
                empty=float((sizes[own] == 0).mean()),
                double=float((sizes[own] >= 2).mean()),
            )
        )
    return result


def binomial_interval(hits: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of the rate behind boolean ``hits``; (0, 1) without any.

    Args:
        hits: (rows,) booleans.
        level: confidence level in (0, 1).
    """
    from scipy.stats import binomtest

    if len(hits) == 0:
        return 0.0, 1.0
    interval = binomtest(int(np.sum(hits)), len(hits)).proportion_ci(confidence_level=level, method="exact")
    return float(interval.low), float(interval.high)


def conformal_rank(rows: int, level: float) -> int:
    """⌈(n+1)·level⌉, guarded against (n+1)·level exceeding a whole number by rounding alone.

    Args:
        rows: number n of calibration rows.
        level: confidence level in (0, 1).
    """
    return max(1, math.ceil(round((rows + 1) * level, 9)))


def conformal_quantile(scores: np.ndarray, level: float) -> float:
    """The ⌈(n+1)·level⌉-th smallest of n scores, infinite if there are too few (Vovk, Gammerman and Shafer 2005).

    Args:
        scores: of the calibration rows, (n,).
        level: wanted coverage, in (0, 1).
    """
    rank = conformal_rank(len(scores), level)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf

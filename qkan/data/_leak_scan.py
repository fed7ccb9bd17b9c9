"""The search behind the leak audit: stretches of suspicious rows on which a column follows the label.

A *rule* says "this column has a certain value (or exceeds a cut) exactly where the label is a certain class".
A *pattern* is a set of rows chosen without looking at the label: all rows; those with one level of a category; with a
column missing; with the one value that a numeric column repeats far more often than any other (Cholesterol 0); or with
a number finer than the grid on which most of the column lies (a blood pressure of 137 among multiples of 5). Within a
pattern the rows are walked in file order, and the longest stretches that keep a rule, but for at most three exceptions,
are weighed.

**The test.** If M of the N rows of a class miss the rule, n given rows of that class all keep it with probability
C(N-n, M) / C(N, M) when the order is random (N and M are counted within the pattern); the evidence of a stretch is
minus the logarithm of the product over classes, less the number of ways to place its exceptions. A column that is
truly strong misses seldom anywhere and gives no evidence, nor does a file sorted by label. The strongest stretch of
the file is compared with that of files whose rows are shuffled within each class (null hypothesis: given the label,
the order of the rows says nothing), which keeps every relation between columns. From a given start evidence s has
probability at most e^-s, so the maximum over all rules, patterns and starts has a Gumbel tail of scale one at most,
whose location a few shuffles give (maximum likelihood), as for local alignments of sequences (Karlin and Altschul
1990).
A rule that holds throughout a whole pattern is the same in any order; it is weighed by a union bound instead, under
the null hypothesis that the pattern does not matter given the label.

**The guard.** Columns may drift along a file (sites one after the other) and the label with them. So within the
stretch, cut into blocks of eight neighbours, the column must follow the label more closely than a column that ignores
the label within its block would with probability 1e-4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gammaln

MIN_LABEL_ROWS = 5
"""Rows on either side of the rule that a stretch must hold."""
MAX_EXCEPTIONS = 3
EXCEPTION_SHARE = 0.03
BLOCK = 8
GUARD = math.log(1e4)
SHUFFLES = 20
MIN_PATTERN_ROWS = 20
MAX_WORK = 10**7
"""Rules times rows of patterns; on larger tables the last patterns (levels of categories) are left out."""
FEW_VALUES = 10
"""Distinct numbers up to which a numeric column is taken level by level."""
_STEPS = (100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05)


@dataclass(frozen=True, eq=False)
class Rule:
    """``column`` meets a condition exactly where the label is ``label``.

    Attributes:
        text: the condition in words, such as "is 'Up'".
        holds: (rows,) whether it is met.
        known: (rows,) whether that can be told: the column is filled in.
    """

    column: str
    text: str
    label: object
    holds: np.ndarray
    known: np.ndarray


@dataclass(frozen=True, eq=False)
class Pattern:
    """Rows that look alike without regard to the label: ``rows`` (number,) positions, ``text`` in words or empty."""

    text: str
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Stretch:
    """Where a rule holds suspiciously well.

    Attributes:
        rule: the rule.
        pattern: words for the pattern, empty for all rows.
        rows: (number,) positions of the stretch's rows in the file, in order.
        exceptions: rows among them that break the rule.
        elsewhere: fraction of all other rows that break it, NaN if there are none.
        p_value: bound on the chance of any such stretch anywhere in a clean file.
    """

    rule: Rule
    pattern: str
    rows: np.ndarray
    exceptions: int
    elsewhere: float
    p_value: float


def shown(value: object) -> str:
    """``0``, ``-0.1`` or ``'Up'``."""
    return f"{value:g}" if isinstance(value, (int, float, np.number)) else repr(value)


def by_level(column: pd.Series) -> bool:
    """Whether a column is taken value by value: text, or few distinct numbers."""
    return not pd.api.types.is_numeric_dtype(column) or column.nunique() <= FEW_VALUES


def rules(features: pd.DataFrame, labels: np.ndarray) -> Iterator[Rule]:
    """Every rule of every column: levels, four quantile cuts of a numeric column, and being missing."""
    classes = pd.unique(labels).tolist()
    # For two classes "exactly where it is the one" says the same as "exactly where it is not the other".
    chosen = classes[:1] if len(classes) == 2 else classes
    for name in features.columns:
        column = features[name]
        known = column.notna().to_numpy()
        missing = int((~known).sum())
        every = np.ones(len(column), dtype=bool)
        conditions = [(*condition, known) for condition in _conditions(column)]
        if min(missing, len(column) - missing) >= 2 * MIN_LABEL_ROWS:
            conditions.append(("is missing", "is filled in", ~known, every))
        for text, opposite, holds, tellable in conditions:
            for label in chosen:
                yield Rule(name, text, label, holds, tellable)
                yield Rule(name, opposite, label, ~holds, tellable)


def _conditions(column: pd.Series) -> Iterator[tuple[str, str, np.ndarray]]:
    if by_level(column):
        counts = column.value_counts()
        common = [level for level in counts.index if counts[level] >= max(MIN_LABEL_ROWS, 0.03 * len(column))]
        if len(counts) == 2:
            common = common[:1]
        for level in common:
            yield f"is {shown(level)}", f"is not {shown(level)}", (column == level).to_numpy()
        return
    for cut in np.unique(np.nanquantile(column, (0.2, 0.4, 0.6, 0.8), method="lower")):
        above = (column > cut).to_numpy()
        if above.any():
            yield f"is above {cut:g}", f"is at most {cut:g}", above


def patterns(features: pd.DataFrame) -> list[Pattern]:
    """Every pattern of at least 20 rows: all rows first, then marks of filling in, then levels of categories."""
    found = [Pattern("", np.arange(len(features)))]
    for choose in (_suspicious, _levels):
        for name in features.columns:
            for text, chosen in choose(features[name]):
                if MIN_PATTERN_ROWS <= chosen.sum() <= 0.95 * len(features):
                    found.append(Pattern(f"{name} {text}", np.flatnonzero(chosen)))
    return found


def _levels(column: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    if by_level(column):
        for level in column.value_counts().index[:50]:  # beyond fifty levels none has rows enough
            yield f"is {shown(level)}", (column == level).to_numpy()


def _suspicious(column: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    yield "is missing", column.isna().to_numpy()
    counts = column.value_counts()
    if by_level(column):
        return
    if counts.iloc[0] >= 0.05 * len(column) and counts.iloc[0] >= 4 * counts.iloc[1]:
        yield f"is {shown(counts.index[0])}", (column == counts.index[0]).to_numpy()
    values = column.to_numpy(dtype=np.float64)
    finite = np.isfinite(values)
    low, high = np.quantile(values[finite], (0.25, 0.75))
    for step in (step for step in _STEPS if step < high - low):
        multiple = np.where(finite, values, 0.0) / step
        off = np.abs(multiple - np.round(multiple)) > 1e-6
        if 0.03 * len(column) <= off.sum() <= 0.35 * len(column):
            yield f"is no multiple of {step:g}", off


def search(features: pd.DataFrame, labels: np.ndarray, alpha: float, seed: int | None = 0) -> list[Stretch]:
    """Stretches with a p-value of at most ``alpha``, the strongest of each column, strongest first.

    A third of ``alpha`` each is spent on stretches, on whole patterns, and on the other columns in the rows so found:
    whoever filled one column from the label often filled its neighbours too, and there only a few tests are
    paid for.
    """
    codes, _ = pd.factorize(labels)
    tried = list(rules(features, labels))
    if not tried:
        return []
    places = patterns(features)
    work = np.cumsum([len(place.rows) for place in places]) * max(len(tried), 1)
    places = places[: max(1, int((work <= MAX_WORK).sum()))]
    found = _scan(tried, places, labels, codes)
    log_share = math.log(alpha / 3)
    first: dict[str, tuple[float, _Candidate]] = {}
    log_whole = math.log(len(tried) * len(places))
    for name, (evidence, one) in found.whole.items():
        first[name] = log_whole - evidence, one
    # No order of the rows gives a maximum much below the logarithm of the number of rules: skip needless shuffles.
    if found.stretches and max(e for e, _ in found.stretches.values()) > math.log(len(tried)) - log_share:
        log_tries = _calibrate(features, labels, places, seed)
        for name, (evidence, one) in found.stretches.items():
            if name not in first or log_tries - evidence < first[name][0]:
                first[name] = log_tries - evidence, one
    first = {name: (log_p, one) for name, (log_p, one) in first.items() if log_p <= log_share}
    results = {name: _finish(one, labels, log_p + math.log(3)) for name, (log_p, one) in first.items()}
    log_second = math.log(len(tried) * max(len(first), 1))
    for place in [one for _, one in first.values()]:
        for rule in (rule for rule in tried if rule.column not in first):
            second = _within(rule, place, labels, codes)
            if second is None or log_second - second[0] > log_share:
                continue
            stretch = _finish(second[1], labels, log_second - second[0] + math.log(3))
            if rule.column not in results or stretch.p_value < results[rule.column].p_value:
                results[rule.column] = stretch
    return sorted(results.values(), key=lambda one: one.p_value)


def _calibrate(features: pd.DataFrame, labels: np.ndarray, places: list[Pattern], seed: int | None) -> float:
    """Logarithm of the effective number of stretches tried: the location of the Gumbel law of the maximum.

    The rules and patterns are those of the shuffled rows themselves, so that they move with the rows.
    """
    random = np.random.default_rng(seed)
    codes, _ = pd.factorize(labels)
    names = {place.text for place in places}
    maxima = []
    for _ in range(SHUFFLES):
        order = np.arange(len(labels))
        for code in range(int(codes.max()) + 1):
            own = np.flatnonzero(codes == code)
            order[own] = random.permutation(own)
        mixed = features.iloc[order].reset_index(drop=True)
        same = [place for place in patterns(mixed) if place.text in names]
        # Without the guard the maxima are larger, and always there: the p-values err on the safe side.
        found = _scan(list(rules(mixed, labels)), same, labels, codes, guard=-math.inf).stretches
        maxima.append(max((evidence for evidence, _ in found.values()), default=0.0))
    return -math.log(np.exp(-np.array(maxima)).mean())


@dataclass(frozen=True, eq=False)
class _Candidate:
    rule: Rule
    pattern: str
    rows: np.ndarray
    exceptions: int


@dataclass(frozen=True, eq=False)
class _Margins:
    """Rows and misses per class, and the evidence of kept rows among them."""

    total: np.ndarray
    misses: np.ndarray
    log_factorial: np.ndarray

    @classmethod
    def of(cls, hit: np.ndarray, codes: np.ndarray, rows: np.ndarray, log_factorial: np.ndarray) -> _Margins:
        classes = int(codes.max()) + 1
        total = np.bincount(codes[rows], minlength=classes)
        return cls(total, total - np.bincount(codes[rows][hit[rows]], minlength=classes), log_factorial)

    def evidence(self, kept: np.ndarray) -> np.ndarray:
        """-log Π C(N-n, M) / C(N, M) for kept rows n per class, shape (..., classes) -> (...)."""
        log, hits = self.log_factorial, self.total - self.misses
        return (log[self.total] - log[self.total - kept] - log[hits] + log[hits - kept]).sum(-1)


@dataclass(eq=False)
class _Found:
    """The strongest candidate of each column with its evidence: in stretches, and throughout patterns."""

    stretches: dict[str, tuple[float, _Candidate]]
    whole: dict[str, tuple[float, _Candidate]]


def _scan(
    tried: list[Rule], places: list[Pattern], labels: np.ndarray, codes: np.ndarray, guard: float = GUARD
) -> _Found:
    result = _Found({}, {})
    log_factorial = gammaln(np.arange(len(labels) + 1) + 1.0)
    for rule in tried:
        own_everywhere = labels == rule.label
        hit = rule.holds == own_everywhere
        margins = _Margins.of(hit, codes, np.flatnonzero(rule.known), log_factorial)
        for place in places:
            rows = place.rows if rule.known.all() else place.rows[rule.known[place.rows]]
            given = hit[rows], codes[rows], own_everywhere[rows]
            inside = _Margins.of(hit, codes, rows, log_factorial)
            _keep(result.stretches, _windows(*given, inside), rule, place.text, rows, hit, own_everywhere, guard)
            if place.text:
                _keep(result.whole, _whole(*given, margins), rule, place.text, rows, hit, own_everywhere, guard)
    return result


def _keep(
    found: dict[str, tuple[float, _Candidate]],
    windows: list[tuple[float, int, int, int]],
    rule: Rule,
    text: str,
    rows: np.ndarray,
    hit: np.ndarray,
    own: np.ndarray,
    guard: float,
) -> None:
    """Enter the windows that beat the column's strongest so far and pass the guard against drift."""
    for evidence, start, stop, exceptions in windows:
        inside = rows[start:stop]
        better = rule.column not in found or evidence > found[rule.column][0]
        if better and _local_evidence(hit[inside], own[inside]) >= guard:
            found[rule.column] = evidence, _Candidate(rule, text, inside, exceptions)


def _whole(hit: np.ndarray, codes: np.ndarray, own: np.ndarray, margins: _Margins) -> list[tuple[float, int, int, int]]:
    """All given rows as one window, if the rule holds throughout, but for a few exceptions."""
    exceptions, kept, first = int((~hit).sum()), int(hit.sum()), int((hit & own).sum())
    if exceptions > min(MAX_EXCEPTIONS, EXCEPTION_SHARE * kept) or min(first, kept - first) < MIN_LABEL_ROWS:
        return []
    evidence = margins.evidence(np.bincount(codes[hit], minlength=len(margins.total)))
    return [(float(evidence) - math.log(math.comb(len(hit), exceptions)), 0, len(hit), exceptions)]


def _windows(
    hit: np.ndarray, codes: np.ndarray, own: np.ndarray, margins: _Margins
) -> list[tuple[float, int, int, int]]:
    """The three strongest windows of a sequence as (evidence, start, stop, exceptions), for each number of those."""
    misses = np.concatenate([[-1], np.flatnonzero(~hit), [len(hit)]])
    kept_by_class = np.zeros((len(hit) + 1, len(margins.total)), dtype=np.intp)
    np.cumsum(hit[:, None] & (codes[:, None] == np.arange(kept_by_class.shape[1])), axis=0, out=kept_by_class[1:])
    kept_own = np.concatenate([[0], np.cumsum(hit & own)])
    best: list[tuple[float, int, int, int]] = []
    for exceptions in range(min(MAX_EXCEPTIONS, len(misses) - 2) + 1):
        start, stop = misses[: len(misses) - exceptions - 1] + 1, misses[exceptions + 1 :]
        first = kept_own[stop] - kept_own[start]
        rows = stop - start - exceptions
        chosen = np.flatnonzero(
            (np.minimum(first, rows - first) >= MIN_LABEL_ROWS) & (exceptions <= EXCEPTION_SHARE * rows)
        )
        if not chosen.size:
            continue
        start, stop, rows = start[chosen], stop[chosen], rows[chosen]
        kept = kept_by_class[stop] - kept_by_class[start]
        places = exceptions * np.log(rows + exceptions) - math.lgamma(exceptions + 1)
        evidence = margins.evidence(kept) - places
        for at in np.argsort(-evidence)[:3]:
            best.append((float(evidence[at]), int(start[at]), int(stop[at]), exceptions))
    return best


def _local_evidence(hit: np.ndarray, own: np.ndarray) -> float:
    """-log of the chance that a column which ignores the label within blocks of neighbours keeps the rule as well."""
    total = 0.0
    for start in range(0, len(hit), BLOCK):
        kept = hit[start : start + BLOCK]
        rows, first = int(kept.sum()), int((kept & own[start : start + BLOCK]).sum())
        total += math.log(math.comb(rows, first))
        total -= (len(kept) - rows) * math.log(BLOCK)  # an exception could have stood anywhere in its block
    return total


def _within(rule: Rule, place: _Candidate, labels: np.ndarray, codes: np.ndarray) -> tuple[float, _Candidate] | None:
    """The evidence for a rule on the very rows of a stretch found for another column."""
    rows = place.rows[rule.known[place.rows]]
    own = labels == rule.label
    hit = rule.holds == own
    log_factorial = gammaln(np.arange(len(labels) + 1) + 1.0)
    overall = _Margins.of(hit, codes, np.flatnonzero(rule.known), log_factorial)
    whole = _whole(hit[rows], codes[rows], own[rows], overall)
    if not whole or _local_evidence(hit[rows], own[rows]) < GUARD:
        return None
    return whole[0][0], _Candidate(rule, place.pattern, rows, whole[0][3])


def _finish(one: _Candidate, labels: np.ndarray, log_p: float) -> Stretch:
    hit = one.rule.holds == (labels == one.rule.label)
    other = one.rule.known.copy()
    other[one.rows] = False
    elsewhere = float((~hit[other]).mean()) if other.any() else math.nan
    return Stretch(one.rule, one.pattern, one.rows, one.exceptions, elsewhere, math.exp(min(0.0, log_p)))

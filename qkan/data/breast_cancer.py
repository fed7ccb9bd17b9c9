"""Wisconsin diagnostic breast cancer: real data that ship with scikit-learn, no network needed."""

from __future__ import annotations

import hashlib

import numpy as np

from qkan.data.table import Table, validate

#: Where the table is from, and its licence.
SOURCE = (
    "Wolberg, Mangasarian, Street and Street (1995), Breast Cancer Wisconsin (Diagnostic), UCI Machine "
    "Learning Repository, doi:10.24432/C5DW2B, CC BY 4.0, as shipped with scikit-learn"
)


def load_breast_cancer() -> Table:
    """Return the 569 × 30 table with labels 'malignant' (212) and 'benign' (357).

    The features are cell-nucleus measurements of a fine-needle aspirate, in the units of the source; none is
    missing. The sha256 is that of the features (little-endian float64, row by row) followed by the codes
    (int64; 0 malignant, 1 benign).
    """
    import pandas as pd
    from sklearn.datasets import load_breast_cancer as load

    bunch = load()
    values = np.ascontiguousarray(bunch.data, dtype="<f8")
    codes = np.ascontiguousarray(bunch.target, dtype="<i8")
    names = [str(name) for name in bunch.feature_names]
    classes = [str(name) for name in bunch.target_names]
    return validate(
        Table(
            name="breast_cancer",
            features=pd.DataFrame(values, columns=pd.Index(names, dtype=object)),
            target=pd.Series([classes[code] for code in codes], name="diagnosis", dtype=object),
            categorical=(),
            source=SOURCE,
            sha256=hashlib.sha256(values.tobytes() + codes.tobytes()).hexdigest(),
        )
    )

"""Heart disease: the four UCI sites with missing values kept, and the 918-row file that leaks its label."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qkan.data import _files
from qkan.data._csv import count, listed, read_bytes, read_raw
from qkan.data._heart_facts import (
    COLUMNS,
    KAGGLE_CATEGORICAL,
    KAGGLE_COLUMNS,
    KAGGLE_DISGUISED,
    KAGGLE_LABEL,
    KAGGLE_SHA256,
    KAGGLE_SITES,
    SITES,
    is_kaggle,
    warn_leakage,
)
from qkan.data.table import Table, build, validate
from qkan.errors import DataError, OptionError

if TYPE_CHECKING:
    import pandas as pd

#: Where the files of the four sites are.
BASE_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/heart-disease/"
#: Where the tables are from, and their licence.
SOURCE = (
    "Janosi, Steinbrunn, Pfisterer and Detrano (1989), Heart Disease, UCI Machine Learning Repository, "
    "doi:10.24432/C52P4X, CC BY 4.0"
)
LEVELS: dict[str, dict[float, str]] = {
    "sex": {0: "female", 1: "male"},
    "cp": {1: "typical", 2: "atypical", 3: "non-anginal", 4: "asymptomatic"},
    "fbs": {0: "no", 1: "yes"},
    "restecg": {0: "normal", 1: "ST-T abnormality", 2: "LV hypertrophy"},
    "exang": {0: "no", 1: "yes"},
    "slope": {1: "up", 2: "flat", 3: "down"},
    "thal": {3: "normal", 6: "fixed defect", 7: "reversible defect"},
}
"""Codes of the categorical columns, from the description file ``heart-disease.names``."""
DISGUISED = ("trestbps", "chol")
"""Columns in which 0 stands for a missing value: no living patient has either at 0."""


def filename(site: str) -> str:
    """``processed.<site>.data``."""
    return f"processed.{site}.data"


def load_heart(
    path: str | os.PathLike[str] | None = None,
    sites: Sequence[str] | str = ("cleveland", "hungarian", "switzerland", "va"),
    *,
    download: bool = True,
) -> Table:
    """UCI heart disease: up to 920 patients of four hospitals, 13 features, label num > 0.

    The labels are 'healthy' and 'disease', the disease being a coronary artery narrowed by more than half.
    Features: age (years); sex; cp, the chest pain; trestbps, blood pressure at rest (mm Hg); chol, serum
    cholesterol (mg/dl); fbs, fasting blood sugar > 120 mg/dl; restecg, the ECG at rest; thalach, highest
    heart rate (1/min); exang, angina on exercise; oldpeak, ST depression (mm); slope of the ST segment; ca,
    vessels coloured (0-3); thal, the perfusion scan. Missing cells stay missing. A 0 in chol (172 rows) and
    in trestbps (1 row) is a disguised missing value and becomes NaN. ``group`` holds the site: which hospital
    measured predicts the label, so it is no feature. The sha256 is that of the site files' bytes, one after
    the other in the order of ``sites``.

    Args:
        path: folder with the files ``processed.<site>.data``, directly or in its subfolder ``heart``. If
            given, nothing else is searched; otherwise ``$QKAN_DATA_DIR``, the cache folder
            (``$XDG_CACHE_HOME/qkan`` or ``~/.cache/qkan``) and the UCI archive are tried, in this order.
        sites: which hospitals, in this order; a single name is allowed.
        download: allow the last resort, a download into the cache folder.

    Raises:
        OptionError: an unknown or repeated site.
        DataError: a file is missing, differs from the recorded one, or cannot be downloaded; or the sites
            chosen never recorded one of the features (Switzerland alone: cholesterol).
    """
    return _assemble(_check_sites(sites), path, download)


def _assemble(chosen: tuple[str, ...], path: str | os.PathLike[str] | None, download: bool) -> Table:
    import pandas as pd

    contents = {site: _content(site, chosen, path, download) for site in chosen}
    raws = {site: _checked(site, data) for site, data in contents.items()}
    raw = pd.concat(list(raws.values()), ignore_index=True)
    group = [site for site, frame in raws.items() for _ in range(len(frame))]
    features, zeros = _features(raw)
    unrecorded = [name for name in features if features[name].isna().all()]
    if unrecorded:
        raise DataError(f"The sites {listed(chosen)} never recorded {listed(unrecorded)}; add another site.")
    duplicates = sum(SITES[site].duplicates for site in chosen)
    notes = [f"A 0 in {name} was set to missing in {count(n, 'row')}." for name, n in zeros.items() if n]
    if duplicates:
        notes.append(f"Rows equal to an earlier row of their site, kept as in the source: {duplicates}.")
    return validate(
        Table(
            name="heart",
            features=features,
            target=pd.Series(np.where(raw["num"] > 0, "disease", "healthy"), name="diagnosis", dtype=object),
            categorical=tuple(name for name in COLUMNS if name in LEVELS),
            source=SOURCE,
            sha256=hashlib.sha256(b"".join(contents.values())).hexdigest(),
            group=pd.Series(group, name="site", dtype=object),
            notes=tuple(notes),
        )
    )


def _check_sites(sites: Sequence[str] | str) -> tuple[str, ...]:
    chosen = (sites,) if isinstance(sites, str) else tuple(sites)
    for site in chosen:
        if site not in SITES:
            raise OptionError(f"The site {site!r} is not known; choose from {listed(SITES)}.")
    if not chosen or len(set(chosen)) < len(chosen):
        raise OptionError(f"sites={chosen!r} must name at least one of {listed(SITES)}, each once.")
    return chosen


def _content(site: str, chosen: tuple[str, ...], path: str | os.PathLike[str] | None, download: bool) -> bytes:
    """The verified bytes of one site file, from disk or the archive."""
    name = filename(site)
    found = _files.find(name, path)
    if found is not None:
        data = read_bytes(found)
        _files.check_sha256(found, data, SITES[site].sha256, "replace or remove it")
        return data
    if path is not None:
        raise DataError(f"The folder {path} does not hold the file {name}, nor does its subfolder 'heart'.")
    needed = ", ".join(filename(each) for each in chosen)
    where = f"put {needed} into a folder and name it with --data-dir or the variable QKAN_DATA_DIR."
    if not download:
        raise DataError(f"The file {name} was not found; {where}")
    url = BASE_URL.rstrip("/") + "/" + name
    try:
        data = _files.fetch(url)
    except _files.FetchError as reason:
        raise DataError(f"{name} was not found and downloading {url} failed ({reason}); {where}") from None
    _files.check_sha256(url, data, SITES[site].sha256, f"nothing was kept; {where[:-1]}")
    _files.store(data, _files.cache_dir() / name)
    return data


def read_site(site: str, data: bytes) -> pd.DataFrame:
    """The (rows, 14) float64 frame of a site file's bytes, NaN for ``?``, zeros as they are.

    Args:
        site: name of the site, for messages.
        data: the file's bytes.

    Raises:
        DataError: the bytes are not rows of 14 numbers.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(io.BytesIO(data), header=None, na_values="?", dtype="float64")
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{filename(site)} does not hold rows of 14 numbers ({str(error).strip()}).") from None
    if frame.shape[1] != len(COLUMNS):
        raise DataError(f"{filename(site)} has {count(frame.shape[1], 'column')}, {len(COLUMNS)} are expected.")
    return frame.set_axis(list(COLUMNS), axis=1)


def differences(site: str, frame: pd.DataFrame) -> list[str]:
    """How the counts of a site frame differ from the recorded ones; empty if they agree."""
    facts = SITES[site]
    found = {"rows": len(frame)} | {f"missing {name}": int(frame[name].isna().sum()) for name in COLUMNS}
    expected = {"rows": facts.rows} | {f"missing {name}": facts.missing[name] for name in COLUMNS}
    found |= {f"{name} = 0": int((frame[name] == 0).sum()) for name in DISGUISED}
    expected |= {"trestbps = 0": facts.zero_trestbps, "chol = 0": facts.zero_chol}
    found |= {"healthy": int((frame["num"] == 0).sum()), "disease": int((frame["num"] > 0).sum())}
    expected |= {"healthy": facts.healthy, "disease": facts.disease}
    found["duplicate rows"], expected["duplicate rows"] = int(frame.duplicated().sum()), facts.duplicates
    return [f"{key} {found[key]} instead of {expected[key]}" for key in expected if found[key] != expected[key]]


def _checked(site: str, data: bytes) -> pd.DataFrame:
    frame = read_site(site, data)
    if faults := differences(site, frame):
        raise DataError(f"The counts of {filename(site)} differ from the recorded ones: {', '.join(faults)}.")
    return frame


def _features(raw: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """The 13 features, levels as text and disguised zeros as NaN, and how many zeros there were."""
    features = raw.drop(columns="num")
    zeros = {name: int((features[name] == 0).sum()) for name in DISGUISED}
    for name in DISGUISED:
        features[name] = features[name].replace(0.0, np.nan)
    for name, levels in LEVELS.items():
        unknown = sorted(set(features[name].dropna()) - set(levels))
        if unknown:
            raise DataError(f"Column {name!r} holds {unknown[0]:g}; its codes are {listed(levels)}.")
        features[name] = features[name].map(levels).astype(object)
    return features, zeros


def load_heart_kaggle(path: str | os.PathLike[str]) -> Table:
    """The 918-row "Heart Failure Prediction" file, which leaks its label: only to compare with published
    numbers.

    Columns and levels keep the file's names; FastingBS is categorical ('0', '1'); labels are 'healthy' and
    'disease'; a 0 in Cholesterol (172 rows) and RestingBP (1 row) becomes NaN. If the file is byte for byte
    the known one, ``group`` holds the UCI site of each row.

    Args:
        path: of the CSV file, or of a folder that holds ``heart.csv``, directly or in its subfolder
            ``heart``.

    Raises:
        DataError: the file cannot be read, or its header is not that of the 918-row file.

    Warns:
        LeakageWarning: always; 387 of the 918 rows hold a value imputed from the label.
    """
    import pandas as pd

    given = Path(os.path.expanduser(path))
    file = (_files.find("heart.csv", given) or given / "heart.csv") if given.is_dir() else given
    raw = read_raw(file)
    if not is_kaggle(raw.frame.columns):
        raise DataError(f"{file} is not the 918-row heart file; its header must hold {', '.join(KAGGLE_COLUMNS)}.")
    warn_leakage()
    table = build(raw, KAGGLE_LABEL, "heart_kaggle")
    if set(table.target) != {0, 1}:
        raise DataError(f"{file} has labels {listed(sorted(set(table.target), key=str))}; 0 and 1 are expected.")
    features = table.features
    for name in KAGGLE_DISGUISED:
        features[name] = features[name].replace(0.0, np.nan)
    for name in KAGGLE_CATEGORICAL:
        features[name] = raw.frame[name]
    known = raw.sha256 == KAGGLE_SHA256
    sites = [site for site, rows in KAGGLE_SITES for _ in range(rows)]
    return validate(
        Table(
            name=table.name,
            features=features,
            target=table.target.map({0: "healthy", 1: "disease"}).astype(object).rename("diagnosis"),
            categorical=KAGGLE_CATEGORICAL,
            source=f"fedesoriano (2021), Heart Failure Prediction, Kaggle, ODbL 1.0; rows from: {SOURCE}",
            sha256=raw.sha256,
            group=pd.Series(sites, name="site", dtype=object) if known else None,
            notes=(
                "387 of 918 rows hold a value imputed from the label.",
                *(() if known else ("The file is an altered copy: its sha256 is not the known one.",)),
            ),
        )
    )

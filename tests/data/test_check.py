from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qkan.data import Finding, check
from qkan.errors import DataError, OptionError


def write(folder: Path, frame: pd.DataFrame) -> Path:
    path = folder / "t.csv"
    frame.to_csv(path, index=False)
    return path


def messages(findings: list[Finding], level: str) -> str:
    return "\n".join(finding.message for finding in findings if finding.level == level)


def test_a_good_file(tmp_path, frame):
    findings = check(write(tmp_path, frame))
    assert {finding.level for finding in findings} == {"ok", "info"}
    assert "has 30 rows and 4 columns" in messages(findings, "info")
    assert "No cell is missing." in messages(findings, "ok")
    with_target = check(str(tmp_path / "t.csv"), "y")
    assert "The target 'y' has 2 values: 'no' (15 rows), 'yes' (15 rows)." in messages(with_target, "info")
    assert "can be loaded for classifying 'y'" in messages(with_target, "ok")


def test_faults_of_columns(tmp_path, frame):
    bad = frame.astype(object)
    bad["number"] = range(100, 130)
    bad["patient"] = [f"P{i}" for i in range(30)]
    bad["same"] = "x"
    bad["empty"] = np.nan
    bad.loc[3, "a"] = "inf"
    bad.loc[[4, 5], "b"] = "12,5"
    bad.loc[[1, 2, 3], "colour"] = np.nan
    findings = check(write(tmp_path, bad))
    errors, warnings = messages(findings, "error"), messages(findings, "warning")
    assert "Column 'a' is infinite in 1 row, first in row 5." in errors
    assert "Column 'b' of" in errors
    assert "first '12,5' in row 6" in errors
    assert "Column 'empty' is entirely missing." in errors
    assert "Text column 'patient' has a different value in every row" in errors
    assert "Column 'number' numbers the rows without a gap" in warnings
    assert "Column 'same' is constant ('x')" in warnings
    assert "Column 'colour' is missing in 3 rows of 30 (10.0%)." in messages(findings, "info")
    assert "stops: Column 'a'" in messages(check(tmp_path / "t.csv", "y"), "error")


def test_duplicate_rows_with_and_without_the_label(tmp_path, frame):
    frame.loc[10] = frame.loc[0]
    frame.loc[11] = frame.loc[1]
    frame.loc[12] = frame.loc[2]
    frame.loc[12, "y"] = "yes" if frame.loc[2, "y"] == "no" else "no"
    path = write(tmp_path, frame)
    plain = messages(check(path), "warning")
    assert plain.startswith("2 rows repeat an earlier row in every column;")
    findings = messages(check(path, "y"), "warning")
    assert "3 rows repeat an earlier row in every column but the target 'y'" in findings
    assert "Rows with equal features carry different labels 'y' in 1 case." in findings


def test_numbers_written_differently_are_duplicates(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n1,x\n1.0,x\n2,z\n")
    assert "1 row repeats an earlier row" in messages(check(path), "warning")


def test_one_column_and_a_missing_label(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("y\n1\n2\n\n2\n")
    assert "stops: " in messages(check(path, "y"), "error")
    path.write_text("a,y\n1,\n2,\n")
    assert "is missing in 2 rows" in messages(check(path, "y"), "error")


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path):
    [finding] = check(tmp_path / "gone.csv")
    assert finding == Finding("error", f"The file {tmp_path / 'gone.csv'} does not exist.")
    (tmp_path / "t.csv").write_text("a,y\n1,2\n")
    [finding] = check(tmp_path / "t.csv", "z")
    assert finding.level == "error"
    assert "has no column 'z'" in finding.message


def test_names(tmp_path):
    with pytest.raises(DataError, match="'hart' is not known"):
        check("hart")
    with pytest.raises(OptionError, match="is fixed to 'diagnosis'"):
        check("heart", "num")
    with pytest.raises(OptionError, match="applies to 'heart' only"):
        check("breast_cancer", data_dir=tmp_path)
    assert messages(check("breast_cancer"), "ok") == (
        "scikit-learn's table has 569 rows, 30 features, 2 classes, as recorded."
    )


# The heart files.


def test_the_leak_of_the_918_row_file(heart_csv):
    findings = check(heart_csv)  # pytest turns warnings into errors: reporting the leak must not also warn
    warnings = messages(findings, "warning")
    assert "387 of 918 rows hold a value imputed from the label" in warnings
    for column, cells in {"ST_Slope": 307, "FastingBS": 90, "ExerciseAngina": 55, "Oldpeak": 62}.items():
        assert f"{column} leaks the label: {cells} cells" in warnings
    assert "Cholesterol is 0 in 172 rows (diseased: 152), which is a disguised missing value." in warnings
    assert "RestingBP is 0 in 1 row" in warnings
    assert "known 918-row heart file, byte for byte" in messages(findings, "info")
    assert "1 (508 rows), 0 (410 rows)" in messages(findings, "info")
    assert messages(findings, "error") == ""


def test_an_altered_918_row_file(heart_csv, tmp_path):
    frame = pd.read_csv(heart_csv)
    frame.loc[frame["Cholesterol"] == 0, "Cholesterol"] = 200
    frame = frame[frame.columns[::-1]]
    findings = check(write(tmp_path, frame))
    warnings = messages(findings, "warning")
    assert "the file is altered, and what follows is recorded for the original" in warnings
    assert "ST_Slope leaks the label" in warnings
    assert "Cholesterol is 0" not in warnings


def test_intact_site_files(heart_dir):
    findings = check("heart", data_dir=heart_dir)
    assert [finding.level for finding in findings].count("ok") == 4
    assert {finding.level for finding in findings} == {"ok", "info"}
    facts = messages(findings, "info")
    assert "processed.switzerland.data: chol is 0 in 123 rows" in facts
    assert "processed.va.data: chol is 0 in 49 rows" in facts
    assert "processed.va.data: trestbps is 0 in 1 row" in facts
    assert facts.count("1 exact duplicate row") == 2


def test_damaged_site_files(heart_dir, tmp_path, cache, monkeypatch):
    shutil.copyfile(heart_dir / "processed.cleveland.data", tmp_path / "processed.cleveland.data")
    va = (heart_dir / "processed.va.data").read_bytes()
    (tmp_path / "processed.va.data").write_bytes(va[va.index(b"\n") + 1 :])
    (tmp_path / "processed.hungarian.data").write_text("age,sex\n1,2\n")
    findings = check("heart", data_dir=tmp_path)
    errors = messages(findings, "error")
    assert "processed.va.data has the sha256" in errors
    assert "rows 199 instead of 200" in errors
    assert "processed.hungarian.data does not hold rows of 14 numbers" in errors
    assert "processed.switzerland.data is not in" in errors
    assert messages(findings, "ok").count("is the recorded file") == 1
    monkeypatch.setenv("QKAN_DATA_DIR", str(tmp_path))
    assert messages(check("heart"), "ok").count("is the recorded file") == 1


def test_absent_site_files_are_not_downloaded(cache, archive):
    findings = check("heart")
    assert [finding.level for finding in findings] == ["warning"] * 4
    assert "processed.va.data is not on this machine; load_heart would download it." in messages(findings, "warning")
    assert not cache.exists()

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkan import data
from qkan.data.table import Table, load_csv, validate
from qkan.errors import DataError, OptionError


def write(folder: Path, frame: pd.DataFrame, name: str = "t.csv") -> Path:
    path = folder / name
    frame.to_csv(path, index=False)
    return path


def text(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_good_file(tmp_path, frame):
    path = write(tmp_path, frame)
    table = load_csv(path, "y")
    assert table.name == "t"
    assert load_csv(path, "y", name="mine").name == "mine"
    assert table.categorical == ("colour",)
    assert list(table.features) == ["a", "b", "colour"]
    np.testing.assert_array_equal(table.features[["a", "b"]], frame[["a", "b"]])
    assert table.features["a"].dtype == np.float64
    assert table.features["colour"].tolist() == frame["colour"].tolist()
    assert table.target.tolist() == frame["y"].tolist()
    assert table.target.name == "y"
    assert table.group is None
    assert table.source == str(path)
    assert table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("code", ["", "NA", "n/a", "NaN", "nan", "NULL", "?", ".", " ? ", "#N/A"])
def test_missing_codes_stay_missing(tmp_path, frame, code):
    table = frame.astype(object)
    table.loc[3, "a"] = code
    table.loc[5, "colour"] = code
    features = load_csv(write(tmp_path, table), "y").features
    assert features["a"].dtype == np.float64
    assert np.flatnonzero(features["a"].isna()).tolist() == [3]
    assert np.flatnonzero(features["colour"].isna()).tolist() == [5]


@pytest.mark.parametrize("level", ["None", "-"])
def test_levels_that_are_not_missing_codes(tmp_path, frame, level):
    frame.loc[::2, "colour"] = level
    assert level in set(load_csv(write(tmp_path, frame), "y").features["colour"])


def test_booleans_are_categorical_and_zero_one_is_numeric(tmp_path, frame):
    frame["flag"] = [True, False] * 15
    frame["bit"] = [0, 1, 1] * 10
    table = load_csv(write(tmp_path, frame), "y")
    assert table.categorical == ("colour", "flag")
    assert set(table.features["flag"]) == {"True", "False"}
    assert table.features["bit"].dtype == np.float64


def test_whitespace_bom_blank_lines_and_crlf(tmp_path):
    rows = "\r\n\r\n".join(f" {i % 7}.5 , {'yes' if i % 2 else 'no'} " for i in range(20))
    path = text(tmp_path, b"\xef\xbb\xbf" + f" a , y \r\n{rows}\r\n\r\n".encode())
    table = load_csv(path, " y ")
    assert list(table.features) == ["a"]
    assert table.features["a"].iloc[1] == 1.5
    assert set(table.target) == {"yes", "no"}


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        (["0", "1"], {0, 1}),
        (["1.0", "2.0"], {1, 2}),
        (["0.5", "1.5"], {"0.5", "1.5"}),
        (["1", "b"], {"1", "b"}),
    ],
)
def test_labels_are_integers_or_text(tmp_path, frame, written, labels):
    frame["y"] = written * 15
    target = load_csv(write(tmp_path, frame), "y").target
    assert set(target.tolist()) == labels
    assert {type(label) for label in target.tolist()} == {type(label) for label in labels}


# Files that cannot be read as CSV.


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
        load_csv(tmp_path / "nowhere.csv", "y")


def test_folder(tmp_path):
    with pytest.raises(DataError, match=r"is a folder; give the path of a CSV file"):
        load_csv(tmp_path, "y")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_impossible_file_names(tmp_path, name):
    with pytest.raises(DataError, match="cannot be read"):
        load_csv(tmp_path / name, "y")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (b"a,y\n", "has a header but no data rows"),
        (b"PK\x03\x04\x00\x00a,b\n", r"is not a text file \(it holds zero bytes\)"),
        ("a,y\n1,ü\n".encode("utf-16"), "is not a text file"),
        ("a,y\n1,ü\n".encode("latin-1"), r"is not UTF-8 text \(byte 0xfc at position 6\)"),
        (b"a,y\n1,2\n3\n", r"not a readable CSV file: row 3 has 1 cell, the header has 2"),
        (b"a,y\n1,2,3\n", r"row 2 has 3 cells, the header has 2"),
        (b'a,y\n1,"2\n', r"not a readable CSV file: unexpected end of data"),
        (b"a;y\n1;2\n", "separates its columns with ';'"),
        (b"a\ty\n1\t2\n", r"separates its columns with '\\t'"),
        (b"a,y,a ,y\n1,2,3,4\n", "column name more than once: 'a', 'y'"),
        (b",y\n1,2\n", "has no name in the header for column 1"),
        (b"63.0,1\n41.0,0\n", "starts with a row of numbers"),
        (b"63,1,1,?,?,0\n41,2,1,0,?,1\n", "starts with a row of numbers"),
    ],
)
def test_unreadable_files(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        load_csv(text(tmp_path, content), "y")


# Targets that cannot be used.


def test_missing_target_lists_the_columns_and_suggests(tmp_path, frame):
    path = write(tmp_path, frame.rename(columns={"y": "outcome"}))
    with pytest.raises(DataError, match=r"'outcom' \(did you mean 'outcome'\?\); its columns are 'a', 'b'"):
        load_csv(path, "outcom")
    with pytest.raises(DataError, match=r"no column 'zzz'; its columns are 'a', 'b', 'colour', 'outcome'"):
        load_csv(path, "zzz")


def test_long_lists_of_columns_are_cut(tmp_path):
    columns = [f"c{i}" for i in range(50)]
    path = write(tmp_path, pd.DataFrame(np.zeros((60, 50)), columns=columns))
    with pytest.raises(DataError, match="'c19' and 30 more"):
        load_csv(path, "zzz")


def test_target_with_missing_values(tmp_path, frame):
    frame.loc[[2, 4, 7], "y"] = "?"
    with pytest.raises(DataError, match="target 'y' of t is missing in 3 rows"):
        load_csv(write(tmp_path, frame), "y")


def test_constant_target(tmp_path, frame):
    frame["y"] = 1
    with pytest.raises(DataError, match="is 1 in every row; at least 2 classes"):
        load_csv(write(tmp_path, frame), "y")


@pytest.mark.parametrize("values", [np.arange(30), np.linspace(0, 1, 30)])
def test_regression_target(tmp_path, frame, values):
    frame["y"] = values
    with pytest.raises(DataError, match=r"30 distinct values .* looks like regression; ask for it by task"):
        load_csv(write(tmp_path, frame), "y")


def test_too_many_text_classes(tmp_path):
    frame = pd.DataFrame({"a": range(600), "y": [f"name {i % 60}" for i in range(600)]})
    with pytest.raises(DataError, match="60 distinct values, too many for classes"):
        load_csv(write(tmp_path, frame), "y")


def test_rare_class(tmp_path, frame):
    frame["y"] = [2] * 7 + [1] * 23
    with pytest.raises(DataError, match=r"Class 2 of the target 'y' of t has 7 rows; every class needs at least 8"):
        load_csv(write(tmp_path, frame), "y")
    frame["y"] = [2] * 8 + [1] * 22
    load_csv(write(tmp_path, frame), "y")


# Columns that cannot be used.


@pytest.mark.parametrize(("cell", "shown"), [("inf", "inf"), ("-Infinity", "-inf"), ("1e999", "inf")])
def test_infinite_cell(tmp_path, frame, cell, shown):
    table = frame.astype(object)
    table.loc[4, "b"] = cell
    with pytest.raises(DataError, match=rf"Column 'b' of .* is {shown} in row 6; only finite"):
        load_csv(write(tmp_path, table), "y")


def test_row_numbers_count_blank_and_broken_lines(tmp_path):
    rows = "".join(f"{i},x{i % 3},{i % 2}\n" for i in range(20))
    path = text(tmp_path, 'a,note,y\n\n1,"two\nlines",0\n' + rows + "oops,x1,1\n")
    with pytest.raises(DataError, match="first 'oops' in row 25"):
        load_csv(path, "y")
    assert path.read_text().split("\n")[24].startswith("oops")


@pytest.mark.parametrize("cell", ["12,5", "abc", "1_000", "0x10", "1 000", "-nan", "٣"])
def test_mixed_column(tmp_path, frame, cell):
    table = frame.astype(object)
    table.loc[[9, 20], "a"] = cell
    message = f"Column 'a' of .* holds numbers, but also text in 2 cells, first '{cell}' in row 11"
    with pytest.raises(DataError, match=message):
        load_csv(write(tmp_path, table), "y")


def test_decimal_commas_throughout(tmp_path, frame):
    table = frame.astype(object)
    table["a"] = [f"{i % 5},5" for i in range(30)]
    with pytest.raises(DataError, match=r"first '0,5' in row 2; write a number with a decimal point"):
        load_csv(write(tmp_path, table), "y")


def test_codes_that_are_mostly_text_are_categorical(tmp_path, frame):
    frame["code"] = ["A1", "B2", "7"] * 10
    assert "code" in load_csv(write(tmp_path, frame), "y").categorical


def test_fewer_rows_than_features(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(16, 17))).add_prefix("c")
    frame["y"] = [0, 1] * 8
    with pytest.raises(DataError, match=r"fewer rows \(16\) than features \(17\)"):
        load_csv(write(tmp_path, frame), "y")


def test_no_feature_columns(tmp_path, frame):
    with pytest.raises(DataError, match="no feature columns beside the target 'y'"):
        load_csv(write(tmp_path, frame[["y"]]), "y")


def test_entirely_missing_column(tmp_path, frame):
    frame["empty"] = np.nan
    with pytest.raises(DataError, match="Column 'empty' of t is entirely missing"):
        load_csv(write(tmp_path, frame), "y")


def test_identifier_like_column(tmp_path, frame):
    frame["patient"] = [f"P{i:03d}" for i in range(30)]
    with pytest.raises(DataError, match=r"'patient' of t has a different value in every row \(30\).*drop"):
        load_csv(write(tmp_path, frame), "y")
    frame.loc[0, "patient"] = "P001"
    assert "patient" in load_csv(write(tmp_path, frame), "y").categorical


# Tables that do not come from a file.


def table(frame: pd.DataFrame, **changes: object) -> Table:
    plain = Table("made", frame[["a", "b", "colour"]], frame["y"], ("colour",), "test", "0")
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_validate_returns_a_good_table(frame):
    good = table(frame)
    assert validate(good) is good


def test_validate_checks_shapes_and_dtypes(frame):
    with pytest.raises(DataError, match="30 rows of features but 29 of the target"):
        validate(table(frame, target=frame["y"].iloc[:29]))
    with pytest.raises(DataError, match="but 1 of the group"):
        validate(table(frame, group=frame["y"].iloc[:1]))
    with pytest.raises(DataError, match="calls 'size' categorical, but its columns are 'a'"):
        validate(table(frame, categorical=("colour", "size")))
    with pytest.raises(DataError, match="'a' of made has dtype float32"):
        validate(table(frame.astype({"a": "float32"})))


def test_validate_finds_infinity(frame):
    frame.loc[4, "a"] = -np.inf
    with pytest.raises(DataError, match="Column 'a' of made is -inf in row 5"):
        validate(table(frame))


# The package's entry points.


def test_names_and_descriptions_agree_with_the_data():
    assert data.names() == ("breast_cancer", "heart")
    assert [(d.name, d.rows, d.features, d.classes) for d in data.describe()] == [
        ("breast_cancer", 569, 30, 2),
        ("heart", 920, 13, 2),
    ]


def test_breast_cancer():
    table = data.load("breast_cancer")
    assert table.features.shape == (569, 30)
    assert (table.features.dtypes == np.float64).all()
    assert table.target.value_counts().to_dict() == {"benign": 357, "malignant": 212}
    # The first row of the published file is a malignant case with mean radius 17.99.
    assert (table.features["mean radius"].iloc[0], table.target.iloc[0]) == (17.99, "malignant")
    assert table.sha256 == "25e2eb7b7a8745b1bde5ba18bc4969983d2e2f403291ecd5bde4a29ef30c3859"


def test_load_dispatches_paths(tmp_path, frame, monkeypatch):
    path = write(tmp_path, frame)
    assert data.load(path, "y").name == "t"
    monkeypatch.chdir(tmp_path)
    assert data.load("t.csv", target="y").name == "t"
    path.rename("plain")
    assert data.load("plain", target="y").name == "plain"
    with pytest.raises(DataError, match=r"gone\.csv does not exist"):
        data.load("gone.csv", "y")


def test_load_without_a_target_lists_the_columns(tmp_path, frame):
    with pytest.raises(DataError, match="needs a target; name one of its columns 'a', 'b', 'colour', 'y'"):
        data.load(write(tmp_path, frame))


def test_load_refuses_what_does_not_fit(tmp_path, frame):
    with pytest.raises(DataError, match=r"'hart' is not known; choose one of 'breast_cancer', 'heart', or .* CSV"):
        data.load("hart")
    with pytest.raises(OptionError, match="target='num' does not fit: the target of 'heart' is fixed to 'diagn"):
        data.load("heart", target="num")
    with pytest.raises(OptionError, match="applies to 'heart' only, not to 'breast_cancer'"):
        data.load("breast_cancer", data_dir=tmp_path)
    assert len(data.load("breast_cancer", target="diagnosis").target) == 569


def test_import_is_light():
    code = "import qkan.data, sys; print([m for m in ('pandas', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Properties.


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.sampled_from(["ä b", 'quote"d', "com,ma", "line\nbreak", None]),
            st.integers(0, 2),
        ),
        min_size=5,
        max_size=30,
    )
)
def test_what_pandas_writes_is_read_back(rows):
    # Enough rows of every class and level for the checks, whatever is drawn.
    rows = [*rows, *[(0.5, "x", label) for label in (0, 1, 2) for _ in range(8)]]
    frame = pd.DataFrame(rows, columns=["number", "text", "y"])
    with tempfile.TemporaryDirectory() as folder:
        table = load_csv(write(Path(folder), frame), "y")
    expected = frame["number"].astype("float64")
    np.testing.assert_array_equal(table.features["number"], expected)
    assert table.features["text"].where(table.features["text"].notna(), None).tolist() == [r[1] for r in rows]
    assert table.target.tolist() == frame["y"].tolist()


@settings(max_examples=60)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_file_content_causes_any_other_error(content):
    with tempfile.TemporaryDirectory() as folder:
        path = text(Path(folder), content)
        with pytest.raises(DataError):  # 200 bytes cannot hold two classes of 8 rows and a column named like this
            load_csv(path, "a name that is not drawn")

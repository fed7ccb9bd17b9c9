from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from qkan import data
from qkan.data import _heart_facts, heart
from qkan.data.heart import differences, load_heart, load_heart_kaggle, read_site
from qkan.errors import DataError, LeakageWarning, OptionError

SITES = ("cleveland", "hungarian", "switzerland", "va")
# Missing per site, after the zeros of trestbps (VA 1) and chol (Switzerland 123, VA 49) joined them.
COLUMNS = ("trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal")
MISSING = {
    "cleveland": (0, 0, 0, 0, 0, 0, 0, 0, 4, 2),
    "hungarian": (1, 23, 8, 1, 1, 1, 0, 190, 291, 266),
    "switzerland": (2, 123, 75, 1, 1, 1, 6, 17, 118, 52),
    "va": (57, 56, 7, 0, 53, 53, 56, 102, 198, 166),
}


@pytest.fixture
def copies(heart_dir, tmp_path) -> Path:
    folder = tmp_path / "copies"
    folder.mkdir()
    for site in SITES:
        shutil.copy(heart_dir / heart.filename(site), folder)
        (folder / heart.filename(site)).chmod(0o644)
    return folder


def test_counts_of_the_four_sites(heart_dir):
    table = load_heart(heart_dir)
    assert table.features.shape == (920, 13)
    assert table.target.value_counts().to_dict() == {"disease": 509, "healthy": 411}
    assert table.group is not None
    assert "site" not in table.features
    by_site = table.features.isna().groupby(table.group).sum()
    for site, expected in MISSING.items():
        counts = dict(zip(COLUMNS, expected, strict=True))
        assert by_site.loc[site].to_dict() == {"age": 0, "sex": 0, "cp": 0} | counts
    labels = {site: (target == "disease").sum() for site, target in table.target.groupby(table.group)}
    assert labels == {"cleveland": 139, "hungarian": 106, "switzerland": 115, "va": 149}


def test_levels_and_dtypes(heart_dir):
    table = load_heart(heart_dir)
    assert table.categorical == ("sex", "cp", "fbs", "restecg", "exang", "slope", "thal")
    for name, column in table.features.items():
        assert column.dtype == (object if name in table.categorical else np.float64)
    assert {name: set(table.features[name].dropna()) for name in table.categorical} == {
        "sex": {"female", "male"},
        "cp": {"typical", "atypical", "non-anginal", "asymptomatic"},
        "fbs": {"no", "yes"},
        "restecg": {"normal", "ST-T abnormality", "LV hypertrophy"},
        "exang": {"no", "yes"},
        "slope": {"up", "flat", "down"},
        "thal": {"normal", "fixed defect", "reversible defect"},
    }
    # First row of the Cleveland file: 63,1,1,145,233,1,2,150,0,2.3,3,0,6,0
    first = [
        63,
        "male",
        "typical",
        145,
        233,
        "yes",
        "LV hypertrophy",
        150,
        "no",
        2.3,
        "down",
        0,
        "fixed defect",
    ]
    assert table.features.iloc[0].tolist() == first
    assert table.target.iloc[0] == "healthy"
    assert (table.features[["chol", "trestbps"]].min() > 0).all()
    assert set(table.features["ca"].dropna()) == {0, 1, 2, 3}


def test_notes_and_hash(heart_dir):
    table = load_heart(heart_dir)
    assert "A 0 in chol was set to missing in 172 rows." in table.notes
    assert "A 0 in trestbps was set to missing in 1 row." in table.notes
    content = b"".join((heart_dir / heart.filename(site)).read_bytes() for site in SITES)
    assert table.sha256 == hashlib.sha256(content).hexdigest()


def test_a_choice_of_sites_keeps_its_order(heart_dir):
    table = load_heart(heart_dir, sites=("va", "cleveland"))
    assert table.group is not None
    assert table.group.tolist() == ["va"] * 200 + ["cleveland"] * 303
    single = load_heart(heart_dir, sites="cleveland")
    assert single.sha256 == _heart_facts.SITES["cleveland"].sha256
    assert single.notes == ()


def test_wrong_sites(heart_dir):
    known = "'cleveland', 'hungarian', 'switzerland', 'va'"
    with pytest.raises(OptionError, match=f"site 'zurich' is not known; choose from {known}"):
        load_heart(heart_dir, sites=("cleveland", "zurich"))
    with pytest.raises(OptionError, match="at least one of"):
        load_heart(heart_dir, sites=())
    with pytest.raises(OptionError, match="each once"):
        load_heart(heart_dir, sites=("va", "va"))
    with pytest.raises(DataError, match="'switzerland' never recorded 'chol'; add another site"):
        load_heart(heart_dir, sites=("switzerland",))


def test_files_may_lie_in_a_subfolder(copies, tmp_path):
    copies.rename(tmp_path / "heart")
    assert len(load_heart(tmp_path).target) == 920
    assert len(data.load("heart", data_dir=tmp_path).target) == 920


def test_the_variable_names_the_folder(copies, cache, monkeypatch):
    monkeypatch.setenv("QKAN_DATA_DIR", str(copies))
    assert len(load_heart(download=False).target) == 920
    assert not cache.exists()


def test_an_explicit_path_is_searched_alone(copies, cache, archive, monkeypatch):
    monkeypatch.setenv("QKAN_DATA_DIR", str(copies))
    (copies / "part").mkdir()
    shutil.copy(copies / "processed.va.data", copies / "part")
    with pytest.raises(DataError, match=r"does not hold the file processed\.cleveland\.data"):
        load_heart(copies / "part")
    with pytest.raises(DataError, match=r"nowhere does not hold the file processed\.va\.data"):
        load_heart(copies / "nowhere", sites="va")


def test_an_altered_file_is_refused(copies):
    path = copies / "processed.va.data"
    path.write_bytes(path.read_bytes().replace(b"63,1,4,140,260", b"63,1,4,140,261", 1))
    with pytest.raises(DataError, match=r"processed\.va\.data is not the original file: its sha256 checksum is"):
        load_heart(copies)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"processed\.va\.data is empty"):
        load_heart(copies)


def test_counts_are_asserted_beside_the_checksum(heart_dir, monkeypatch):
    facts = _heart_facts.SITES["va"]
    monkeypatch.setitem(facts.missing, "trestbps", 55)
    with pytest.raises(DataError, match=r"counts of processed\.va\.data differ .*: missing trestbps 56 instead of 55"):
        load_heart(heart_dir, sites="va")


def test_differences_name_what_differs(heart_dir):
    frame = read_site("va", (heart_dir / "processed.va.data").read_bytes())
    assert differences("va", frame) == []
    assert "rows 199 instead of 200" in differences("va", frame.iloc[1:])
    frame.loc[frame["chol"] == 0, "chol"] = np.nan
    assert differences("va", frame) == ["missing chol 56 instead of 7", "chol = 0 0 instead of 49"]


@pytest.mark.parametrize("content", [b"age,sex\n63,1\n", b"1,2,3\n", b"\xff\xfe,1\n", b"1,2\n1,2,3\n"])
def test_bytes_that_are_no_site_file(content):
    with pytest.raises(DataError, match=r"processed\.va\.data (does not hold rows of 14 numbers|has 3 columns)"):
        read_site("va", content)


# Download.


def test_download_fills_the_cache_once(heart_dir, cache, archive):
    for site in SITES:
        shutil.copy(heart_dir / heart.filename(site), archive)
    assert len(load_heart().target) == 920
    assert sorted(path.name for path in cache.iterdir()) == sorted(heart.filename(site) for site in SITES)
    shutil.rmtree(archive)
    assert len(load_heart().target) == 920


def test_wrong_bytes_leave_nothing_in_the_cache(cache, archive):
    (archive / "processed.va.data").write_bytes(b"63,1,4,140,260,0,1,112,1,3,2,?,?,2\n")
    with pytest.raises(
        DataError, match=r"processed\.va\.data is not the original file: its sha256 .* nothing was kept"
    ):
        load_heart(sites="va")
    assert not cache.exists()


def test_missing_on_the_server(cache, archive):
    with pytest.raises(DataError, match=r"downloading http://127.* failed \(HTTP status 404\)"):
        load_heart(sites="va")
    assert not cache.exists()


def test_server_down_says_where_to_put_the_files(cache, archive, monkeypatch):
    monkeypatch.setattr(heart, "BASE_URL", "http://127.0.0.1:9/")
    with pytest.raises(DataError, match=r"failed .*Connection refused") as caught:
        load_heart()
    message = str(caught.value)
    for word in ("--data-dir", "QKAN_DATA_DIR", *(heart.filename(site) for site in SITES)):
        assert word in message
    assert "\n" not in message
    assert not cache.exists()


def test_download_can_be_refused(cache, archive):
    with pytest.raises(DataError, match=r"processed\.cleveland\.data was not found; put .* QKAN_DATA_DIR"):
        load_heart(download=False)


def test_a_cache_that_cannot_be_written(heart_dir, cache, archive):
    shutil.copy(heart_dir / "processed.va.data", archive)
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be written"):
        load_heart(sites="va")


# The 918-row file.


def test_kaggle_file_warns_and_loads(heart_csv):
    with pytest.warns(LeakageWarning, match=r"387 of 918 rows .* 6 to 8 .*load_heart"):
        table = load_heart_kaggle(heart_csv)
    assert table.features.shape == (918, 11)
    assert table.target.value_counts().to_dict() == {"disease": 508, "healthy": 410}
    missing = table.features.isna().sum()
    assert missing[missing > 0].to_dict() == {"RestingBP": 1, "Cholesterol": 172}
    assert set(table.categorical) == {
        *("Sex", "ChestPainType", "FastingBS", "RestingECG", "ExerciseAngina", "ST_Slope"),
    }
    assert set(table.features["FastingBS"]) == {"0", "1"}
    assert table.group is not None
    diseased = (table.target == "disease").groupby(table.group).sum()
    assert diseased.to_dict() == {"cleveland": 139, "hungarian": 106, "switzerland": 115, "va": 148}


def test_kaggle_file_in_a_folder_or_altered(heart_csv, tmp_path):
    with pytest.warns(LeakageWarning):
        assert len(load_heart_kaggle(heart_csv.parent).target) == 918
    altered = tmp_path / "copy.csv"
    altered.write_bytes(heart_csv.read_bytes().replace(b"40,M,ATA,140,289", b"40,M,ATA,140,288"))
    with pytest.warns(LeakageWarning):
        table = load_heart_kaggle(altered)
    assert table.group is None
    assert any("altered" in note for note in table.notes)


def test_another_file_is_not_taken_for_it(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,HeartDisease\n1,0\n")
    with pytest.raises(DataError, match="is not the 918-row heart file; its header must hold Age, Sex"):
        load_heart_kaggle(path)
    with pytest.raises(DataError, match=r"heart\.csv does not exist"):
        load_heart_kaggle(tmp_path)
    path.write_text(",".join(_heart_facts.KAGGLE_COLUMNS) + "\n" + "40,M,ATA,140,289,0,Normal,172,N,0,Up,2\n" * 20)
    with (
        pytest.warns(LeakageWarning),
        pytest.raises(DataError, match="has labels 2; 0 and 1 are expected"),
    ):
        load_heart_kaggle(path)


def test_load_csv_recognises_it(heart_csv, tmp_path):
    with pytest.warns(LeakageWarning, match="387 of 918"):
        table = data.load_csv(heart_csv, "HeartDisease")
    assert (table.features["Cholesterol"] == 0).sum() == 172
    with pytest.warns(LeakageWarning):
        data.load(heart_csv, "HeartDisease")

"""The table of bases holds every basis, and measures and writes at sizes that say nothing about speed."""

import bases
import pytest

import qkan


def test_every_basis_of_the_toolkit_is_in_the_table():
    shipped = {name for name in qkan.bases.names() if qkan.bases.get(name).__module__.startswith("qkan.bases")}
    assert shipped == {name for name, _ in bases.CASES.values()}
    assert set(bases.OPTIONS) <= shipped
    encodings = {options.get("encoding", "fixed") for name, options in bases.CASES.values() if name == "daruan"}
    assert encodings == {"fixed", "shared", "edge"}


def test_it_measures_and_writes_only_where_asked(tmp_path, capsys):
    quick = ["--rows", "3", "--repetitions", "1", "--parameters", "30", "--steps", "1", "--seeds", "1"]
    file = tmp_path / "new" / "bases.md"
    bases.main([*quick, "--bases", "legendre", "wavelet"])
    assert list(tmp_path.iterdir()) == []
    bases.main([*quick, "--bases", "legendre", "wavelet", "--out", str(file)])
    printed = capsys.readouterr().out
    text = file.read_text()
    assert printed.endswith(text[text.index("| basis") :])
    legendre, wavelet, linear = (line.split("|") for line in text.strip().splitlines()[-3:])
    assert legendre[1].strip() == "`legendre`"
    assert legendre[2].strip() == f"{64 * 64 * 10 + 64:,}"
    assert float(legendre[6]) > float(legendre[7]) > 1  # tanh suits normal inputs better
    assert wavelet[6].strip() == "–"
    assert linear[2].strip() == "4,160"
    assert linear[6].strip() == "–"
    assert all(float(cell) > 0 for row in (legendre, wavelet, linear) for cell in row[9:11])


@pytest.mark.parametrize("case", [*bases.CASES, bases.PERCEPTRON])
def test_networks_have_about_as_many_parameters_as_asked(case):
    """Most bases have 31 parameters for every hidden node, so 187 can be met but for half of those."""
    assert abs(qkan.count(bases.network(case, 187, seed=0)).trainable - 187) <= 23

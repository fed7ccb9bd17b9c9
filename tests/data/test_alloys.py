"""The generated alloys: published elements, standard descriptors, stated rules."""

import numpy as np
import pytest

from qkan.data import alloys
from qkan.errors import OptionError


def fractions(**parts: float) -> np.ndarray:
    return np.array([[parts.get(name, 0.0) for name in alloys.ELEMENTS]])


def test_descriptors_of_the_cantor_alloy():
    """CoCrFeMnNi: δ 3.27 %, ΔH -4.16 kJ/mol, VEC 8 and ΔS = R ln 5, as reported throughout the literature."""
    found = alloys.descriptors(fractions(Co=0.2, Cr=0.2, Fe=0.2, Mn=0.2, Ni=0.2))
    assert found["size_mismatch"][0] == pytest.approx(3.27, abs=0.005)
    assert found["mixing_enthalpy"][0] == pytest.approx(-4.16)
    assert found["valence_electrons"][0] == pytest.approx(8.0)
    assert found["mixing_entropy"][0] == pytest.approx(8.314462618 * np.log(5))


def test_descriptors_of_a_binary_and_of_an_element():
    pair = alloys.descriptors(fractions(Al=0.5, Ni=0.5))
    assert pair["mixing_enthalpy"][0] == pytest.approx(-22.0)  # 4 H c c' is H at equal parts
    assert pair["electronegativity_difference"][0] == pytest.approx((1.91 - 1.61) / 2)
    pure = alloys.descriptors(fractions(Fe=1.0))
    assert [pure[name][0] for name in ("mixing_enthalpy", "mixing_entropy", "size_mismatch")] == [0, 0, 0]
    assert pure["melting_temperature"][0] == 1811.0
    table = alloys.enthalpies()
    np.testing.assert_array_equal(table, table.T)
    assert np.count_nonzero(table) == 2 * (36 - 2)  # Co-Ni and Fe-Mn mix without heat


def test_the_table_follows_its_rules():
    frame = alloys.alloys(400, seed=3)
    assert list(frame.columns) == list(alloys.COLUMNS)
    own = frame[[f"x_{name}" for name in alloys.ELEMENTS]].to_numpy()
    np.testing.assert_allclose(own.sum(1), 1, atol=2e-3)
    assert set((own > 0).sum(1)) <= {4, 5, 6}
    for name, values in alloys.descriptors(own).items():
        np.testing.assert_allclose(frame[name], values, rtol=2e-3, atol=2e-2)
    odds = alloys.log_odds(frame["mixing_enthalpy"].to_numpy(), frame["size_mismatch"].to_numpy())
    yes = frame["single_phase"] == "yes"
    assert 0.25 < yes.mean() < 0.75
    assert (yes == (odds > 0)).mean() > 0.85  # the rule decides, and leaves some noise
    assert (yes == (odds > 0)).mean() < 1.0
    away = frame["yield_strength"] - alloys.strength(frame)
    assert 25 < away.std() < 35
    assert alloys.alloys(400, seed=3).equals(frame)
    assert not alloys.alloys(400, seed=4).equals(frame)


def test_the_page_says_that_nothing_is_real():
    page = alloys.about(50, 7)
    assert "These 50 alloys do not exist" in page
    assert all(f"`{name}`" in page for name in alloys.COLUMNS)
    with pytest.raises(OptionError, match="rows=10 must be a whole number of at least 40"):
        alloys.alloys(10)

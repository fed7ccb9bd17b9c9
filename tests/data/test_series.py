"""The series record, the computed series against their mathematics, and the sunspot file."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import simpson
from scipy.special import jv

from qkan.data import (
    Series,
    bessel,
    damped_pendulum,
    delayed_quantum_control,
    describe_series,
    load_series,
    narma,
    read_sunspots,
    series_names,
)
from qkan.data.generators import narma_input
from qkan.errors import DataError, OptionError, ShapeError


def test_series_holds_read_only_copies():
    values = np.arange(5.0)
    series = Series("ramp", values, range(5))
    values[0] = 9
    assert series.values.shape == (5, 1)
    assert series.values[0, 0] == 0
    assert len(series) == 5
    assert values.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        series.values[0] = 1
    assert series.sha256 == Series("other", np.arange(5), np.arange(5)).sha256
    assert series.sha256 != Series("ramp", np.arange(5), np.arange(1, 6)).sha256


@pytest.mark.parametrize(
    ("values", "time", "message"),
    [
        (
            [1, 2, np.nan, np.nan],
            range(4),
            r"'s' holds nan at position 2 \(counted from 0\) of channel 'value', 2 such",
        ),
        ([1, np.inf, 3], range(3), "holds inf at position 1"),
        ([1, 2, 3, 4], [0, 1, 1, 0], r"1\.0 at position 2 \(counted from 0\) does not come after 1\.0"),
        ([1, 2, 3, 4], [0, 2, 1, 3], r"1\.0 at position 2 .* does not come after 2\.0"),
        ([1, 2, 3], [0, np.nan, 2], "has the time nan at position 1"),
        ([1, 2], [0, 1], "at least 3 points"),
        ([1, 2, 3], [0, 1], "must be .T, channels."),
        (np.zeros((3, 2)), range(3), "must be .T, channels."),
        (["a", "b", "c"], range(3), "are not numbers"),
    ],
)
def test_a_bad_series_is_one_sentence(values, time, message):
    with pytest.raises(DataError, match=message) as caught:
        Series("s", values, time)
    assert "\n" not in str(caught.value)


def test_unknown_channel():
    with pytest.raises(DataError, match="no channel 'speed'; its channels are 'angular_velocity', 'angle'"):
        damped_pendulum().channel("speed")


def test_pendulum_as_published():
    series = damped_pendulum()
    assert series.values.shape == (240, 2)
    assert series.time[0] == 0
    assert series.time[-1] == 20
    np.testing.assert_array_equal(series.values[0], [3, 0])


def test_pendulum_energy_is_lost_to_damping_alone():
    """dE/dt = -b l² ω² for E = m l² ω² / 2 - m g l cos θ, with every parameter away from 1."""
    b, g, length, mass = 0.3, 5.0, 0.7, 1.9
    series = damped_pendulum(b, g, length, mass, angle=0.4, velocity=2.0, points=40001)
    velocity, angle = series.values.T
    energy = mass * length**2 * velocity**2 / 2 - mass * g * length * np.cos(angle)
    # b is the damping of θ' per mass, b/m θ', so the power is b l² ω².
    lost = b * length**2 * simpson(velocity**2, x=series.time)
    assert energy[0] - energy[-1] == pytest.approx(lost, rel=1e-9)
    assert (np.diff(energy) <= 1e-10).all()
    free = damped_pendulum(damping=0).values
    energy = free[:, 0] ** 2 / 2 - 9.81 * np.cos(free[:, 1])
    np.testing.assert_allclose(energy, energy[0], rtol=1e-9)


def test_pendulum_of_small_angle_is_a_damped_oscillator():
    """θ = (v/Ω) exp(-κt) sin Ωt with κ = b/2m, Ω² = g/l - κ²; the cubic term left out is of relative size θ²."""
    v, b, g, length, mass = 1e-4, 0.15, 9.81, 2.0, 0.5
    series = damped_pendulum(b, g, length, mass, velocity=v)
    kappa = b / (2 * mass)
    omega = np.sqrt(g / length - kappa**2)
    decay = v / omega * np.exp(-kappa * series.time)
    np.testing.assert_allclose(series.values[:, 1], decay * np.sin(omega * series.time), atol=1e-11)
    velocity = decay * (omega * np.cos(omega * series.time) - kappa * np.sin(omega * series.time))
    np.testing.assert_allclose(series.values[:, 0], velocity, atol=1e-11)


def test_bessel_values_and_recurrence():
    series = bessel()
    assert series.time[0] == 2
    assert series.time[-1] == 100
    assert len(series) == 256
    assert series.values[0, 0] == pytest.approx(0.3528340286156377, abs=1e-15)  # DLMF / Abramowitz and Stegun, 9.1
    assert series.values[-1, 0] == pytest.approx(jv(2, 100), abs=1e-15)
    lower, upper = (bessel(order).values[:, 0] for order in (1, 3))
    np.testing.assert_allclose(lower + upper, 4 / series.time * series.values[:, 0], atol=1e-14)


@pytest.mark.parametrize(("order", "points"), [(1, 300), (2, 300), (5, 300), (10, 300), (30, 20)])
def test_narma_follows_its_recurrence(order, points):
    series = narma(order, points)
    y, u = series.values.T
    np.testing.assert_array_equal(u, narma_input(points))
    assert y[0] == 0.196
    for t in range(points - 1):
        past = sum(y[t - j] for j in range(order) if t - j >= 0)
        delayed = u[t - order + 1] if t - order + 1 >= 0 else 0.0
        assert y[t + 1] == pytest.approx(0.3 * y[t] + 0.05 * y[t] * past + 1.5 * delayed * u[t] + 0.1, abs=1e-14)


def test_narma_input_has_the_three_tones():
    u = narma_input(300)
    t = 37
    product = np.prod([np.sin(2 * np.pi * tone * t / 300) for tone in (2.11, 3.73, 4.11)])
    assert u[t] == pytest.approx(0.1 * (product + 1), abs=1e-15)
    assert u[0] == 0.1
    assert (u >= 0).all()
    assert (u <= 0.2).all()


def test_narma_of_a_constant_input_reaches_its_fixed_point():
    """y = αy + βn y² + γu² + δ, the smaller root."""
    y = narma(10, points=2000, inputs=np.full(2000, 0.2)).values[-1, 0]
    constant = 1.5 * 0.04 + 0.1
    assert y == pytest.approx((0.7 - np.sqrt(0.49 - 4 * 0.5 * constant)) / (2 * 0.5), abs=1e-12)


def test_narma_that_diverges_is_refused():
    with pytest.raises(DataError, match=r"order 10 diverges .* at step \d+\); use smaller inputs \(they reach 0\.9\)"):
        narma(10, inputs=np.full(300, 0.9))
    with pytest.raises(DataError, match="diverges"):
        narma(5, inputs=np.array([0.1, np.nan] * 150))
    with pytest.raises(ShapeError, match=r"inputs of shape \(3,\) do not fit; they must be \(300,\)"):
        narma(5, inputs=np.zeros(3))


def test_delayed_quantum_control_by_its_formula():
    series = delayed_quantum_control()
    assert len(series) == 2200
    assert series.time[-1] == pytest.approx(19.99)
    for index in (0, 200, 457, 2199):
        x = -2 + 0.01 * index
        value = sum(np.exp(-10 * (x - 2 * n) ** 2) * np.exp(-x / 16) for n in range(11))
        assert series.values[index, 0] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: damped_pendulum(mass=0), "mass=0 must be above 0"),
        (lambda: damped_pendulum(damping=-1), "damping=-1 must not be negative"),
        (lambda: damped_pendulum(points=2), "points=2"),
        (lambda: damped_pendulum(velocity=float("nan")), "velocity=nan must be a finite number"),
        (lambda: bessel(-1), "order=-1"),
        (lambda: bessel(start=3, stop=2), "start=3 must lie below stop=2"),
        (lambda: narma(0), "order=0"),
        (lambda: delayed_quantum_control(step=0), "step=0 must be above 0"),
        (lambda: load_series("narma5", order=3), "order=3 is not an option of 'narma5'; it has 'points'"),
        (lambda: load_series("milan"), "'milan' needs 'path', 'square'"),
    ],
)
def test_wrong_options(call, message):
    with pytest.raises(OptionError, match=message):
        call()


def test_named_series():
    computed = [entry for entry in describe_series() if entry.points]
    assert [entry.name for entry in computed] == list(series_names()[:5])
    for entry in computed:
        series = load_series(entry.name)
        assert series.name == entry.name
        assert len(series) == int(entry.points)
        assert ", ".join(series.channels) == entry.channels
        assert series.source
        assert series.time_unit
    assert len(load_series("narma10", points=50)) == 50
    with pytest.raises(DataError, match=r"'sunspot' is not known; choose one of 'damped_pendulum', .*'milan'"):
        load_series("sunspot")


def sunspot_rows(months: int = 30) -> list[str]:
    """Lines as SILSO writes them; the last month is provisional."""
    rows = []
    for number, (year, month) in enumerate(
        itertools.islice(itertools.product(range(1749, 1760), range(1, 13)), months)
    ):
        decimal = year + (month - 0.5) / 12
        rows.append(
            f"{year};{month:02d};{decimal:.3f};{90 + number:6.1f};{-1.0:5.1f};{-1:5d};{int(number < months - 1)}"
        )
    return rows


def test_sunspots(tmp_path, monkeypatch):
    rows = sunspot_rows()
    assert rows[0] == "1749;01;1749.042;  90.0; -1.0;   -1;1"
    (tmp_path / "SN_m_tot_V2.0.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.setenv("QKAN_DATA_DIR", str(tmp_path))
    for series in (read_sunspots(tmp_path / "SN_m_tot_V2.0.csv"), read_sunspots(tmp_path), load_series("sunspots")):
        np.testing.assert_array_equal(series.values[:, 0], 90 + np.arange(30))
        assert series.time[0] == 1749.042
        assert series.metadata["provisional"] == 1
        assert series.notes == ("1 month is provisional and may change.",)


def test_faulty_sunspots(tmp_path, cache):
    with pytest.raises(DataError, match=r"download https://www\.sidc\.be/SILSO/DATA/SN_m_tot_V2\.0\.csv and give"):
        read_sunspots()
    with pytest.raises(DataError, match=r"is not at .*nowhere\.csv"):
        read_sunspots(tmp_path / "nowhere.csv")
    file = tmp_path / "SN_m_tot_V2.0.csv"
    rows = sunspot_rows()
    for change, message in (
        (rows[:5] + rows[6:], "goes from 1749-05 to 1749-07 in row 6"),
        ([*rows[:4], rows[4].replace("  94.0", "  -1.0")], r"has no sunspot number for 1749-05 \(row 5\)"),
        ([*rows[:4], "1749,05,1749.3"], "Row 5 of .* reads '1749,05,1749.3'; seven cells"),
        ([rows[0].replace(";01;", ";13;")], "Row 1 of"),
    ):
        file.write_text("\n".join(change))
        with pytest.raises(DataError, match=message):
            read_sunspots(file)

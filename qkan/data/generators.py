"""Time series computed from an equation: the forecasting benchmarks of the quantum LSTM literature.

Parameters are those of Gated-QKAN-FWP (Peng and Chen 2026), a benchmark by the group of the QKAN-LSTM paper, and can be
changed. Nothing here is scaled: :func:`qkan.data.make_windows` does that from the training part alone.
"""

from __future__ import annotations

import math

import numpy as np

from qkan.data.series import Series
from qkan.errors import DataError, OptionError, ShapeError, check_positive

NARMA_LIMIT = 1e3
"""|y| beyond which a NARMA series counts as diverged; the published ones stay below 1."""


def damped_pendulum(
    damping: float = 0.15,
    gravity: float = 9.81,
    length: float = 1.0,
    mass: float = 1.0,
    angle: float = 0.0,
    velocity: float = 3.0,
    points: int = 240,
    duration: float = 20.0,
) -> Series:
    """Angular velocity and angle of a damped pendulum: θ'' = -(b/m) θ' - (g/l) sin θ.

    The equation is that of Chen, Yoo and Fang, *Quantum long short-term memory* (ICASSP 2022), who call it damped
    harmonic motion. Solved by an explicit Runge-Kutta method of order 8 with tolerances of 1e-11.

    Args:
        damping: b, in kg/s; may be 0.
        gravity: g, in m/s².
        length: l, in m. The published code ignores it; with its value of 1 m the series is the same.
        mass: m, in kg.
        angle: θ(0), in rad.
        velocity: θ'(0), in rad/s.
        points: number of equally spaced times, both ends included.
        duration: time of the last point, in s.

    Returns:
        Channels ``angular_velocity`` (rad/s) and ``angle`` (rad); time in s.

    Raises:
        OptionError: a number is not finite or has the wrong sign, or ``points`` is below 3.
    """
    from scipy.integrate import solve_ivp

    points = check_positive("points", points, 3)
    _finite(damping=damping, gravity=gravity, length=length, mass=mass, angle=angle, velocity=velocity)
    _finite(duration=duration)
    for name, value in (("gravity", gravity), ("length", length), ("mass", mass), ("duration", duration)):
        if value <= 0:
            raise OptionError(f"{name}={value!r} must be above 0.")
    if damping < 0:
        raise OptionError(f"damping={damping!r} must not be negative.")
    time = np.linspace(0.0, duration, points)
    solution = solve_ivp(
        lambda _, state: (state[1], -damping / mass * state[1] - gravity / length * math.sin(state[0])),
        (0.0, duration),
        (angle, velocity),
        method="DOP853",
        t_eval=time,
        rtol=1e-11,
        atol=1e-12,
    )
    return Series(
        name="damped_pendulum",
        values=solution.y[::-1].T,
        time=time,
        channels=("angular_velocity", "angle"),
        unit="rad/s and rad",
        time_unit="s",
        source="θ'' = -(b/m) θ' - (g/l) sin θ; Chen, Yoo, Fang, Quantum long short-term memory, ICASSP 2022",
        description="Angular velocity and angle of a damped pendulum.",
        metadata={"damping": damping, "gravity": gravity, "length": length, "mass": mass},
    )


def bessel(order: int = 2, points: int = 256, start: float = 2.0, stop: float = 100.0) -> Series:
    """Bessel function of the first kind J_n(x) at equally spaced x, both ends included.

    Args:
        order: n in the formulas.
        points: number of x.
        start: first x.
        stop: last x.

    Returns:
        Channel ``bessel``; ``time`` is x.

    Raises:
        OptionError: ``order`` is negative or no whole number, ``points`` is below 3, or not start < stop.
    """
    from scipy.special import jv

    order, points = check_positive("order", order, 0), check_positive("points", points, 3)
    _finite(start=start, stop=stop)
    if not start < stop:
        raise OptionError(f"start={start!r} must lie below stop={stop!r}.")
    x = np.linspace(start, stop, points)
    return Series(
        name=f"bessel_j{order}",
        values=jv(order, x),
        time=x,
        channels=("bessel",),
        time_unit="x",
        source=f"J_{order}(x), DLMF 10.2; benchmark of Chen, Yoo, Fang, Quantum long short-term memory, ICASSP 2022",
        description=f"Bessel function of the first kind of order {order}.",
    )


def narma_input(points: int = 300) -> np.ndarray:
    """The smooth input u of the NARMA benchmarks, (points,): 0.1 (Π sin(2π f t / T) + 1) with f = 2.11, 3.73, 4.11.

    Source: Suzuki et al., *Natural quantum reservoir computing for temporal information processing*, Scientific
    Reports 12, 1353 (2022). It depends on T = ``points`` as a whole: a longer series does not begin with a shorter one.
    """
    points = check_positive("points", points, 1)
    phase = 2 * np.pi * np.arange(points) / points
    return 0.1 * (np.sin(2.11 * phase) * np.sin(3.73 * phase) * np.sin(4.11 * phase) + 1)


def narma(
    order: int = 10,
    points: int = 300,
    alpha: float = 0.3,
    beta: float = 0.05,
    gamma: float = 1.5,
    delta: float = 0.1,
    initial: float = 0.196,
    inputs: np.ndarray | None = None,
) -> Series:
    """Nonlinear autoregressive moving average of order n.

    y(t+1) = α y(t) + β y(t) Σ_{j=0..n-1} y(t-j) + γ u(t-n+1) u(t) + δ, y(0) = ``initial``, u and y zero before.

    Source: Atiya and Parlos, IEEE Transactions on Neural Networks 11, 697 (2000), eq. for n = 10; the input and the
    form for any n from Suzuki et al., Scientific Reports 12, 1353 (2022); the start, which the papers leave open, is
    that of the Gated-QKAN-FWP code.

    Args:
        order: n in the formulas.
        points: T, number of values y(0) … y(T-1).
        alpha: α.
        beta: β.
        gamma: γ.
        delta: δ.
        initial: y(0).
        inputs: (points,) u; :func:`narma_input` if not given.

    Returns:
        Channels ``output`` (y) and ``input`` (u); ``time`` counts steps.

    Raises:
        OptionError: ``order`` or ``points`` is no whole number of at least 1 and 3, or a coefficient is not finite.
        ShapeError: ``inputs`` is not (points,).
        DataError: the series diverges, or ``inputs`` holds NaN or infinity.
    """
    order, points = check_positive("order", order), check_positive("points", points, 3)
    _finite(alpha=alpha, beta=beta, gamma=gamma, delta=delta, initial=initial)
    u = narma_input(points) if inputs is None else np.asarray(inputs, dtype=np.float64)
    if u.shape != (points,):
        raise ShapeError(f"inputs of shape {u.shape} do not fit; they must be ({points},), one per point.")
    # Zeros in front stand for the time before the first point: y(t) is at order - 1 + t.
    past_u = np.concatenate([np.zeros(order - 1), u])
    y = np.zeros(order - 1 + points)
    y[order - 1] = initial
    for t in range(points - 1):
        now = order - 1 + t
        y[now + 1] = alpha * y[now] + beta * y[now] * y[t : now + 1].sum() + gamma * past_u[t] * u[t] + delta
        if not abs(y[now + 1]) <= NARMA_LIMIT:  # also true for NaN
            raise DataError(
                f"The NARMA series of order {order} diverges (|y| > {NARMA_LIMIT:g} at step {t + 1}); use smaller "
                f"inputs (they reach {np.abs(u).max():g}) or coefficients."
            )
    return Series(
        name=f"narma{order}",
        values=np.stack([y[order - 1 :], u], axis=1),
        time=np.arange(points),
        channels=("output", "input"),
        time_unit="steps",
        source=(
            "y(t+1) = α y(t) + β y(t) Σ_{j<n} y(t-j) + γ u(t-n+1) u(t) + δ; Atiya, Parlos, IEEE Trans. Neural "
            "Netw. 11, 697 (2000); input of Suzuki et al., Sci. Rep. 12, 1353 (2022)"
        ),
        description=f"Nonlinear autoregressive moving average of order {order} and its input.",
        metadata={"alpha": alpha, "beta": beta, "gamma": gamma, "delta": delta, "initial": initial},
    )


def delayed_quantum_control(revivals: int = 11, start: float = -2.0, stop: float = 20.0, step: float = 0.01) -> Series:
    """Decaying revivals Σ_{n<revivals} exp(-10 (x - 2n)²) exp(-x/16), at x from ``start`` up to, without, ``stop``.

    A model of the response of an atom under delayed feedback; the formula is that of the Gated-QKAN-FWP code.

    Args:
        revivals: number of peaks, at x = 0, 2, 4, …
        start: first x.
        stop: end, excluded.
        step: spacing of x.

    Returns:
        Channel ``response``; ``time`` is x. 2200 points by default.

    Raises:
        OptionError: ``revivals`` is no whole number of at least 1, ``step`` is not above 0, or fewer than 3 points
            lie between ``start`` and ``stop``.
    """
    revivals = check_positive("revivals", revivals)
    _finite(start=start, stop=stop, step=step)
    # Not np.arange over the numbers: rounding could add or drop the last point.
    points = round((stop - start) / step) if step > 0 else 0
    if points < 3:
        raise OptionError(f"step={step!r} must be above 0 and leave at least 3 points from {start!r} to {stop!r}.")
    x = start + step * np.arange(points)
    peaks = np.exp(-10 * (x[:, None] - 2 * np.arange(revivals)) ** 2)
    return Series(
        name="delayed_quantum_control",
        values=peaks.sum(1) * np.exp(-x / 16),
        time=x,
        channels=("response",),
        time_unit="x",
        source="Σ_{n<11} exp(-10 (x-2n)²) exp(-x/16), as in Gated-QKAN-FWP (Peng, Chen 2026)",
        description="Decaying revivals of a quantum system under delayed feedback.",
    )


def _finite(**numbers: float) -> None:
    for name, value in numbers.items():
        if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
            raise OptionError(f"{name}={value!r} must be a finite number.")

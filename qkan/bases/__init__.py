"""Edge functions of a KAN layer: one file per basis behind one protocol."""

from qkan.bases._base import Basis, ClassicalBasis, FeatureBasis, get, names, options, register
from qkan.bases._refit import GridUpdate
from qkan.bases.af import AF
from qkan.bases.bspline import BSpline
from qkan.bases.chaos import PolynomialChaos
from qkan.bases.chebyshev import Chebyshev
from qkan.bases.daruan import Daruan
from qkan.bases.fourier import Fourier
from qkan.bases.measured import MeasuredDaruan
from qkan.bases.mixture import Mixture, Selected
from qkan.bases.polynomials import Chebyshev2, Gegenbauer, Hermite, Jacobi, Legendre
from qkan.bases.rational import Rational
from qkan.bases.rbf import RBF, RSWAF, Sech
from qkan.bases.relu import ReLUKAN
from qkan.bases.sine import Sine
from qkan.bases.truncated import TruncatedPower
from qkan.bases.wavelet import Wavelet

__all__ = [
    "AF",
    "RBF",
    "RSWAF",
    "BSpline",
    "Basis",
    "Chebyshev",
    "Chebyshev2",
    "ClassicalBasis",
    "Daruan",
    "FeatureBasis",
    "Fourier",
    "Gegenbauer",
    "GridUpdate",
    "Hermite",
    "Jacobi",
    "Legendre",
    "MeasuredDaruan",
    "Mixture",
    "PolynomialChaos",
    "Rational",
    "ReLUKAN",
    "Sech",
    "Selected",
    "Sine",
    "TruncatedPower",
    "Wavelet",
    "get",
    "names",
    "options",
    "register",
]

"""The library of functions that an edge may be replaced by: values, domains, and how they are written in a formula.

The idea and most of the names are those of KAN (Liu et al., arXiv 2404.19756, section 2.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qkan.errors import OptionError

#: How far inside an open end of a domain arguments must stay, so that values and slopes are finite. It costs powers and
#: logarithms nothing: a larger a with another c and d gives the same function.
MARGIN = 1e-3


@dataclass(frozen=True)
class Function:
    """One function f of a real argument, used as c · f(a·x + b) + d.

    Attributes:
        name: as in formulas, such as "x^2" or "sin".
        evaluate: f on a tensor, elementwise, for arguments in the domain.
        symbolic: f on a SymPy expression.
        complexity: larger for functions that are harder to read: pykan's numbers, and one more where all of a, b, c, d
            are free, because a sine of small argument, for one, can pass for a square.
        low: lower end of the arguments allowed.
        high: upper end.
        redundancy: which (a, b, c, d) give the same function, so that a formula can have the plainest: "power" and its
            ``degree``, "exp", "log", "even", "odd", or "periodic" (odd, period 2π).
        degree: of a power.
    """

    name: str
    evaluate: Callable[[Tensor], Tensor]
    symbolic: Callable[[Any], Any]
    complexity: int
    redundancy: str
    low: float = -math.inf
    high: float = math.inf
    degree: float = 1.0

    def __call__(self, z: Tensor) -> Tensor:
        """f(z); arguments outside the domain are taken at its nearer end, so the result is always finite."""
        if self.low > -math.inf or self.high < math.inf:
            z = z.clamp(self.low, self.high)
        return self.evaluate(z)

    def allows(self, z: Tensor) -> Tensor:
        """Whether every argument along the first dimension of z (N, ...) lies in the domain, (...)."""
        return ((z >= self.low) & (z <= self.high)).all(0)


def _sympy(name: str) -> Callable[[Any], Any]:
    def write(z: Any) -> Any:
        import sympy

        return getattr(sympy, name)(z)

    return write


def _power(name: str, degree: float, complexity: int, low: float = -math.inf) -> Function:
    def write(z: Any) -> Any:
        import sympy

        return z ** sympy.nsimplify(degree)

    def evaluate(z: Tensor) -> Tensor:
        return z**degree

    return Function(name, evaluate, write, complexity, "power", low, degree=degree)


_ALL = (
    _power("x", 1, 1),
    _power("x^2", 2, 2),
    _power("x^3", 3, 3),
    _power("x^4", 4, 3),
    # Arguments on the negative side are reached by a < 0 and another sign of c.
    _power("1/x", -1, 2, MARGIN),
    _power("1/x^2", -2, 4, MARGIN),
    _power("sqrt", 0.5, 2, 1e-8),
    _power("1/sqrt", -0.5, 4, MARGIN),
    Function("exp", torch.exp, _sympy("exp"), 2, "exp", high=80.0),
    Function("log", torch.log, _sympy("log"), 2, "log", low=MARGIN),
    Function("abs", torch.abs, _sympy("Abs"), 3, "even"),
    Function("sin", torch.sin, _sympy("sin"), 3, "periodic"),
    Function("tan", torch.tan, _sympy("tan"), 4, "odd", MARGIN - math.pi / 2, math.pi / 2 - MARGIN),
    Function("tanh", torch.tanh, _sympy("tanh"), 4, "odd"),
    Function("arctan", torch.arctan, _sympy("atan"), 5, "odd"),
    Function("arcsin", torch.arcsin, _sympy("asin"), 5, "odd", 1e-6 - 1, 1 - 1e-6),
    Function("gaussian", lambda z: torch.exp(-z * z), lambda z: _sympy("exp")(-z * z), 4, "even"),
)

#: Functions by name, the plainest first.
LIBRARY: dict[str, Function] = {function.name: function for function in _ALL}


def chosen(names: Iterable[str] | None) -> list[Function]:
    """Functions by name; all of the library for ``None``.

    Raises:
        OptionError: a name is not known, or there is none.
    """
    if names is None:
        return list(LIBRARY.values())
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted or ["(none)"]:
        if name not in LIBRARY:
            raise OptionError(f"function={name!r} is not in the library; choose from {', '.join(LIBRARY)}.")
    return [LIBRARY[name] for name in wanted]


def plainest(function: Function, affine: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The same c · f(a·x + b) + d with the parameters that are easiest to read.

    Powers, exponentials and logarithms lose the parameter that another one can stand in for (a = ±1, or b = 0); even
    and odd functions have a > 0; the shift of a sine lies in (-π, π].

    Args:
        function: f in the formulas.
        affine: (a, b, c, d).
    """
    a, b, c, d = affine
    kind = function.redundancy
    if kind == "power" and a != 0:
        # A whole power takes any factor out of its argument, a root only a positive one.
        scale = a if isinstance(function.degree, int) else abs(a)
        return a / scale, b / scale, c * scale**function.degree, d
    if kind == "exp":
        return a, 0.0, c * math.exp(b), d
    if kind == "log" and a != 0:
        return math.copysign(1.0, a), b / abs(a), c, d + c * math.log(abs(a))
    if kind in ("even", "odd", "periodic") and a < 0:
        a, b, c = -a, -b, c if kind == "even" else -c
    if kind == "periodic":
        b = math.pi - (math.pi - b) % (2 * math.pi)
    return a, b, c, d

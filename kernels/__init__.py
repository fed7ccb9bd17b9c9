"""Arrays in, arrays out: the numerical kernels, each beside its plain reference.

``reference``  the definitions in plain PyTorch, float64-clean; what every fast path is tested against
``spectral``   node values to Fourier coefficients, harmonic and cardinal (Dirichlet, torus) features
``spline``     closed forms of uniform B-splines
``numba_cpu``  compiled float32 CPU kernels; imported on first use
``ops``        the compiled kernels as PyTorch operators
``dispatch``   picks by device, dtype and availability
"""

from qkan.kernels import dispatch, ops, reference, spectral, spline

__all__ = ["dispatch", "ops", "reference", "spectral", "spline"]

"""Arrays in, arrays out: the numerical kernels, each beside its plain reference.

``reference``  the definitions in plain PyTorch, float64-clean; what every fast path is tested against
``spectral``   node values to Fourier coefficients, harmonic and cardinal (Dirichlet, torus) features
"""

from qkan.kernels import reference, spectral

__all__ = ["reference", "spectral"]

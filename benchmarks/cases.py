"""What is measured: layers, their sizes, and what they have to reach."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One layer at one size; forward and backward with gradients to the input and all parameters.

    Attributes:
        kind: "daruan", another basis of the toolkit, or "linear": ``nn.Linear(n·K, m)`` on given features.
        batch: rows B.
        inputs: n.
        outputs: m.
        reps: repetitions L of the circuit.
        encoding: of the circuit: "fixed", "shared" or "edge".
        frequencies: "unit" or "ternary".
        features: K of the kind "linear".
        solver: of the published package.
        device: "cpu" or "cuda".
        dtype: "float32" or "bfloat16".
    """

    kind: str
    batch: int
    inputs: int
    outputs: int
    reps: int = 3
    encoding: str = "fixed"
    frequencies: str = "unit"
    features: int = 0
    solver: str = "exact"
    device: str = "cpu"
    dtype: str = "float32"

    def config(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)

    def floor(self) -> Case | None:
        """The matrix product that this layer cannot do without."""
        if self.encoding == "edge":
            return None
        nodes = {"shared": 3**self.reps, "ternary": 3**self.reps, "unit": 2 * self.reps + 1}
        size = nodes["shared" if self.encoding == "shared" else self.frequencies]
        place = {"device": self.device, "dtype": self.dtype}
        return Case("linear", self.batch, self.inputs, self.outputs, features=size, **place)

    @property
    def label(self) -> str:
        """How tables and messages call it."""
        size = f"({self.batch}, {self.inputs}, {self.outputs}, {self.reps})"
        if self.kind != "daruan":
            return f"({self.batch}, {self.inputs}, {self.outputs}) {self.kind}"
        return f"{size} {self.encoding}" + (" ternary" if self.frequencies == "ternary" else "")


@dataclass(frozen=True)
class Target:
    """At least ``speed`` times faster than the peer, with at most 1/``memory`` of its peak memory."""

    case: Case
    speed: float
    memory: float | None = None


TARGETS = [
    Target(Case("daruan", 16, 4, 4), 10),
    Target(Case("daruan", 64, 16, 16), 50),
    Target(Case("daruan", 1000, 10, 10), 100),
    Target(Case("daruan", 1024, 64, 64), 1000),
    Target(Case("daruan", 1024, 64, 64, encoding="edge"), 200, 50),
    Target(Case("daruan", 1024, 64, 64, frequencies="ternary"), 500),
    Target(Case("daruan", 1024, 64, 64, encoding="shared"), 500),
]
#: On CUDA, against the solver "flash".
GPU_TARGETS = [
    Target(Case("daruan", *size, encoding=encoding, solver="flash", device="cuda", dtype=dtype), speed)
    for size in ((4096, 256, 256), (65536, 32, 32))
    for encoding, speed in (("fixed", 10), ("edge", 3))
    for dtype in ("float32", "bfloat16")
]
QUICK = [Target(Case("daruan", 8, 2, 3), 1), Target(Case("daruan", 8, 2, 3, encoding="edge"), 1)]
OTHERS = [Case(kind, 1024, 64, 64) for kind in ("bspline", "fourier", "rbf")]
#: Within this factor of the floor.
FLOOR = 2.5


def scaling_axes(quick: bool = False) -> dict[str, list[Case]]:
    """Cases along each axis; the shared encoding needs 3^L nodes, so it is taken to few repetitions only."""
    if quick:
        return {
            "batch": [Case("daruan", size, 3, 3) for size in (4, 8)],
            "width": [Case("daruan", 8, size, size) for size in (2, 4)],
            "reps": [Case("daruan", 8, 3, 3, reps=reps) for reps in (1, 2)],
        }
    both = ("fixed", "edge")
    widths = [2**power for power in range(2, 9)]
    repetitions = [("fixed", 8), ("edge", 8), ("shared", 4)]
    return {
        "batch": [Case("daruan", 2**power, 32, 32, encoding=name) for name in both for power in range(4, 15)],
        "width": [Case("daruan", 256, size, size, encoding=name) for name in both for size in widths],
        "reps": [Case("daruan", 256, 32, 32, r, name) for name, last in repetitions for r in range(1, last + 1)],
    }

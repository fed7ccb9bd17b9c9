"""A made-up table of high-entropy alloys with the descriptors that the literature classifies them by.

Compositions and labels are generated; only the properties of the elements are published. The table shows how a table of
one's own is laid out, and lets classification and regression be tried. It says nothing about real alloys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qkan.errors import check_positive

if TYPE_CHECKING:
    import pandas as pd

#: Element -> metallic radius in Å, Pauling electronegativity, valence electrons (Guo and Liu, Prog. Nat. Sci. Mater.
#: Int. 21, 433, 2011), melting temperature in K (CRC Handbook of Chemistry and Physics).
ELEMENTS: dict[str, tuple[float, float, int, float]] = {
    "Al": (1.432, 1.61, 3, 933.5),
    "Co": (1.251, 1.88, 9, 1768.0),
    "Cr": (1.249, 1.66, 6, 2180.0),
    "Cu": (1.278, 1.90, 11, 1357.8),
    "Fe": (1.241, 1.83, 8, 1811.0),
    "Mn": (1.350, 1.55, 7, 1519.0),
    "Ni": (1.246, 1.91, 10, 1728.0),
    "Ti": (1.462, 1.54, 4, 1941.0),
    "V": (1.316, 1.63, 5, 2183.0),
}
#: Mixing enthalpies of the equiatomic liquid binaries in kJ/mol, by Miedema's model (Takeuchi and Inoue, Mater. Trans.
#: 46, 2817, 2005), rounded to whole numbers; row by row, the elements after the row's own in the order above.
_BINARIES = {
    "Al": (-19, -10, -1, -11, -19, -22, -30, -16),
    "Co": (-4, 6, -1, -5, 0, -28, -14),
    "Cr": (12, -1, 2, -7, -7, -2),
    "Cu": (13, 4, 4, -9, 5),
    "Fe": (0, -2, -17, -7),
    "Mn": (-8, -8, -1),
    "Ni": (-35, -18),
    "Ti": (-2,),
}
#: Molar gas constant in J/(mol K).
GAS_CONSTANT = 8.314462618

#: Column -> what it holds.
COLUMNS: dict[str, str] = {
    **{f"x_{name}": f"atomic fraction of {name}; the fractions of a row sum to 1" for name in ELEMENTS},
    "mixing_enthalpy": "ΔH = Σ_{i<j} 4 H_ij c_i c_j in kJ/mol",
    "mixing_entropy": "ΔS = -R Σ c_i ln c_i in J/(mol K)",
    "size_mismatch": "δ = 100 √(Σ c_i (1 - r_i/r̄)²) in percent (Zhang et al., Adv. Eng. Mater. 10, 534, 2008)",
    "electronegativity_difference": "Δχ = √(Σ c_i (χ_i - χ̄)²) on Pauling's scale",
    "valence_electrons": "VEC = Σ c_i VEC_i (Guo et al., J. Appl. Phys. 109, 103505, 2011)",
    "melting_temperature": "T_m = Σ c_i T_m,i in K",
    "cold_rolling": "reduction of thickness in percent, uniform on 0 … 80",
    "annealing_time": "hours at 1173 K after rolling, uniform on 0 … 24",
    "homogenisation_temperature": "in K, uniform on 1273 … 1473",
    "single_phase": (
        "label, yes or no, drawn: the odds of yes are exp(z), z = 1.5 (5 - δ) + 0.6 (ΔH + 10), falling in |ΔH| above "
        "0 as by Zhang's criterion: z = 1.5 (5 - δ) + 0.6 (10 - 3 ΔH) there"
    ),
    "yield_strength": (
        "property in MPa: 150 + 55 δ + 60 max(0, 8 - VEC)² + 450 (1 - e^(-rolling/30)) e^(-annealing/10) - 0.3 "
        "(homogenisation - 1273), plus normal noise of 30 MPa, and at least 50"
    ),
}


def enthalpies() -> np.ndarray:
    """H_ij in kJ/mol, symmetric (elements, elements) in the order of :data:`ELEMENTS`, 0 on the diagonal."""
    table = np.zeros((len(ELEMENTS), len(ELEMENTS)))
    for row, values in enumerate(_BINARIES.values()):
        table[row, row + 1 :] = values
    return table + table.T


def descriptors(fractions: np.ndarray) -> dict[str, np.ndarray]:
    """The descriptors of :data:`COLUMNS` for atomic fractions (rows, elements) that sum to 1, (rows,) each."""
    c = np.asarray(fractions, dtype=np.float64)
    radius, negativity, electrons, melting = np.array(list(ELEMENTS.values())).T
    logarithms = np.log(np.where(c > 0, c, 1.0))  # c ln c tends to 0
    mean = c @ radius
    return {
        # Σ_{i<j} 4 H_ij c_i c_j is twice the sum over all ordered pairs.
        "mixing_enthalpy": 2 * np.einsum("ri,ij,rj->r", c, enthalpies(), c),
        "mixing_entropy": -GAS_CONSTANT * (c * logarithms).sum(1),
        "size_mismatch": 100 * np.sqrt((c * (1 - radius / mean[:, None]) ** 2).sum(1)),
        "electronegativity_difference": np.sqrt((c * (negativity - (c @ negativity)[:, None]) ** 2).sum(1)),
        "valence_electrons": c @ electrons,
        "melting_temperature": c @ melting,
    }


def alloys(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """A generated table of alloys of four to six elements, its columns described by :data:`COLUMNS`.

    Inputs are those of a study that fits KANs to alloys (Bandyopadhyay et al., arXiv 2410.08452): descriptors for
    single-phase classification, composition and processing for yield strength. Its data are not used here.

    Args:
        rows: number of alloys; 40 or more.
        seed: of a local generator.
    """
    import pandas as pd

    rows = check_positive("rows", rows, 40)
    random = np.random.default_rng(check_positive("seed", seed, 0))
    fractions = np.zeros((rows, len(ELEMENTS)))
    for row in fractions:
        chosen = random.choice(len(ELEMENTS), random.integers(4, 7), replace=False)
        row[chosen] = random.dirichlet(np.full(len(chosen), 8.0))  # near equal parts
    fractions = fractions.round(3)
    fractions[np.arange(rows), fractions.argmax(1)] += 1 - fractions.sum(1)  # rounding must not lose any
    found: dict[str, Any] = {f"x_{name}": fractions[:, i].round(3) for i, name in enumerate(ELEMENTS)}
    found |= {name: values.round(4) for name, values in descriptors(fractions).items()}
    found["cold_rolling"] = random.uniform(0, 80, rows).round(1)
    found["annealing_time"] = random.uniform(0, 24, rows).round(1)
    found["homogenisation_temperature"] = random.uniform(1273, 1473, rows).round()
    frame = pd.DataFrame(found)
    odds = log_odds(frame["mixing_enthalpy"].to_numpy(), frame["size_mismatch"].to_numpy())
    frame["single_phase"] = np.where(random.uniform(size=rows) < 1 / (1 + np.exp(-odds)), "yes", "no")
    frame["yield_strength"] = (strength(frame) + random.normal(0, 30, rows)).clip(50).round(1)
    return frame


def log_odds(enthalpy: np.ndarray, mismatch: np.ndarray) -> np.ndarray:
    """Log-odds of "yes" by the rule for ``single_phase``, (rows,).

    Args:
        enthalpy: mixing enthalpy in kJ/mol, (rows,).
        mismatch: δ in percent, (rows,).
    """
    return 1.5 * (5 - mismatch) + 0.6 * np.where(enthalpy < 0, enthalpy + 10, 10 - 3 * enthalpy)


def strength(frame: pd.DataFrame) -> np.ndarray:
    """The rule for ``yield_strength`` without its noise, in MPa.

    Args:
        frame: a table (N, columns) with the columns of :func:`alloys` -> (N,).
    """
    hardening = (1 - np.exp(-frame["cold_rolling"] / 30)) * np.exp(-frame["annealing_time"] / 10)
    solution = 55 * frame["size_mismatch"] + 60 * (8 - frame["valence_electrons"]).clip(lower=0) ** 2
    found = 150 + solution + 450 * hardening - 0.3 * (frame["homogenisation_temperature"] - 1273)
    return found.to_numpy()


def about(rows: int, seed: int) -> str:
    """A page about the table, in Markdown: that it is generated, how, and what each column holds.

    Args:
        rows: of the table.
        seed: it was drawn with.
    """
    lines = [f"| `{name}` | {text} |" for name, text in COLUMNS.items()]
    return "\n".join(
        [
            "# Generated alloys",
            "",
            f"**These {rows} alloys do not exist.** Compositions, processing and both targets were drawn at random "
            f"(`qkan data example alloys`, seed {seed}); the targets follow the rules below plus noise and say nothing "
            "about real alloys. Radii, electronegativities and valence electrons of the elements are those of Guo and "
            "Liu, Prog. Nat. Sci. Mater. Int. 21, 433 (2011), mixing enthalpies those of Takeuchi and Inoue, Mater. "
            "Trans. 46, 2817 (2005).",
            "",
            "The two targets are not meant to predict each other: `--drop` one when training on the other.",
            "",
            "| column | content |",
            "|---|---|",
            *lines,
            "",
        ]
    )

"""Several bases on every edge with gates that choose among them (S-KAN), and what is left after the choice."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qkan._random import spawn
from qkan.bases._base import Basis, FeatureBasis, get, normal_nodes, options, register, slopes_of
from qkan.circuits.measured import MeasuredValues
from qkan.errors import OptionError, RefineError, ShapeError, check_above, check_choice
from qkan.kernels.reference import accumulation_dtype

#: What a gate chooses from unless told otherwise: local, global and quantum functions.
POOL = ("bspline", "fourier", "daruan")
#: Outputs of the fresh bases whose moments stand for a member's.
_SAMPLED = 64
#: Added to E[φ²] before the square root, so that an edge of zeros has a finite gradient.
_FLOOR = 1e-12


@register("mixture")
class Mixture(FeatureBasis):
    """φ_oi(x) = Σ_f g_f φ_foi(x) / √E[φ_foi²] with gates g = softmax(α/τ) over the member bases f.

    The activation-space selection of S-KAN (arXiv 2408.08338): train with all members, let the gates decide, keep the
    winner. See :func:`qkan.models.mixture.fit_mixture` for the three stages and :meth:`qkan.KANLayer.select`. We know
    of no public code of the paper, nor its thresholds and stage lengths, so the following is our own reading.

    Every member is divided by the root of its mean square, so that g_f is its share of the edge and not undone by
    larger coefficients; how large the edge is, its ``scale`` in the layer says. The mean square over a standard normal
    input is estimated as Σ_k C_oik² E[B_k²] from the moments of the features and the present coefficients (features
    taken as uncorrelated); of bases whose amplitude is not free, as of circuits, it is that of fresh ones.
    The moments are those of the features as they begin: trained shapes make the estimate rough.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        members: two or more bases, each by name or as ``{"basis": name, option: value, …}``.
        gate: "layer" (default) has one set of gates, so that the chosen layer is a plain one; "edge" one per edge.
        temperature: τ; the lower, the harder the gates.
        seed: of local generators; ``None`` draws fresh entropy.

    All gates start equal. A forward pass costs the sum over the members.

    Raises:
        OptionError: an option is out of range, a member is not known, or it is a mixture itself.
    """

    members: Sequence[Any]

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        members: Sequence[Any] = POOL,
        gate: str = "layer",
        temperature: float = 1.0,
        seed: int | None = None,
    ):
        super().__init__(in_features, out_features)
        check_choice("gate", gate, ("layer", "edge"))
        self.gate, self.temperature = gate, check_above("temperature", temperature, 0.0)
        wanted = _read_members(members)
        if len(wanted) < 2:
            raise OptionError(f"members={members!r} must list two or more bases to choose from.")
        seeds = spawn(seed, len(wanted))
        self.members = nn.ModuleList(  # type: ignore[assignment]
            get(name)(in_features, out_features, **own, seed=one)
            for (name, own), one in zip(wanted, seeds, strict=True)
        )
        shape = (len(wanted),) if gate == "layer" else (out_features, in_features, len(wanted))
        self.logits = nn.Parameter(torch.zeros(shape))
        # Of fresh bases of a fixed seed, so that the numbers follow from the options and need not be saved.
        fresh = [get(name)(in_features, _SAMPLED, **own, seed=0) for name, own in wanted]
        self._powers = {f"power_{place}": one.moments()[0].numpy() for place, one in enumerate(fresh)}
        self.build_constants()
        if all(_folds(member) for member in self.members):
            self.num_features = sum(member.num_features for member in self.members)

    def constants(self) -> dict[str, np.ndarray]:
        return self._powers

    def config(self) -> dict[str, Any]:
        members = [{"basis": member.name, **member.config()} for member in self.members]
        return {"members": members, "gate": self.gate, "temperature": self.temperature}

    @property
    def folds(self) -> bool:  # type: ignore[override]
        """Whether every member is features times coefficients."""
        return all(_folds(member) for member in self.members)

    def gates(self) -> Tensor:
        """g, (members,) or (m, n, members), positive and summing to 1 over the last dimension."""
        logits = self.logits.to(accumulation_dtype(self.logits.dtype))
        return torch.softmax(logits / self.temperature, -1)

    def gate_entropy(self) -> Tensor:
        """-Σ_f g_f log g_f in nats, a scalar, averaged over the edges: log(members) while undecided, 0 when decided."""
        gates = self.gates()
        return -torch.special.xlogy(gates, gates).sum(-1).mean()

    def weights(self) -> list[Tensor]:
        """What each member is multiplied by on every edge, g_f/√E[φ_foi²], (m, n) each."""
        gates = self.gates()
        shape = self.out_features, self.in_features
        return [(gates[..., f] / self._size(f)).expand(shape) for f in range(len(self.members))]

    def _size(self, place: int) -> Tensor:
        """√E[φ_foi²], (m, n) or a scalar."""
        member, power = self.members[place], getattr(self, f"power_{place}")
        coefficients = _own_coefficients(member, power)
        square = power.sum() if coefficients is None else coefficients.to(power.dtype) ** 2 @ power
        return torch.sqrt(square + _FLOOR)

    # -- the protocol of bases -----------------------------------------------------------------------------------------

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Every member on its own path, kernels included; see :meth:`qkan.bases.Basis.forward`."""
        self.check_input(x)
        parts = []
        for member, own in zip(self.members, self.weights(), strict=True):
            parts.append(member(x, (own if weight is None else own * weight).to(self.logits.dtype)))
        return torch.stack(parts).sum(0)

    def edges(self, x: Tensor) -> Tensor:
        self.check_input(x)
        parts = zip(self.members, self.weights(), strict=True)
        return torch.stack([member.edges(x) * own.to(x.dtype) for member, own in parts]).sum(0)

    def evaluate(self, x: Tensor) -> Tensor:
        """The members' features side by side, x (..., n) -> (..., n, K)."""
        return torch.cat([member.evaluate(x) for member in self.members], -1)

    def coefficients(self) -> Tensor:
        """What :meth:`features` are multiplied by, gates and normalisation included, (m, n, K)."""
        parts = zip(self.members, self.weights(), strict=True)
        found = [member.coefficients() * own.unsqueeze(-1) for member, own in parts]
        return torch.cat(found, -1).to(self.logits.dtype)

    def moments(self, max_edges: int = 256) -> tuple[Tensor, Tensor]:
        """E[φ²] and E[φ'²] (float64 scalars) over a standard normal input and the present edges.

        With more than ``max_edges`` edges an evenly spaced sample of them is taken.
        """
        total = self.out_features * self.in_features
        index = torch.linspace(0, total - 1, min(total, max_edges), device="cpu").round().long().unique()
        o, i = (part.to(self.logits.device) for part in (index // self.in_features, index % self.in_features))
        weights = [own[o, i].detach().double().cpu() for own in self.weights()]
        taken = [member.take(o, i).double().cpu() for member in self.members]
        return edge_moments(taken, weights)

    def take(self, outputs: Tensor, inputs: Tensor) -> Basis:
        raise OptionError("a mixture has no single edges to give; select a member first.")

    def refine(self, size: int) -> Basis:
        """Not as a whole: ``size`` means another thing to every member.

        Raises:
            RefineError: always.
        """
        raise RefineError(f"a mixture cannot be refined to {size} as a whole; select a member and refine that.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def matmul_flops(self, rows: int) -> int:
        return sum(member.matmul_flops(rows) for member in self.members)

    def route(self, x: Tensor) -> tuple[str, str | None]:
        routes = {member.name: member.route(x) for member in self.members}
        reasons = [f"{name}: {reason}" for name, (_, reason) in routes.items() if reason is not None]
        return "a gated sum of " + ", ".join(routes), "; ".join(reasons) or None

    # -- the choice ----------------------------------------------------------------------------------------------------

    def chosen(self) -> Tensor:
        """Place of the member with the largest gate on every edge, whole numbers (m, n); the first where gates tie."""
        return self.gates().argmax(-1).expand(self.out_features, self.in_features)

    def select(self, active: Tensor) -> tuple[Basis, Tensor]:
        """The basis that is left when every edge keeps the member with the largest gate, and what to multiply it by.

        Args:
            active: bool (m, n), the edges that are not pruned. With ``gate="edge"`` the others keep nothing.

        Returns:
            The member itself, copied, or a :class:`Selected` basis with ``gate="edge"``; and weights (m, n), so that
            every edge is exactly what this member added to it.

        Raises:
            OptionError: with ``gate="edge"``: every edge is pruned, or circuits were measured.
        """
        chosen, weights = self.chosen(), torch.stack(self.weights())
        factor = torch.gather(weights, 0, chosen.unsqueeze(0))[0].detach().to(self.logits.dtype)
        if self.gate == "layer":
            return deepcopy(self.members[int(chosen[0, 0])]), factor
        if any(isinstance(member, MeasuredValues) for member in self.members):
            raise OptionError("measured circuits cannot be taken apart; select from the trained model and deploy that.")
        if not bool(active.any()):
            raise OptionError("every edge of the layer is pruned, so there is nothing to select.")
        return Selected.of(self, torch.where(active, chosen, -1)), factor


@register("selected", listed=False)
class Selected(Basis):
    """One basis per edge, what :meth:`Mixture.select` leaves of gates per edge: an edge costs its own member only.

    The edges of one member are kept as a basis with one input per edge.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        members: bases as in :class:`Mixture`; their ``config()``.
        choice: (m, n) nested lists, the place of every edge's member, or -1 for an edge without any, which is zero.
        seed: of local generators; ``None`` draws fresh entropy.

    Raises:
        OptionError: a member is not known, or ``choice`` names none.
        ShapeError: ``choice`` is not (m, n).
    """

    parts: dict[str, Any]

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        members: Sequence[Any],
        choice: Sequence[Sequence[int]],
        seed: int | None = None,
    ):
        super().__init__(in_features, out_features)
        wanted = _read_members(members)
        places = torch.as_tensor(choice, device="cpu")
        if tuple(places.shape) != (self.out_features, self.in_features):
            raise ShapeError(f"choice of shape {tuple(places.shape)} must be ({out_features}, {in_features}).")
        used = sorted(set(places.flatten().tolist()) - {-1})
        if not used or used[0] < -1 or used[-1] >= len(wanted):
            raise OptionError(f"choice must hold places of the {len(wanted)} members, or -1; it holds {used}.")
        self.choice: list[list[int]] = places.tolist()
        self.names = [{"basis": name, **own} for name, own in wanted]
        self.parts = nn.ModuleDict()  # type: ignore[assignment]
        for place, one in zip(used, spawn(seed, len(used)), strict=True):
            name, own = wanted[place]
            edges = (places == place).nonzero()
            self.parts[str(place)] = get(name)(len(edges), 1, **own | _edge_options(name, own, len(edges)), seed=one)
            self.register_buffer(f"edges_{place}", edges, persistent=False)

    @classmethod
    def of(cls, mixture: Mixture, choice: Tensor) -> Selected:
        """The edges of a trained mixture that ``choice`` (m, n) names, with their parameters."""
        made = cls(
            mixture.in_features, mixture.out_features, members=mixture.config()["members"], choice=choice.tolist()
        )
        made.to(mixture.logits)
        for key in made.parts:
            o, i = made.places(key)
            made.parts[key] = mixture.members[int(key)].take(o, i)
        return made

    def config(self) -> dict[str, Any]:
        return {"members": self.names, "choice": self.choice}

    def places(self, key: str) -> tuple[Tensor, Tensor]:
        """Output and input of every edge of one member, (edges,) each."""
        edges = getattr(self, f"edges_{key}")
        return edges[:, 0], edges[:, 1]

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        total = self.check_input(x).new_zeros(*x.shape[:-1], self.out_features)
        for key, part in self.parts.items():
            o, i = self.places(key)
            values = part.edges(x[..., i])[..., 0, :]
            total = total.index_add(-1, o, values if weight is None else values * weight[o, i])
        return total

    def edges(self, x: Tensor) -> Tensor:
        size = self.out_features * self.in_features
        flat = self.check_input(x).new_zeros(*x.shape[:-1], size)
        for key, part in self.parts.items():
            o, i = self.places(key)
            flat = flat.index_add(-1, o * self.in_features + i, part.edges(x[..., i])[..., 0, :])
        return flat.unflatten(-1, (self.out_features, self.in_features))

    def moments(self) -> tuple[Tensor, Tensor]:
        """E[φ²] and E[φ'²] (float64 scalars) over a standard normal input and the edges that have a member."""
        total, found = 0, [torch.zeros((), dtype=torch.float64) for _ in range(2)]
        for part in self.parts.values():
            count = part.in_features
            own = edge_moments([part.take(*_all_edges(part)).double().cpu()], [torch.ones(count, dtype=torch.float64)])
            found, total = [a + b * count for a, b in zip(found, own, strict=True)], total + count
        return found[0] / total, found[1] / total

    def take(self, outputs: Tensor, inputs: Tensor) -> Basis:
        raise OptionError("edges of different bases are not one basis; take them from the parts.")

    def matmul_flops(self, rows: int) -> int:
        return sum(part.matmul_flops(rows) for part in self.parts.values())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def route(self, x: Tensor) -> tuple[str, str | None]:
        return "edge by edge, the edges of each basis together", "edges of different bases share no kernel"


def edge_moments(bases: Sequence[Basis], weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """E[φ²] and E[φ'²] of sums of weighted edges over a standard normal input, averaged over the edges.

    Args:
        bases: float64 bases with one input per edge and one output.
        weights: (edges,) of each.
    """
    points, density = normal_nodes(400)
    points = points.unsqueeze(-1).repeat(1, len(weights[0]))

    def edges(x: Tensor) -> Tensor:
        return torch.stack([one.edges(x)[..., 0, :] * own for one, own in zip(bases, weights, strict=True)]).sum(0)

    values, slopes = slopes_of(edges, points)
    return (density @ values**2).mean(), (density @ slopes**2).mean()


def _read_members(members: Any) -> list[tuple[str, dict[str, Any]]]:
    """(name, options) of every member, or :class:`OptionError`."""
    if isinstance(members, str) or not isinstance(members, Sequence):
        raise OptionError(f"members={members!r} must list bases, such as {list(POOL)!r}.")
    found = []
    for member in members:
        own = {"basis": member} if isinstance(member, str) else member
        if not isinstance(own, dict) or "basis" not in own:
            raise OptionError(f"the member {member!r} must be a name or {{'basis': name, option: value}}.")
        own = dict(own)
        name = own.pop("basis")
        kind = get(name)
        if kind.name in ("mixture", "selected"):
            raise OptionError(f"the member {name!r} is a choice of bases itself; list its members instead.")
        known = options(kind)
        for option in own:
            check_choice(f"an option of the member {kind.name!r}", option, known)
        found.append((kind.name, own))
    return found


def _folds(basis: Any) -> bool:
    return isinstance(basis, FeatureBasis) and basis.folds


def _own_coefficients(basis: Any, power: Tensor) -> Tensor | None:
    """The (m, n, K) coefficients to which the edges are proportional, where the basis has such."""
    amplitudes = basis.amplitudes() if basis.free_amplitude else []
    shape = (basis.out_features, basis.in_features, power.numel())
    return amplitudes[0] if len(amplitudes) == 1 and tuple(amplitudes[0].shape) == shape else None


def _edge_options(name: str, own: dict[str, Any], edges: int) -> dict[str, Any]:
    """Options of a basis of single edges that count inputs: groups of inputs become one per edge."""
    if own.get("groups") in (None, 1) and name != "daruan":
        return {}
    return {"groups": None if name == "daruan" else edges} if "groups" in options(name) else {}


def _all_edges(part: Any) -> tuple[Tensor, Tensor]:
    i = torch.arange(part.in_features, device=next(part.parameters()).device)
    return torch.zeros_like(i), i

"""Every public name has a docstring: what goes in, in which shape and unit, what goes wrong, and whose idea it is."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator

import pytest
from public_names import Module, modules

from qkan import errors
from qkan.circuits.measured import CircuitBlock  # a protocol: its methods are documented there

MODULES = list(modules())
ERRORS = {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.QKANError)
}
#: Compiled code, whose arrays the text describes together; only the operators beside it call it.
COMPILED = re.compile(r"_(cpu|triton)$")
#: "See :func:`…`", "What :func:`…` computes", "as :class:`…`": the arguments are those of another function.
REFERS = re.compile(r"\b(See|see|What|as|of|for) :(func|class|meth):")

_SIZE = r"\*?(?:\.\.\.|…|\d?[A-Z]{1,2}\d?|[a-z_]{1,16}\d?|\d{1,3})"
_SIZES = rf"{_SIZE}(?:\s?[·+*/^-]\s?{_SIZE})*"
#: What says the shape of an array: "(N, n)", "(..., K)", "(rows,)", or that it may have any.
_SHAPES = rf"\({_SIZES}(?:, ?{_SIZES})*,\)", rf"\({_SIZES}(?:, ?{_SIZES})+\)", r"\(\.\.\.\)|\(…\)"
SHAPE = re.compile("|".join((*_SHAPES, r"\bany shape\b", r"\b[Ss]calars?\b", r"\belementwise\b")))
ARRAY = re.compile(r"\b(Tensor|ndarray|NDArray)\b")
#: Arguments that have a unit, and how the unit is written.
UNITS = {
    "angle": r"radian|\brad\b",
    "angles": r"radian|\brad\b",
    "theta": r"radian|\brad\b",
    "phi": r"radian|\brad\b",
    "omega": r"radian|\brad\b",
    "frequency": r"radian|\brad\b|per unit",
    "delay": r"second|\bin s\b",
    "duration": r"second|\bin s\b",
    "seconds": r"second|\bin s\b",
    "timeout": r"second|\bin s\b",
}
#: A paper or a book, by its arXiv number, its address, or its year as citations end with it: "(2021)", "2021; …".
SOURCE = re.compile(r"arXiv|doi:|https?://|\b(19\d\d|20[0-2]\d)(?=[),;])")
#: Rooms with mathematics in them. Compiled forms of a formula and operators around them are excused: the plain form
#: beside them names the source.
ROOMS = ("analysis", "bases", "circuits", "data", "kernels", "layers", "models")
FORMS = re.compile(r"_(cpu|triton|ops)$")
#: Modules there that follow no publication, and what they are instead.
OWN = {
    "qkan.analysis.forecast_plots": "pictures",
    "qkan.analysis.plots": "pictures",
    "qkan.analysis.regression_plots": "pictures",
    "qkan.bases.measured": "the fixed form of a basis that names its source",
    "qkan.circuits.angles": "a description",
    "qkan.circuits.backends.aer": "an adapter",
    "qkan.circuits.backends.custatevec": "an adapter",
    "qkan.circuits.backends.ibm": "an adapter",
    "qkan.circuits.backends.pennylane": "an adapter",
    "qkan.circuits.backends.torch": "an adapter",
    "qkan.circuits.circuit": "a description",
    "qkan.circuits.deployment": "the toolkit's own",
    "qkan.circuits.deviation": "the toolkit's own",
    "qkan.circuits.devices": "facts that come with Qiskit",
    "qkan.circuits.drawing": "pictures",
    "qkan.circuits.export": "an adapter",
    "qkan.circuits.ledger": "the toolkit's own",
    "qkan.circuits.measured": "the toolkit's own",
    "qkan.circuits.parallel": "the toolkit's own",
    "qkan.circuits.pennylane_bridge": "an adapter",
    "qkan.circuits.plan": "the toolkit's own",
    "qkan.circuits.planning": "the toolkit's own",
    "qkan.circuits.qiskit_bridge": "an adapter",
    "qkan.circuits.quantum_layer": "the toolkit's own",
    "qkan.circuits.rows": "the toolkit's own",
    "qkan.circuits.simulate": "the toolkit's own",
    "qkan.circuits.submission": "the toolkit's own",
    "qkan.data.audit": "the toolkit's own, with measured error rates",
    "qkan.data.check": "the toolkit's own",
    "qkan.data.finding": "a record",
    "qkan.data.registry": "a table of names",
    "qkan.data.series": "a record",
    "qkan.data.series_registry": "a table of names",
    "qkan.data.table": "a record",
    "qkan.data.windows": "a record",
    "qkan.kernels.dispatch": "a choice among kernels",
    "qkan.kernels.node_matrix": "the toolkit's own",
    "qkan.kernels.ops": "operators around kernels",
    "qkan.kernels.program": "a description",
    "qkan.kernels.segments": "the toolkit's own",
    "qkan.kernels.workspace": "memory",
    "qkan.layers.frozen": "the fixed form of a layer",
    "qkan.layers.linear": "PyTorch's linear map",
    "qkan.models.additive_plots": "pictures",
    "qkan.models.base": "saving and loading",
    "qkan.models.mlp": "PyTorch's linear maps",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(module: Module) -> Iterator[tuple[str, Function, ast.ClassDef | None]]:
    """(name, node, class) of every public function and method that a module defines.

    The tests in ``qkan.testing`` are left out: their names say what they test.
    """
    for node in module.tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield f"{module.name}.{node.name}", node, None
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, Function) and (
                    inner.name == "__init__" or not inner.name.startswith(("_", "test_"))
                ):
                    yield f"{module.name}.{node.name}.{inner.name}", inner, node


def text_of(node: Function, owner: ast.ClassDef | None) -> str | None:
    """The docstring that describes a function; that of the class for a constructor."""
    return ast.get_docstring(owner if node.name == "__init__" and owner is not None else node)


def arguments(node: Function) -> list[ast.arg]:
    """All named arguments."""
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def has_arrays(node: Function) -> bool:
    """Whether a function takes or returns tensors or arrays."""
    written = [one.annotation for one in arguments(node)] + [node.returns]
    return any(ARRAY.search(ast.unparse(one)) for one in written if one is not None)


def docstrings(tree: ast.Module) -> list[str]:
    """Those of a module and of everything in it."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    return [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]


def raised(node: ast.AST) -> set[str]:
    """Error classes of the package that a function raises itself, functions inside it aside."""
    found = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda):
            continue
        if isinstance(child, ast.Raise) and child.exc is not None:
            error = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            found |= {error.id} & ERRORS if isinstance(error, ast.Name) else set()
        found |= raised(child)
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_public_names_are_documented(module):
    assert ast.get_docstring(module.tree), module.name
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module.name}.{node.name} has no docstring"
    for name, node, owner in functions(module):
        if text_of(node, owner) is not None or node.name == "__init__":
            continue
        assert owner is not None, f"{name} has no docstring"
        cls = getattr(importlib.import_module(module.name), owner.name)
        above = [getattr(base, node.name, None) for base in (*cls.__mro__[1:], CircuitBlock)]
        assert any(inspect.getdoc(other) for other in above), f"{name} has no docstring, and overrides none that has"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_arguments_and_errors_are_described(module):
    if module.name.startswith("qkan.cli"):  # its options describe themselves, and it turns errors into sentences
        return
    for name, node, owner in functions(module):
        text = text_of(node, owner)
        if text is None:  # described on the class it overrides
            continue
        missing = sorted(error for error in raised(node) if error not in text)
        assert not missing, f"{name} raises {missing}, which its docstring does not say"
        if COMPILED.search(module.name) or REFERS.search(text):
            continue
        names = [one.arg for one in arguments(node) if one.arg not in ("self", "cls")]
        unsaid = [one for one in names if not re.search(rf"\b{re.escape(one)}\b", text)]
        assert len(names) < 2 or not unsaid, f"{name} does not say what {', '.join(unsaid)} is"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_shapes_and_units_are_described(module):
    for name, node, owner in functions(module):
        text = text_of(node, owner)
        if text is None:  # described on the class it overrides
            continue
        assert SHAPE.search(text) or REFERS.search(text) or not has_arrays(node), f"{name} does not say a shape"
        context = "\n".join(
            (text, ast.get_docstring(module.tree) or "", ast.get_docstring(owner) or "" if owner else "")
        )
        for given in arguments(node):
            unit = UNITS.get(given.arg)
            said = unit is None or COMPILED.search(module.name) or re.search(unit, context)
            assert said, f"{name} does not say the unit of {given.arg}"


@pytest.mark.parametrize(
    "module", [one for one in MODULES if not COMPILED.search(one.name)], ids=lambda module: module.name
)
def test_constants_are_described(module):
    """By a comment before them or a string after them; one comment may serve the names right after it."""
    lines, described = module.path.read_text().splitlines(), False
    for node, after in zip(module.tree.body, [*module.tree.body[1:], None], strict=True):
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            described = False
            continue
        above, value = lines[node.lineno - 2].lstrip(), getattr(after, "value", None)
        closed = isinstance(after, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str)
        described = above.startswith("#:") or closed or (described and above != "")
        names = [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]
        shown = [name for name in names if not name.startswith("_")]
        assert described or not shown, f"{module.name}: nothing says what {', '.join(shown)} is"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_shapes_of_fields_are_described(module):
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
            arrays = [ast.unparse(one.target) for one in fields if ARRAY.search(ast.unparse(one.annotation))]
            shown = [name for name in arrays if not name.startswith("_")]
            said = SHAPE.search(ast.get_docstring(node) or "")
            assert said or not shown, f"{module.name}.{node.name} does not say the shapes of {', '.join(shown)}"


@pytest.mark.parametrize(
    "module",
    [one for one in MODULES if one.room in ROOMS and one.path.name != "__init__.py" and not FORMS.search(one.name)],
    ids=lambda module: module.name,
)
def test_sources_are_named(module):
    found = SOURCE.search("\n".join(docstrings(module.tree))) or "SOURCE" in module.defined()
    assert bool(found) != (module.name in OWN), f"{module.name} names no source, or is said to have none"


def test_modules_without_a_source_exist():
    assert not set(OWN) - {module.name for module in MODULES}


def test_rules_can_fail():
    wrong = ast.parse("def f(a, b):\n    if a:\n        raise OptionError('no')\n").body[0]
    assert raised(wrong) == {"OptionError"}
    assert has_arrays(ast.parse("def f(a) -> tuple[Tensor, int]: ...").body[0])
    assert not SHAPE.search("The sum of x.")
    assert not SHAPE.search("As f() does (see there), after Schuld, Sweke and Meyer (2021, chapter 2).")
    assert not SOURCE.search("Rows of 2000 or (2048, 3) numbers, in seconds since 1970.")
    assert "OptionError" in ERRORS
    assert len(MODULES) > 100

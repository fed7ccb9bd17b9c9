"""Every public name has a docstring that says what goes in and what goes wrong."""

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
        given = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        names = [one for one in given if one not in ("self", "cls")]
        unsaid = [one for one in names if not re.search(rf"\b{re.escape(one)}\b", text)]
        assert len(names) < 2 or not unsaid, f"{name} does not say what {', '.join(unsaid)} is"


def test_rules_can_fail():
    wrong = ast.parse("def f(a, b):\n    if a:\n        raise OptionError('no')\n").body[0]
    assert raised(wrong) == {"OptionError"}
    assert "OptionError" in ERRORS
    assert len(MODULES) > 100

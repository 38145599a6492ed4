"""
The comparison of an asyncio half with its blocking half, on their syntax trees.

What differs for a reason stands in twin_differences.py, with the reason.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import batch_cancel
from tests.unit.twin_differences import (
    ASYNCIO_ONLY,
    ELSEWHERE,
    LOOKS_AWAITED,
    MEANT,
    OTHERWISE_MADE,
    RENAMED,
    UNPAIRED,
)

PACKAGE: Final = Path(batch_cancel.__file__).parent


def stripped_name(name: str) -> str:
    """Return the blocking half's name for `name`."""
    if name in RENAMED:
        return RENAMED[name]
    return re.sub(r"(?<=\w)_async$", "", re.sub(r"^(_?)Async(?=[A-Z])", r"\1", name))


def stripped_text(text: str) -> str:
    """Return the blocking half's words for `text`, on one line."""
    words = re.sub(r"\w+", lambda word: stripped_name(word.group()), text)
    return " ".join(words.replace("redis.asyncio", "redis").split())


class Stripped(ast.NodeTransformer):
    """Takes everything out of a syntax tree that says asyncio."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """`async def` is `def`."""
        return self.visit(ast.FunctionDef(**dict(ast.iter_fields(node))))  # type: ignore[no-any-return]

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        """`async with` is `with`."""
        return self.visit(ast.With(**dict(ast.iter_fields(node))))  # type: ignore[no-any-return]

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        """`async for` is `for`."""
        return self.visit(ast.For(**dict(ast.iter_fields(node))))  # type: ignore[no-any-return]

    def visit_Await(self, node: ast.Await) -> ast.AST:
        """`await x` is `x`."""
        return self.visit(node.value)  # type: ignore[no-any-return]

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`_awaited(x)` is `x`."""
        if isinstance(node.func, ast.Name) and node.func.id == "_awaited":
            return self.visit(node.args[0])  # type: ignore[no-any-return]
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """`redis.asyncio` is `redis`."""
        if isinstance(node.value, ast.Name) and (node.value.id, node.attr) == ("redis", "asyncio"):
            return node.value
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Rename whatever has a name, and reword whatever is text."""
        node = super().generic_visit(node)
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            if isinstance(name := getattr(node, field, None), str):
                setattr(node, field, stripped_name(name))
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = stripped_text(node.value)
        if isinstance(node, ast.comprehension):
            node.is_async = 0
        return node


class WithoutDocstrings(ast.NodeTransformer):
    """Takes the docstrings out of a syntax tree."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Leave an empty body, if there is no more to it: what is compared need not run."""
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return super().generic_visit(node)


class Ran(ast.NodeTransformer):
    """
    Takes `run` out of a syntax tree, and the line breaks out of texts.

    The longer names of a half may wrap texts differently.
    """

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`run(x)` and `entered(x)` are `x`, as `await x` and `async with x` in the other half."""
        if isinstance(node.func, ast.Name) and node.func.id in {"run", "entered"}:
            return self.visit(node.args[0])  # type: ignore[no-any-return]
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Reword texts alone."""
        if isinstance(node.value, str):
            node.value = " ".join(node.value.split())
        return node


Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module
DOCUMENTED: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
ASYNC: Final = (ast.AsyncFunctionDef, ast.AsyncWith, ast.AsyncFor, ast.Await)


def definitions(source: str) -> dict[str, Named]:
    """Return the functions and classes of a module by name."""
    return {node.name: node for node in ast.parse(source).body if isinstance(node, Named)}


def halves(source: str) -> Iterator[Named]:
    """Return what is asyncio in a module: by its name, or by what it does."""
    if "async" not in source.casefold():
        return  # Most modules are so, and need no parsing.
    named = definitions(source)
    blocking = {stripped_name(name) for name in named if stripped_name(name) != name}
    for name, node in named.items():
        is_asyncio = name not in blocking and any(isinstance(it, ASYNC) for it in ast.walk(node))
        if is_asyncio or stripped_name(name) != name:
            yield node


def source_of(node: ast.AST, transformer: ast.NodeTransformer) -> str:
    """Return the source of a part of a tree, transformed; the tree stays as it is."""
    copy = ast.parse(ast.unparse(node))
    return ast.unparse(ast.fix_missing_locations(transformer.visit(copy)))


def shape(source: str) -> list[str]:
    """Return what a caller can call: the function, or the public methods, with parameters."""
    [node] = ast.parse(source).body
    methods = node.body if isinstance(node, ast.ClassDef) else [node]
    return sorted(
        f"{it.name}({', '.join(parameter.arg for parameter in every_parameter(it))})"
        for it in methods
        if isinstance(it, ast.FunctionDef) and (it is node or not re.match("_[^_]", it.name))
    )


def every_parameter(node: ast.FunctionDef) -> list[ast.arg]:
    """Return a function's parameters in their order."""
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def difference(module: str, node: Named, others: Mapping[str, Named]) -> str:
    """Name what differs between an asyncio half and its blocking half; empty if nothing does."""
    twin = others.get(stripped_name(node.name))
    if twin is None or (module, node.name) in UNPAIRED:
        return body_difference(module, node, others)
    may_be_own = module in ELSEWHERE or (module, node.name) in OTHERWISE_MADE
    wrong = "\n".join(wrong_docstrings(node, twin, may_be_own=may_be_own))
    return wrong or body_difference(module, node, others)


def body_difference(module: str, node: Named, others: Mapping[str, Named]) -> str:
    """Name what differs apart from the docstrings."""
    if (module, node.name) in UNPAIRED:
        return ""
    is_elsewhere = module in ELSEWHERE
    twin = others.get(stripped_name(node.name))
    if stripped_name(node.name) == node.name and not is_elsewhere:
        return f"{node.name} is asyncio, but its name does not say so"
    if twin is None:
        return f"{node.name} has no blocking half {stripped_name(node.name)}"
    compared = [without_docstrings(it) for it in (node, twin)]
    looks_awaited = is_elsewhere or (module, node.name) in LOOKS_AWAITED
    blocking_half = Stripped() if looks_awaited else Ran()
    stripped, blocking = map(source_of, compared, (Stripped(), blocking_half))
    if is_elsewhere or (module, node.name) in OTHERWISE_MADE:
        return differing(shape(stripped), shape(blocking))
    for meant in MEANT.get((module, node.name), ()):
        if stripped.count(meant.stripped) != 1:
            return f"{node.name}: outdated exception {meant.stripped!r}"
        stripped = stripped.replace(meant.stripped, meant.blocking)
    return differing(stripped.splitlines(), blocking.splitlines())


def without_docstrings(node: Named) -> ast.AST:
    """Return a copy of the definition that has no docstrings."""
    return WithoutDocstrings().visit(ast.parse(ast.unparse(node)))  # type: ignore[no-any-return]


def wrong_docstrings(node: Named, twin: Named, *, may_be_own: bool) -> Iterator[str]:
    """
    Name the docstrings of an asyncio half that do not refer to those of its blocking half.

    Arguments:
        node: the asyncio half.
        twin: the blocking half.
        may_be_own: whether a docstring may also state what only the asyncio half does.
    """
    theirs = dict(documented(twin))
    for name, it in documented(node):
        written = ast.get_docstring(it)
        stripped = ".".join(map(stripped_name, name.split(".")))
        awaited = "" if isinstance(it, ast.FunctionDef) else ", awaited"
        expected = f"As `{stripped}`{awaited}."
        its = theirs.get(stripped)
        original = None if its is None else ast.get_docstring(its)
        if written == expected and original is not None:
            continue
        is_own = may_be_own and not (written or "").startswith("As `") and written != original
        may_be_missing = original is None or re.search(r"(^|\.)_[^_]", name) is not None
        if not is_own and not (written is None and may_be_missing):
            yield f"{name}: the docstring is {written!r}, not {expected!r}"


def documented(node: Named) -> Iterator[tuple[str, Named]]:
    """Return a definition, and the methods of a class, by name."""
    yield node.name, node
    if isinstance(node, ast.ClassDef):
        for it in node.body:
            if isinstance(it, Named):
                yield f"{node.name}.{it.name}", it


def differing(stripped: list[str], blocking: list[str]) -> str:
    """Return the lines that differ."""
    lines = difflib.unified_diff(blocking, stripped, "blocking", "stripped", lineterm="", n=1)
    return "\n".join(lines)


def modules() -> dict[str, str]:
    """Return the source of each module of the package by its path."""
    paths = sorted(PACKAGE.rglob("*.py"))
    names = {path.relative_to(PACKAGE).as_posix(): path for path in paths}
    return {
        name: path.read_text("utf-8")
        for name, path in names.items()
        if not name.startswith(tuple(ASYNCIO_ONLY))
    }


MODULES: Final = modules()
HALVES: Final = [
    (module, node)
    for module, text in MODULES.items()
    if module not in {blocking for blocking, _ in ELSEWHERE.values()}
    for node in halves(text)
]
NAMES: Final = {(module, node.name) for module, node in HALVES}

"""Reads the docstrings of the packages and the code beside them with `ast`, without importing anything."""

import ast
import builtins
import dataclasses
import pathlib
import re
import textwrap
from collections.abc import Iterator
from functools import cached_property

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
# A shape in brackets, such as [N, 4] or [n, (y1, x1, y2, x2)]; not a subscript with a string.
SHAPE = re.compile(r"\[(?![^\]]*\")[^\[\]=]+\]")
ARRAY = re.compile(r"\b(np\.ndarray|\w*Tensor|Array|ArrayLike|Path2D)\b")
REFERENCE = re.compile(r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`|\b(?:as in|see|as|of) ([a-z_]+_[a-z_]+)\b", re.IGNORECASE)
MAKING = ("__init__", "__post_init__", "__enter__")  # what creating an object, or entering it, runs
WRITER = "mrcnn/files.py"  # raises InputError if a file cannot be written; functions that write need not repeat it
# Contexts that turn an error of their block into an InputError: their names -> that error, "=": not its subclasses
EXPLAINING = {"opened": "=ValueError", "_open_root": "=ValueError", "_opened_state": "=ValueError", "_said": "OSError"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclasses.dataclass
class Module:
    """A source file.

    Attributes:
        name: Its path below the root, such as mrcnn/structures/boxes.py.
        text: The source.
        tree: The syntax tree.
    """

    name: str
    text: str
    tree: ast.Module = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.tree = ast.parse(self.text)
        self.doc = ast.get_docstring(self.tree) or ""
        self.lines = self.text.splitlines()

    @cached_property
    def imports(self) -> dict[str, str]:
        """Return imported name -> the file that it comes from."""
        nodes = [node for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom) and node.module]
        return {alias.name: f"{node.module.replace('.', '/')}.py" for node in nodes for alias in node.names}

    def items(self) -> Iterator["Item"]:
        """Yield the classes and functions of the file, and the methods of its classes, private ones included."""
        for node in self.tree.body:
            if isinstance(node, Function | ast.ClassDef):
                yield Item(self, node, None)
            if isinstance(node, ast.ClassDef):
                yield from (Item(self, member, node) for member in node.body if isinstance(member, Function))


@dataclasses.dataclass
class Item:
    """A function, method or class with its docstring.

    Attributes:
        module: The module that defines it.
        node: Its syntax tree.
        owner: The class of a method.
    """

    module: Module
    node: Function | ast.ClassDef
    owner: ast.ClassDef | None

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def full_name(self) -> str:
        """The name with a method's class: 'Instances.select'."""
        return f"{self.owner.name}.{self.name}" if self.owner else self.name

    @property
    def place(self) -> str:
        """'mrcnn/structures/boxes.py:56 compute_iou', for a message."""
        return f"{self.module.name}:{self.node.lineno} {self.full_name}"

    @property
    def public(self) -> bool:
        outer = self.owner.name if self.owner else self.module.name.split("/")[-1]
        setter = any(ast.unparse(decorator).endswith(".setter") for decorator in self.node.decorator_list)
        private = self.name.startswith("_") and self.name != "__init__"
        return not (outer.startswith("_") or private or setter)  # a property's getter has the docstring

    @cached_property
    def doc(self) -> str:
        """The docstring; for `__init__`, followed by that of its class, since either may describe the arguments."""
        own = ast.get_docstring(self.node) or ""
        return f"{own}\n\n{self.class_doc}" if self.name == "__init__" else own

    @cached_property
    def head(self) -> str:
        """The docstring without its sections."""
        return re.split(rf"^(?:{'|'.join(SECTIONS)}):$", self.doc, maxsplit=1, flags=re.MULTILINE)[0].strip()

    def section(self, name: str) -> str:
        """Return a section's text without its indentation; '' if there is none."""
        found = re.search(rf"^{name}:\n((?: .*\n|\n)*)", self.doc + "\n", re.MULTILINE)
        return textwrap.dedent(found[1]).strip() if found else ""

    def entries(self, name: str) -> list[tuple[list[str], str]]:
        """Return the entries of a section: (names, text). 'a ... c' stands for the parameters from a to c."""
        found = []
        for entry in re.split(r"\n(?=\S)", self.section(name)):
            names, colon, text = entry.partition(":")
            if entry:
                found.append((self._expanded(names) if colon else [entry.split("\n")[0]], text))
        return found

    def _expanded(self, names: str) -> list[str]:
        if " ... " in names:
            first, last = names.split(" ... ")
            order = list(self.parameters)
            if first in order and last in order:
                return order[order.index(first) : order.index(last) + 1]
        return [name.strip() for name in names.split(",")]

    @property
    def raises_a_variable(self) -> bool:
        """Whether it raises an exception whose type is not visible in its source."""
        raised = [node.exc for node in ast.walk(self.node) if isinstance(node, ast.Raise) and node.exc is not None]
        return any(not _exception_name(error) for error in raised)

    def about(self, name: str) -> str | None:
        """Return the entry of a parameter or an attribute, or None if there is none."""
        for section in ("Args", "Attributes"):
            for names, text in self.entries(section):
                if name in names:
                    return text
                inside = re.search(rf"; (?:\w+, )*{re.escape(name)}(?:, \w+)*: (.*)", text, re.DOTALL)
                if inside:
                    return inside[1]
        return None

    @cached_property
    def parameters(self) -> dict[str, str]:
        """Name -> annotation; for a dataclass or named tuple, its public fields."""
        if isinstance(self.node, ast.ClassDef):
            return {
                node.target.id: ast.unparse(node.annotation)
                for node in self.node.body
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_"
            }
        arguments = self.node.args
        named = arguments.posonlyargs + arguments.args
        if self.owner and not any(ast.unparse(d) == "staticmethod" for d in self.node.decorator_list):
            named = named[1:]
        starred = [(mark, a) for mark, a in (("*", arguments.vararg), ("**", arguments.kwarg)) if a]
        plain = {a.arg: ast.unparse(a.annotation) if a.annotation else "" for a in named + arguments.kwonlyargs}
        return plain | {mark + a.arg: ast.unparse(a.annotation) if a.annotation else "" for mark, a in starred}

    @cached_property
    def attributes(self) -> set[str]:
        """All names that an instance of the class has: fields, class attributes, methods, and what methods assign."""
        found = set()
        for node in ast.walk(self.node):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                found.add(node.attr)
        for node in self.node.body:
            found |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            found |= {node.name} if isinstance(node, Function) else set()
        return found

    def method(self, name: str) -> "Item | None":
        for node in self.node.body:
            if isinstance(node, Function) and node.name == name:
                return Item(self.module, node, self.node)
        return None

    @property
    def class_doc(self) -> str:
        return (ast.get_docstring(self.owner) or "") if self.owner else ""

    @property
    def returns(self) -> str:
        return ast.unparse(self.node.returns) if isinstance(self.node, Function) and self.node.returns else ""

    def comment(self, field: str) -> str:
        """Return the comment beside or above a field of a class."""
        for node in self.node.body:
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == field:
                above = self.module.lines[node.lineno - 2].strip()
                beside = self.module.lines[node.end_lineno - 1].partition("#")[2]
                return beside or (above if above.startswith("#") else "")
        return ""


class Packages:
    """All modules below some folders, and the exceptions that each function raises."""

    def __init__(self, modules: list[Module]) -> None:
        self.modules = modules
        self.items = [item for module in modules for item in module.items()]
        self.by_name: dict[str, list[Item]] = {}
        for item in self.items:
            self.by_name.setdefault(item.name, []).append(item)
        self.bases = {item.name: _base_names(item.node) for item in self.items if isinstance(item.node, ast.ClassDef)}

    def public(self) -> Iterator[Item]:
        return (item for item in self.items if item.public)

    def references(self, text: str, module: Module) -> list[Item]:
        """Return the functions and classes that a text names, preferring those of its own module."""
        found = []
        for match in REFERENCE.finditer(text):
            *path, name = (match[1] or match[2]).split(".")
            named = self.by_name.get(name, [])
            owned = [item for item in named if path and item.owner and item.owner.name == path[-1]]  # `Class.method`
            found += owned or [item for item in named if item.module is module] or named
        return found

    def inherited(self, item: Item) -> Item | None:
        """Return the method of a base class in the packages that this one overrides."""
        for base in _base_names(item.owner) if item.owner else ():
            for parent in self.by_name.get(base, []):
                if isinstance(parent.node, ast.ClassDef):
                    found = parent.method(item.name)
                    return found or self.inherited(Item(parent.module, item.node, parent.node))
        return None

    def raised(self, item: Item, everywhere: bool = False) -> set[str]:
        """Return the names of exceptions that a function, or creating an object, raises itself or through what it
        calls.

        Calls are followed if the name says exactly what is called: functions and classes of the same file or imported
        from another, and private methods; but not into WRITER. With `everywhere`, also every function, method and class
        of the packages that shares the name of one that is called or referred to: what might be raised.
        """
        return self._raised[everywhere][id(item.node)]

    @cached_property
    def _raised(self) -> dict[bool, dict[int, set[str]]]:
        return {everywhere: self._closure(everywhere) for everywhere in (False, True)}

    def _closure(self, everywhere: bool) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {id(item.node): set() for item in self.items}
        facts = [(item, self._facts(item, everywhere)) for item in self.items]
        before = -1
        while before != (before := sum(map(len, found.values()))):
            for item, (errors, calls) in facts:
                own = found[id(item.node)]
                own |= {name for name, caught in errors if not self._caught(name, caught)}
                for name, caught in calls:
                    for called in self._called(name, item.module, everywhere):
                        if everywhere or called.module is item.module or called.module.name != WRITER:
                            own |= {error for error in found[id(called.node)] if not self._caught(error, caught)}
        return found

    def _facts(self, item: Item, everywhere: bool) -> tuple[list, list]:
        """Return what is raised, and what is called or referred to, each with the exceptions caught around it.

        A class stands for its creation or, with `everywhere`, for all its methods, since an object may be passed on.
        """
        body = item.node
        if isinstance(body, ast.ClassDef):
            methods = [m.name for m in body.body if isinstance(m, Function)]
            return [], [(f"{body.name}.{m}", ()) for m in methods if everywhere or m in MAKING]
        errors, calls = [], set()
        for node, caught in _with_handlers(body):
            if isinstance(node, ast.Raise) and node.exc is not None and _exception_name(node.exc):
                errors.append((_exception_name(node.exc), caught))
            reference = node if everywhere else getattr(node, "func", None)
            if isinstance(reference, ast.Name):
                calls.add((reference.id, caught))
            elif isinstance(reference, ast.Attribute):
                before = reference.value.id if isinstance(reference.value, ast.Name) else ""
                if everywhere or reference.attr.startswith("_"):
                    calls.add((reference.attr, caught))
                elif before:  # its own method, or a function of an imported module
                    owner = item.owner.name if item.owner and before in ("self", "cls") else before
                    calls.add((f"{owner}.{reference.attr}", caught))
        return errors, list(calls)

    def _called(self, name: str, module: Module, everywhere: bool) -> list[Item]:
        before, dot, called = name.partition(".")
        if dot:
            named, file = self.by_name.get(called, []), module.imports.get(before, "").removesuffix(".py")
            methods = [i for i in named if i.module is module and i.owner and i.owner.name == before]
            return methods or [i for i in named if not i.owner and i.module.name == f"{file}/{before}.py"]
        named = self.by_name.get(name, [])
        if everywhere:
            return named
        private = name.startswith("_") and not name.startswith("__")
        return [i for i in named if (i.module is module and (private or not i.owner)) or _imported(i, module)]

    def _caught(self, error: str, handlers: tuple[str, ...]) -> bool:
        line = [error]
        while self.bases.get(line[-1]):
            line.append(self.bases[line[-1]][0])
        if f"={error}" in handlers:  # this one alone, not its subclasses
            return True
        known = getattr(builtins, line[-1], Exception)  # an exception of another library
        return any(handler in (*line, *(kind.__name__ for kind in known.__mro__)) for handler in handlers)


def read_packages(root: pathlib.Path, folders: tuple[str, ...]) -> Packages:
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    return Packages([Module(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in paths])


def _imported(item: Item, module: Module) -> bool:
    return item.owner is None and module.imports.get(item.name) == item.module.name


def _base_names(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).split(".")[-1].split("[")[0] for base in node.bases]


def _exception_name(node: ast.expr) -> str:
    """Return 'InputError' for `InputError(...)` or `errors.InputError`; '' for a variable, whose type is unknown."""
    node = node.func if isinstance(node, ast.Call) else node
    name = ast.unparse(node).split(".")[-1]
    return name if name[:1].isupper() or (name.startswith("_") and name[1:2].isupper()) else ""


def _with_handlers(node: ast.AST, caught: tuple[str, ...] = ()) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """Yield every node below one, except annotations, with the exceptions that are caught around it and not raised
    again.
    """
    annotations = (getattr(node, "annotation", None), getattr(node, "returns", None))
    for child in ast.iter_child_nodes(node):
        if child in annotations:
            continue
        yield child, caught
        if isinstance(child, ast.Try):
            own = [name for handler in child.handlers for name in _handled(handler)]
            for part in child.body:
                yield part, (*caught, *own)
                yield from _with_handlers(part, (*caught, *own))
            for part in (*child.handlers, *child.orelse, *child.finalbody):
                yield from _with_handlers(part, caught)
        elif isinstance(child, ast.With):
            yield from _with_handlers(child, (*caught, *_explained(child)))
        else:
            yield from _with_handlers(child, caught)


def _explained(block: ast.With) -> list[str]:
    """Return the errors that the contexts of a block turn into others."""
    calls = [item.context_expr.func for item in block.items if isinstance(item.context_expr, ast.Call)]
    names = [ast.unparse(function).split(".")[-1] for function in calls]
    return [EXPLAINING[name] for name in names if name in EXPLAINING]


def _handled(handler: ast.ExceptHandler) -> list[str]:
    if any(isinstance(n, ast.Raise) and n.exc is None for n in ast.walk(handler)):
        return []
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return [ast.unparse(kind).split(".")[-1] if kind else "BaseException" for kind in kinds]

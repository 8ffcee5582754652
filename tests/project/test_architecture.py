"""Imports run one way: a package may import only from those that stand before it in LAYERS."""

import ast
import pathlib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]
LAYERS = [
    "mrcnn.text",
    "mrcnn.process",
    "mrcnn.errors",
    "mrcnn.files",
    "mrcnn.user_files",
    "mrcnn.import_hooks",
    "mrcnn.quiet_tensorflow",
    "mrcnn.setting_rules",
    "mrcnn.augment_settings",
    "mrcnn.backbones",
    "mrcnn.variants",
    "mrcnn.config",
    "mrcnn.structures",
    "mrcnn.backend",
    "mrcnn.modeling",
    "mrcnn.foreign",
    "mrcnn.data",
    "mrcnn.annotations",
    "mrcnn.evaluation",
    "mrcnn.visualization",
    "mrcnn.inference",
    "mrcnn.engine",
    "mrcnn.legacy",
    "mrcnn.utils",
    "mrcnn.model",
    "mrcnn.visualize",
    "mrcnn.parallel_model",
    "mrcnn.inspection",
    "bdd100k.config",
    "bdd100k.labels",
    "bdd100k.dataset",
    "bdd100k.streets",
    "bdd100k.splits",
    "bdd100k.open_data",
    "bdd100k.checks",
    "bdd100k.statistics",
    "bdd100k.evaluation",
    "bdd100k.report",
    "bdd100k.settings_help",
    "bdd100k.cli",
    "bdd100k.detector",
    "bdd100k.training",
    "bdd100k.notebooks",
]


def module_of(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def layer(module: str) -> str:
    return ".".join(module.split(".")[:2])


def imports(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Yield (line, module or module.name) of every import; late ones and those for type checkers count too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def modules() -> dict[str, pathlib.Path]:
    paths = [path for package in ("mrcnn", "bdd100k") for path in sorted((ROOT / package).rglob("*.py"))]
    return {module_of(path): path for path in paths if path.name != "__init__.py"}


def test_imports_run_one_way():
    wrong = []
    for module, path in modules().items():
        here = layer(module)
        assert here in LAYERS, f"{path}: give {here} a place in LAYERS"
        for line, imported in imports(path):
            there = layer(imported)
            if there.split(".")[0] not in ("mrcnn", "bdd100k") or there == here:
                continue
            if there not in LAYERS or LAYERS.index(there) > LAYERS.index(here):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {here} imports {there}")
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    graph = {
        module: {name for _, target in imports(path) for name in (target, target.rpartition(".")[0]) if name in known}
        for module, path in known.items()
    }
    while ends := {module for module in graph if not graph[module] or not any(module in t for t in graph.values())}:
        for end in ends:  # what imports nothing of the rest, or is imported by nothing of it, is in no circle
            del graph[end]
        for targets in graph.values():
            targets -= ends
    assert not graph, f"circles among {sorted(graph)}"

"""The structure of the packages: who imports whom, no circles, modules of one idea that say what lives in them, nothing of one machine."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICES = ("catalogue", "downloader", "processor")
PACKAGES = ("common", *SERVICES, "thresher", "payloads")
MOST_LINES = 400

ARROWS = {
    "common": {"common"},
    **{service: {service, "common"} for service in SERVICES},
    "thresher": {"thresher", "common"},
    "payloads": {"payloads"},
}
FACE = {"config", "errors", "features", "geometry", "identity", "payload", "product_names", "times", "validation"}
"""What the face shares with the services: configuration, and the models that travel over HTTP. Neither storage nor broker nor graphs."""

OF_ONE_MACHINE = re.compile(
    r"""(?<![\w.~*}-])/(?:home|Users)/\w+/      # somebody's home
    | (?<![\w.~*}-])/(?:root|work)\b/           # somebody's disk
    | [A-Z]:\\Users
    | \bpypi\.org\b | pythonhosted\.org | \bindex[-_]url\b | find[-]links | registry\.npmjs\.org | proxy\.golang\.org
    | \bjfrog\.io\b | \bartifactory\b | \bnexus\.\w+\.\w+""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Import:
    """An import of one of our modules."""

    target: str
    line: int
    runs: bool
    """Whether it is executed when the module is imported."""


@dataclass(frozen=True)
class Module:
    """A module of ours; a package is its `__init__`."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name.split(".")[0]

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def __str__(self) -> str:
        return self.name


@cache
def modules() -> dict[str, Module]:
    found = {}
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, path, ast.parse(path.read_bytes(), str(path)))
    return found


def imports(module: Module) -> Iterator[Import]:
    """All imports of ours, wherever they stand in the module."""
    for node, runs in statements(module.tree.body, runs=True):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            # A name may be a module itself, else it is something in `base`.
            named = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules() else base for alias in node.names]
        else:
            continue
        for name in named:
            if name.split(".")[0] in PACKAGES:
                yield Import(name, node.lineno, runs)


def absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parents = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parents, *([node.module] if node.module else [])])


def statements(nodes: Iterable[ast.AST], *, runs: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, and whether it is executed with the module: not what stands in functions, nor what is for type checkers alone."""
    for node in nodes:
        yield node, runs
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from statements(node.body, runs=False)
            yield from statements(node.orelse, runs=runs)
        else:
            inside = runs and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from statements(ast.iter_child_nodes(node), runs=inside)


def executed(module: Module) -> set[str]:
    """The modules that are executed when this one is: those it imports with the packages around them, but for those around itself."""
    around = {module.name[: match.start()] for match in re.finditer(r"\.", module.name)}
    needed: set[str] = set()
    for each in imports(module):
        if each.runs:
            needed.add(each.target)
            needed |= {each.target[: match.start()] for match in re.finditer(r"\.", each.target)} - around
    return needed - {module.name}


def test_there_is_something_to_look_at() -> None:
    """A check that finds no imports would never fail."""
    assert {"common.config", "catalogue.http.app", "thresher.cli", "downloader.work", "processor.work"} <= modules().keys()
    assert {"common.errors", "common.graph", "common.graph.document"} <= executed(modules()["processor.work"])
    inside = Module(
        "thresher.cli.some", REPOSITORY, ast.parse("def f():\n    from . import area\nfrom .. import client\nimport common.log")
    )
    assert list(imports(inside)) == [
        Import("thresher.cli.area", 2, runs=False),
        Import("thresher.client", 3, runs=True),
        Import("common.log", 4, runs=True),
    ]
    assert executed(inside) == {"thresher.client", "common.log", "common"}


def test_imports_name_modules_that_are_there() -> None:
    """Also those in functions, which fail only when they are called."""
    missing = [
        f"{module}:{each.line}: {each.target}" for module in modules().values() for each in imports(module) if each.target not in modules()
    ]
    assert missing == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: sorted(executed(module)) for name, module in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_arrows_point_down() -> None:
    """The face stands on what is common, so do the services, which never meet; type checkers' and late imports count too."""
    wrong = [
        f"{module}:{each.line} imports {each.target}"
        for module in modules().values()
        for each in imports(module)
        if each.target.split(".")[0] not in ARROWS[module.package]
    ]
    assert wrong == []


def test_the_face_takes_little_of_what_is_common() -> None:
    taken = {
        each.target.split(".")[1]
        for module in modules().values()
        if module.package == "thresher"
        for each in imports(module)
        if each.target.startswith("common.")
    }
    assert taken <= FACE


def test_nothing_imports_the_tests() -> None:
    roots = {path.stem for path in (REPOSITORY / "tests").glob("*.py")} | {"tests", "pytest"}
    for module in modules().values():
        for node, _ in statements(module.tree.body, runs=True):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in named} & roots, module


@pytest.mark.parametrize("module", modules().values(), ids=str)
def test_a_module_says_what_lives_in_it_and_is_one_idea(module: Module) -> None:
    first = (ast.get_docstring(module.tree) or "").split("\n\n")[0]
    assert re.fullmatch(r"[A-Z0-9`].*\.", first, re.DOTALL), f"{module} does not begin with a sentence: {first!r}"
    assert len(first.split()) >= 3
    assert len(module.path.read_text().splitlines()) <= MOST_LINES
    if module.is_package:
        # It hands names on; what does something has a module of its own.
        own = [node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
        assert own == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """No path of somebody's disk, no package index: neither in what is committed nor in what is about to be."""
    git = shutil.which("git")
    if git is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the project is not known")
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = REPOSITORY / name
        content = path.read_bytes() if path.is_file() else b""
        for number, line in enumerate(content.decode(errors="replace").splitlines() if b"\0" not in content else (), 1):
            if match := OF_ONE_MACHINE.search(line):
                found.append(f"{name}:{number}: {match[0]}")
    assert found == []


@pytest.mark.parametrize(
    ("line", "of_one_machine"),
    [
        ("open('" + "/home/" + "somebody/data')", True),
        ("cd " + "/wo" + "rk/main", True),
        ("--index" + "-url=https://mirror", True),
        ("https://files.python" + "hosted.org/packages", True),
        ("GET /aoi/name, ~/wo" + "rk/x, https://example.org/home/page", False),
        ("`/home` is closed; {root}/wo" + "rk/tiles", False),
    ],
)
def test_what_counts_as_of_one_machine(line: str, of_one_machine: bool) -> None:
    assert bool(OF_ONE_MACHINE.search(line)) is of_one_machine

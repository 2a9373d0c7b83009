"""Imports point down only (docs/architecture): this reads every import of the package and fails on a wrong arrow."""

from __future__ import annotations

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import deployd

PACKAGE = Path(deployd.__file__).parent

# Each room, and what it may import beside itself. `errors`, `interfaces` and `machines` are modules of the package.
MAY_IMPORT = {
    "model": set(),
    "machines": set(),
    "planning": {"model"},
    "errors": set(),
    "interfaces": {"model", "errors"},
    "wire": {"model", "errors"},
    "net": {"model", "errors", "wire"},
    "client": {"model", "errors", "wire", "net"},
    "storage": {"model", "errors", "interfaces"},
    "git": {"model", "errors", "interfaces", "machines"},
    "processes": {"model", "errors", "interfaces"},
    "keeper": {"model", "errors", "interfaces", "wire", "net", "processes", "daemon"},
    "daemon": {"model", "errors", "net"},
    "cli": {"model", "planning", "errors", "wire", "net", "client", "processes"},
}
LOWER = set(MAY_IMPORT) - {"cli", "keeper"}
for room in ("hub", "drone", "registry", "router"):
    MAY_IMPORT[room] = LOWER
MAY_IMPORT["testing"] = LOWER | {"hub", "drone", "registry"}

# model is frozen values: the standard library and attrs. Purity of planning: nothing that acts.
MODEL_LIBRARIES = {"attrs"}
PLANNING_LIBRARIES = {"attrs", "semantic_version"}
REACTOR_IMPORTERS = {"tap.py", "main.py", "running.py", "worker.py", "__main__.py"}


def imports(path: Path) -> set[str]:
    """Every module that the file names in an import, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def room_of(module: str) -> str | None:
    """``deployd.git.packs.store`` -> ``git``; None outside of deployd, and for ``deployd`` itself (its version)."""
    parts = module.split(".")
    if parts[0] != "deployd" or len(parts) == 1:
        return None
    name = parts[1]
    return name if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists() else None


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


class ImportTests(SynchronousTestCase):
    def test_every_import_points_down(self) -> None:
        wrong = [
            f"{path.relative_to(PACKAGE)} imports {module}"
            for path in files()
            if (room := path.relative_to(PACKAGE).parts[0].removesuffix(".py")) != "__init__"
            for module in sorted(imports(path))
            if (target := room_of(module)) is not None and target != room and target not in MAY_IMPORT[room]
        ]
        self.assertEqual(wrong, [])

    def test_the_model_and_planning_use_no_library_that_acts(self) -> None:
        import sys

        wrong = [
            f"{path.relative_to(PACKAGE)} imports {module}"
            for room, libraries in (("model", MODEL_LIBRARIES), ("planning", PLANNING_LIBRARIES))
            for path in (PACKAGE / room).rglob("*.py")
            for module in imports(path)
            if (top := module.split(".")[0]) not in libraries | {"deployd"} and top not in sys.stdlib_module_names
        ]
        self.assertEqual(wrong, [])

    def test_only_git_knows_dulwich(self) -> None:
        users = {path.relative_to(PACKAGE).parts[0] for path in files() if any("dulwich" in m for m in imports(path))}
        self.assertEqual(users, {"git"})

    def test_only_programs_import_the_reactor(self) -> None:
        users = {path.name for path in files() if "twisted.internet.reactor" in imports(path)}
        self.assertLessEqual(users, REACTOR_IMPORTERS)

    def test_a_wrong_arrow_is_seen(self) -> None:
        """The check itself: an import of a higher room is found in a file's text."""
        path = Path(self.mktemp())
        path.write_text("def f():\n    from deployd.hub import service\n")
        self.assertEqual(room_of(sorted(imports(path))[0]), "hub")
        self.assertNotIn("hub", MAY_IMPORT["model"])

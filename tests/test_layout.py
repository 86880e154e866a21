"""The house: each module has its place in the layers, and no room is crowded."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    init.parent
    for package in ("cam_engine", "service", "worker")
    for init in (ROOT / package).rglob("__init__.py")
)
MOST_MODULES = 12


def name_of(package: Path) -> str:
    return ".".join(package.relative_to(ROOT).parts)


def inside(package: Path) -> list[str]:
    """Modules and packages directly in it."""
    modules = [file.stem for file in package.glob("*.py") if file.stem != "__init__"]
    return sorted([*modules, *(p.name for p in PACKAGES if p.parent == package)])


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_every_package_has_layers_in_which_all_its_modules_are(package: Path) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layered = {
        container: contract
        for contract in contracts["contracts"]
        for container in contract.get("containers", [])
    }
    contract = layered[name_of(package)]
    assert contract["exhaustive"]
    named = " | ".join(contract["layers"]).split(" | ")
    assert sorted(named) == inside(package)


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_no_package_is_crowded_and_each_has_its_guide(package: Path) -> None:
    assert len(list(package.glob("*.py"))) - 1 <= MOST_MODULES
    assert ast.get_docstring(ast.parse((package / "__init__.py").read_text()))


# What a folder may import of the project; import-linter sees to what is within the product.
PRODUCT = {"cam_engine", "service", "worker"}
MAY_IMPORT = {
    **dict.fromkeys(PRODUCT, PRODUCT),
    "processes": {*PRODUCT, "processes"},
    "benchmarks": {*PRODUCT, "benchmarks", "processes"},
    "scripts": {*PRODUCT, "benchmarks", "scripts"},
    "examples": {"cam_engine"},  # as what people install of their own does
    "tests": {*PRODUCT, "benchmarks", "processes", "scripts", "tests"},
}


def imported(file: Path) -> set[str]:
    """The first parts of the names of what a file imports, at its top or anywhere else."""
    packages = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.split(".")[0])
    return packages


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_folders_beside_the_product_are_imported_by_none_below_them(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        ours = imported(file) & set(MAY_IMPORT)
        assert ours <= MAY_IMPORT[folder], file


def test_every_folder_of_code_is_a_package() -> None:
    folders = {file.parent for package in PACKAGES for file in package.glob("*.py")}
    strays = {
        file.parent
        for top in ("cam_engine", "service", "worker")
        for file in (ROOT / top).rglob("*.py")
    } - folders
    assert strays == set()


def has_behaviour(module: Path) -> bool:
    """Whether it defines a function or a method.

    Without any are exit statuses, settings, bodies of answers, and entrances such as `__main__`.
    """
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, functions) for node in ast.walk(ast.parse(module.read_text())))


def test_every_module_with_behaviour_of_its_own_has_tests_of_its_name() -> None:
    modules = {
        module.relative_to(ROOT)
        for package in PACKAGES
        for module in package.glob("*.py")
        if module.stem != "__init__" and has_behaviour(module)
    }
    assert len(modules) > 100
    untested = {
        str(module)
        for module in modules
        if not (ROOT / "tests" / module.parent / f"test_{module.name}").is_file()
    }
    assert untested == set()

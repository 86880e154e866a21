"""Files are changed in one place only: nothing else calls what removes, renames or writes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("cam_engine", "worker", "service")

# File and function, and why what it does need not go through `ConfinedFolder`.
ALLOWED = {
    "cam_engine/confined.py": "it is the one place",
    "cam_engine/pictures/paper.py:_write": "a path that the caller of the library chooses",
    "service/commands/explain.py:explain": "the file that a person names for the answer",
    "service/commands/jobs.py:download": "the file that a person names for the archive",
    "service/commands/up.py:_state_folder": "the private folder of `gradcam up` for its Redis",
    "service/commands/up.py:_held": "the lock in that folder",
    "cam_engine/stores/fetching.py": "files of a bucket's mirror, in a folder of our own",
    "cam_engine/stores/mirror.py": "the same",
    "cam_engine/process/threads.py:let_others_first": "the kernel's own file, of this process",
    "worker/process.py:stop": "a file of this process in TMPDIR, with a random name",
    "worker/process.py:clean_up": "the same",
    "worker/jobs/outputs/scratch.py:scratch_folder": "a private folder in TMPDIR, made by mkdtemp",
    "worker/jobs/outputs/scratch.py:_remove_unlocked": "the same, left by a killed process",
}

CHANGING = frozenset(
    {
        *("rmtree", "unlink", "rename", "renames", "rmdir", "removedirs", "mkdir", "makedirs"),
        *("touch", "symlink", "symlink_to", "link", "hardlink_to", "write_bytes", "write_text"),
        *("copyfile", "copy2", "copytree", "move", "truncate", "mkfifo", "mknod", "chmod"),
    }
)
_FLAGS = frozenset({"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"})


def changes(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """(function, line, call) of what changes files."""
    for function, call in _calls(tree, "module"):
        name = _name(call.func)
        attribute = isinstance(call.func, ast.Attribute)
        module = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        if (
            (name in CHANGING and (attribute or name == "rmtree"))
            or (name in {"replace", "remove"} and module == "os")
            # Path.replace takes one argument; those of text and of dates take others.
            or (name == "replace" and attribute and len(call.args) == 1 and not call.keywords)
            or (name == "open" and _writes(call, module))
        ):
            yield function, call.lineno, ast.unparse(call)


def _calls(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        inside = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = child.name
        if isinstance(child, ast.Call):
            yield inside, child
        yield from _calls(child, inside)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _writes(call: ast.Call, module: str) -> bool:
    """By the mode, or the flags of os.open; what is not literal counts as writing."""
    if module == "os":
        flags = {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
        return bool(flags & _FLAGS) or not any(flag.startswith("O_") for flag in flags)
    place = 1 if isinstance(call.func, ast.Name) else 0
    modes = [*call.args[place : place + 1], *(k.value for k in call.keywords if k.arg == "mode")]
    return any(
        isinstance(mode, ast.Constant)
        and isinstance(mode.value, str)
        and set(mode.value) & set("wax+")
        for mode in modes
    )


def found() -> dict[str, list[str]]:
    answer: dict[str, list[str]] = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            path = file.relative_to(ROOT).as_posix()
            for function, line, call in changes(ast.parse(file.read_text())):
                place = path if path in ALLOWED else f"{path}:{function}"
                answer.setdefault(place, []).append(f"{path}:{line}: {call}")
    return answer


def test_files_are_changed_through_a_confined_folder_alone() -> None:
    others = {place: calls for place, calls in found().items() if place not in ALLOWED}
    assert others == {}, "write, rename and remove through cam_engine.confined.ConfinedFolder"


def test_every_exception_is_still_needed() -> None:
    assert set(ALLOWED) - set(found()) == set()


@pytest.mark.parametrize(
    "line",
    [
        "shutil.rmtree(x)",
        "rmtree(x)",
        "path.unlink()",
        "path.rename(other)",
        "path.replace(other)",
        "os.replace(a, b)",
        "os.remove(a)",
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('xb')",
        "path.write_bytes(b'')",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "os.open(path, flags)",
    ],
)
def test_it_is_seen(line: str) -> None:
    assert list(changes(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    ["text.replace('a', 'b')", "open(path)", "path.open('rb')", "date.replace(tzinfo=UTC)"],
)
def test_what_changes_no_file_is_not(line: str) -> None:
    assert not list(changes(ast.parse(line)))

"""What a request says beside its body: which representation the client has, and where we are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from starlette.requests import Request

from service.http.requested import base_path, has_already

SERVICE = Path(__file__).parents[3] / "service"


def request(root_path: str = "", **headers: str) -> Request:
    raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {"type": "http", "path": "/", "headers": raw, "root_path": root_path}
    return Request(scope)


@pytest.mark.parametrize("given", ['"a"', 'W/"a"', '"b", "a"', ' W/"b" ,W/"a" ', "*"])
@pytest.mark.parametrize("tag", ['"a"', 'W/"a"'])
def test_the_representation_is_there(given: str, tag: str) -> None:
    assert has_already(request(if_none_match=given), tag)


@pytest.mark.parametrize("given", ["", '"b"', "a", '"ab"', '"b", W/"c"'])
def test_it_is_not(given: str) -> None:
    assert not has_already(request(if_none_match=given), '"a"')
    assert not has_already(request(), '"a"')


def test_the_base_is_the_path_before_ours() -> None:
    assert base_path(request("/tools/gradcam")) == "/tools/gradcam"
    assert base_path(request()) == ""


def test_only_one_module_hands_work_to_threads() -> None:
    users = {
        file.relative_to(SERVICE).as_posix()
        for file in SERVICE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "run_in_executor"
    }
    assert users == {"executors.py"}

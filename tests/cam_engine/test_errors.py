"""Errors of the library: codes that never change, and the fence round each item."""

from __future__ import annotations

import inspect
import logging
import os

import pytest

from cam_engine import errors
from cam_engine.errors import CamError, InvalidImage, OutputBusy, error_of_item


def test_every_error_has_a_code_of_its_own_after_its_name() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, CamError) and kind is not CamError
    ]
    for kind in kinds:
        assert kind.code.replace("-", "") == kind.__name__.lower()
        assert kind.__doc__
    assert len({kind.code for kind in kinds}) == len(kinds) > 20


def test_a_message_can_be_said_whatever_the_files_are_called() -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    assert str(InvalidImage(f"{name} is damaged")) == "caf%E9.jpg is damaged"


def test_a_busy_folder_says_whose_it_is_where_that_is_known() -> None:
    assert (OutputBusy("busy").job, OutputBusy("busy", "id").job) == (None, "id")


def test_an_error_of_ours_is_an_items_own() -> None:
    error = InvalidImage("damaged")
    assert error_of_item(error, "a.jpg") is error


def test_any_other_is_told_in_the_log_and_not_to_people(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError("a secret of /etc")
    except RuntimeError as raised:
        with caplog.at_level(logging.ERROR):
            told = error_of_item(raised, os.fsdecode(b"caf\xe9.jpg"))
    assert told.code == "internal-error"
    assert str(told) == (
        "caf%E9.jpg: an unexpected error (RuntimeError), which the log names; report it"
    )
    assert "caf%E9.jpg: unexpected RuntimeError at test_errors.py:" in caplog.text
    assert "a secret of /etc" in caplog.text


def test_one_that_was_never_raised_has_no_place() -> None:
    assert error_of_item(ValueError("x"), "a.jpg").code == "internal-error"

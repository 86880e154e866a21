"""View tokens: what they say, how long they hold, and the answers that they may have again."""

from __future__ import annotations

import time
from dataclasses import replace
from secrets import token_hex

import pytest

from service.explanations import view_tokens
from service.explanations.view_tokens import ViewScope, ViewTokens
from service.http.problems import ServiceError

SECRET = "a-secret-of-the-tests-only"
SCOPE = ViewScope("caller", "run/experiments/experiment_a")


def test_expired_tokens_say_so() -> None:
    tokens = ViewTokens(SECRET)
    now = int(time.time())
    assert tokens.read(tokens.make(SCOPE, now + 60)) == SCOPE
    with pytest.raises(ServiceError) as refused:
        tokens.read(tokens.make(SCOPE, now - 1))
    assert refused.value.code == "view-token-expired"


def test_a_token_that_is_longer_than_any_is_not_even_looked_at() -> None:
    tokens = ViewTokens(SECRET)
    long = tokens.make(ViewScope("caller", token_hex(8000)), int(time.time()) + 60)
    with pytest.raises(ServiceError) as refused:
        tokens.read(long)
    assert refused.value.code == "view-token-invalid"


def test_answers_are_had_again_by_tokens_of_the_same_scope_alone() -> None:
    tokens = ViewTokens(None)
    tokens.remember(SCOPE, "a")
    assert tokens.has_shown(replace(SCOPE), "a")
    assert not tokens.has_shown(SCOPE, "b")
    for other in (replace(SCOPE, caller="other"), replace(SCOPE, image="a.jpg")):
        assert not tokens.has_shown(other, "a")


def test_a_scopes_label_is_of_all_of_it_and_the_same_in_every_process() -> None:
    others = [
        replace(SCOPE, caller="other"),
        replace(SCOPE, experiment="run"),
        replace(SCOPE, model="a.jpg"),
        replace(SCOPE, image="a.jpg"),
    ]
    assert len({SCOPE.label, *(other.label for other in others)}) == 5
    assert SCOPE.label == replace(SCOPE).label == "c8ec39f6ae7c3950935b59021f955fe9"


def test_processes_share_tokens_by_the_secret_only() -> None:
    token = ViewTokens(SECRET).make(SCOPE, int(time.time()) + 60)
    assert ViewTokens(SECRET).read(token) == SCOPE
    for other in (ViewTokens("another-secret-of-them"), ViewTokens(None)):
        with pytest.raises(ServiceError) as refused:
            other.read(token)
        assert refused.value.code == "view-token-invalid"


def test_the_answers_shown_last_may_be_had_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_tokens, "_MOST_SHOWN", 2)
    tokens = ViewTokens(None)
    for digest in ("a", "b", "a", "c"):
        tokens.remember(SCOPE, digest)
    assert [tokens.has_shown(SCOPE, digest) for digest in "abc"] == [True, False, True]

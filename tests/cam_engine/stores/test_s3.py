"""The store of a bucket."""

from __future__ import annotations

import sys

import pytest

from cam_engine.errors import InvalidOption
from cam_engine.stores.s3 import endpoint, s3_store


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(InvalidOption, match=r"s3://x needs an extra: .*gradcam-service\[s3\]"):
        s3_store("x", None, wanted_by="s3://x")


@pytest.mark.parametrize(("address", "plain"), [("http://minio:9000", True), ("https://s", False)])
def test_only_an_endpoint_without_tls_may_be_asked_without(
    monkeypatch: pytest.MonkeyPatch, address: str, plain: bool
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    store = s3_store("x", "prefix", wanted_by="it")
    assert endpoint() == address
    assert store.client_options is not None
    assert store.client_options["allow_http"] in ({"true", True} if plain else {"false", False})
    assert store.prefix == "prefix"

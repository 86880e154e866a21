"""What was read of a model's file is in the API once the model is in memory."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.service.asking import CB, JSON, facts, post_image, sound


def test_a_model_says_what_was_read_of_it(http: httpx.Client, cell: Path) -> None:
    facts(post_image(http, cell, model=CB, headers=JSON))
    read = sound(http.get(f"/v1/models/{CB}")).json()["read"]
    assert (read["architecture"], read["naming"]) == ("mobilenet_v3_small", "torchvision")
    assert read["head_layers"].endswith("linear")
    assert read["sources"]["class_names"] == "in the file"
    assert read["sources"]["input_size"].startswith("assumed")
    assert read["mean"] == [0.485, 0.456, 0.406]


def test_of_models_that_are_not_loaded_nothing_is_known_but_their_headers(
    http: httpx.Client,
) -> None:
    models = sound(http.get("/v1/models")).json()["models"]
    assert all((model["read"] is not None) == model["loaded"] for model in models)

"""What `kustomize build` makes of a folder, for as much of it as deploy/kubernetes uses."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonpatch
import yaml

Document = dict[str, Any]

# Kinds that are not within a namespace.
_OF_THE_CLUSTER = {"Namespace"}
_KNOWN = {
    "apiVersion",
    "kind",
    "resources",
    "components",
    "namespace",
    "images",
    "patches",
}


def documents(file: Path) -> list[Document]:
    """The documents of a YAML file."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def built(folder: Path) -> list[Document]:
    """The documents that a kustomization makes. Raises ValueError for what is not known here."""
    return _built(folder, [])


def _built(folder: Path, before: list[Document]) -> list[Document]:
    """before: what a component is added to."""
    [said] = documents(folder / "kustomization.yaml")
    if unknown := set(said) - _KNOWN:
        raise ValueError(f"{folder}: {sorted(unknown)}")
    made = deepcopy(before)
    for name in said.get("resources", []):
        path = folder / name
        made += built(path) if path.is_dir() else documents(path)
    for name in said.get("components", []):
        made = _built(folder / name, made)
    made = [_patched(document, said.get("patches", [])) for document in made]
    for document in made:
        if "namespace" in said and document["kind"] not in _OF_THE_CLUSTER:
            document["metadata"]["namespace"] = said["namespace"]
        _name_images(document, {image["name"]: image for image in said.get("images", [])})
    return made


def _patched(document: Document, patches: list[Document]) -> Document:
    for patch in patches:
        target = patch["target"]
        names = {"kind": document["kind"], "name": document["metadata"]["name"]}
        if target.items() <= names.items():
            operations = yaml.safe_load(patch["patch"])
            document = jsonpatch.apply_patch(document, operations)
    return document


def _name_images(document: Document, images: dict[str, Document]) -> None:
    for container in pod_of(document).get("containers", []):
        if image := images.get(container["image"]):
            container["image"] = f"{image['newName']}:{image['newTag']}"


def pod_of(document: Document) -> Document:
    """The pod's own part of what makes pods; {} of anything else."""
    spec: Document = document.get("spec", {}).get("template", {}).get("spec", {})
    return spec

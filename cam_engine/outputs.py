"""Writes the documented tree: atomic files, summaries, manifests.

<folder>/improved_gradcam_<name>.png
<folder>/components/<name>_{early,mid,late}_{heatmap,overlay}.png
<folder>/summary.csv, summary.json, manifest.json
"""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cam_engine.errors import OutputNotWritable
from cam_engine.records import Failed, LayerFacts, Row, RunFacts, Succeeded, to_json
from cam_engine.results import ClassScore

MAIN_PREFIX = "improved_gradcam_"
COMPONENTS = "components"
SUMMARY_JSON = "summary.json"
SUMMARY_CSV = "summary.csv"
MANIFEST = "manifest.json"

_PART_SUFFIX = ".part"


@dataclass(frozen=True, slots=True)
class PicturePaths:
    """Where one image's pictures go."""

    folder: Path
    name: str

    def main(self, suffix: str = "png") -> Path:
        """The main figure."""
        return self.folder / f"{MAIN_PREFIX}{self.name}.{suffix}"

    def component(self, layer: str, kind: str) -> Path:
        """One layer's picture; kind is "heatmap", "overlay" or "map"."""
        return self.folder / COMPONENTS / f"{self.name}_{file_part(layer)}_{kind}.png"


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One classifier's rows, and how long they took."""

    facts: RunFacts
    rows: tuple[Row, ...]
    seconds: float
    resumed: int = 0

    @property
    def failed(self) -> tuple[Failed, ...]:
        """The images that could not be explained."""
        return tuple(row for row in self.rows if isinstance(row, Failed))

    @property
    def succeeded(self) -> tuple[Succeeded, ...]:
        """The images whose pictures are written."""
        return tuple(row for row in self.rows if isinstance(row, Succeeded))

    @property
    def accuracy(self) -> tuple[int, int]:
        """(correct, of known true class) images."""
        known = [row.correct for row in self.succeeded if row.correct is not None]
        return sum(known), len(known)


def file_part(layer: str) -> str:
    """A layer's name as a part of a file's name: only letters, digits, dot, dash, underscore."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in layer)


def make_folder(folder: Path) -> None:
    """Create the folder, and the one for components in it. Raises OutputNotWritable."""
    make_plain_folder(folder / COMPONENTS)


def make_plain_folder(folder: Path) -> None:
    """Create the folder and those around it. Raises OutputNotWritable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error


def remove_half_written(folder: Path) -> None:
    """Clear what killed processes left half written in a folder that has no writer now.

    Raises OutputNotWritable.
    """
    try:
        for part in [*folder.glob(f".*{_PART_SUFFIX}"), *folder.glob(f"*/.*{_PART_SUFFIX}")]:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error


def remove_files(files: Iterable[Path]) -> None:
    """Remove them, those that are gone already included. Raises OutputNotWritable."""
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise _not_writable(file, error) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary name beside the path, then rename: never half a file under the name.

    Raises OutputNotWritable; then, and when interrupted, nothing is left.
    """
    part = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:12]}{_PART_SUFFIX}")
    try:
        try:
            with part.open("xb") as file:
                file.write(data)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _not_writable(path, error) from error


def write_model_summary(folder: Path, summary: ModelSummary) -> None:
    """summary.csv, summary.json and manifest.json of one classifier."""
    table = [(summary.facts.model, row) for row in summary.rows]
    write_atomically(folder / SUMMARY_CSV, summary_csv(table))
    write_atomically(folder / SUMMARY_JSON, _json_bytes(model_summary_object(summary)))
    write_atomically(folder / MANIFEST, _json_bytes(_manifest_object(summary)))


def write_merged_summary(root: Path) -> None:
    """The same three at the root, from all classifiers' folders in it.

    Also those of earlier runs: focal today and cb tomorrow end up in one table.
    """
    folders = sorted(path.parent for path in root.glob(f"*/{SUMMARY_JSON}"))
    summaries = [json.loads((folder / SUMMARY_JSON).read_bytes()) for folder in folders]
    manifests = [json.loads((folder / MANIFEST).read_bytes()) for folder in folders]
    table = [(one["model"], row_from_json(row)) for one in summaries for row in one["images"]]
    write_atomically(root / SUMMARY_CSV, summary_csv(table))
    write_atomically(root / SUMMARY_JSON, _json_bytes({"models": summaries}))
    counts = {
        key: sum(one["counts"][key] for one in manifests)
        for key in ("images", "succeeded", "failed")
    }
    write_atomically(root / MANIFEST, _json_bytes({"counts": counts, "models": manifests}))


def summary_csv(table: Sequence[tuple[str, Row]]) -> bytes:
    """A line an image, UTF-8 with a byte order mark (spreadsheets then read names right)."""
    lines = [_csv_fields(model, row) for model, row in table]
    columns = list(dict.fromkeys(key for line in lines for key in line)) or ["model", "image"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode("utf-8-sig")


def row_to_json(row: Row) -> dict[str, object]:
    """A row as a JSON object with a `status`."""
    status = "succeeded" if isinstance(row, Succeeded) else "failed"
    fields = json.loads(to_json(row))
    extra = {"correct": row.correct} if isinstance(row, Succeeded) else {}
    return {"status": status, **fields, **extra}


def row_from_json(value: Mapping[str, Any]) -> Row:
    """The row that `row_to_json` wrote. Raises KeyError, TypeError or ValueError on others."""
    fields = {k: v for k, v in value.items() if k not in {"status", "correct"}}
    if value["status"] == "failed":
        return Failed(**fields)
    fields["top"] = tuple(ClassScore(**one) for one in value["top"])
    fields["layers"] = tuple(
        LayerFacts(**{**one, "grid": tuple(one["grid"])}) for one in value["layers"]
    )
    plain = value["unenhanced"]
    fields["unenhanced"] = None if plain is None else ClassScore(**plain)
    return Succeeded(**fields)


def _csv_fields(model: str, row: Row) -> dict[str, object]:
    common = {"model": model, "image": row.image, "true": row.true_class or ""}
    if isinstance(row, Failed):
        return {**common, "status": "failed", "error": row.code, "detail": row.detail}
    layers: dict[str, object] = {}
    for layer in row.layers:
        border = layer.border_energy
        layers[f"{layer.name}_grid"] = f"{layer.grid[0]}x{layer.grid[1]}"
        layers[f"{layer.name}_maximum"] = f"{layer.maximum:.6g}"
        layers[f"{layer.name}_border_energy"] = "" if border is None else f"{border:.4f}"
    return {
        **common,
        "status": "succeeded",
        "predicted": row.predicted,
        "probability": f"{row.probability:.4f}",
        "correct": "" if row.correct is None else str(row.correct).lower(),
        "target": row.target,
        "top_classes": "; ".join(f"{s.name} {s.probability:.4f}" for s in row.top),
        "class_without_clahe": row.unenhanced.name if row.unenhanced else "",
        "clahe_changed_class": str(row.clahe_changed_class).lower(),
        "figure": f"{MAIN_PREFIX}{row.name}.png",
        **layers,
        "error": "",
        "detail": "",
    }


def model_summary_object(summary: ModelSummary) -> dict[str, object]:
    """What summary.json holds of one classifier."""
    return {"model": summary.facts.model, "images": [row_to_json(row) for row in summary.rows]}


def _manifest_object(summary: ModelSummary) -> dict[str, object]:
    correct, known = summary.accuracy
    return {
        **json.loads(to_json(summary.facts)),
        "run": summary.facts.digest,
        "preprocessing": summary.facts.preprocessing,
        "counts": {
            "images": len(summary.rows),
            "succeeded": len(summary.succeeded),
            "failed": len(summary.failed),
            "resumed": summary.resumed,
            "correct": correct,
            "of_known_class": known,
        },
        "seconds": round(summary.seconds, 3),
    }


def _json_bytes(value: object) -> bytes:
    return (to_json(value, indent=2) + "\n").encode()


def _not_writable(path: Path, error: OSError) -> OutputNotWritable:
    reason = error.strerror or type(error).__name__
    return OutputNotWritable(
        f"cannot write {path}: {reason}; choose another output folder, or free space in this one"
    )

"""Tables and manifests of a run: <folder>/summary.csv, summary.json, manifest.json."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cam_engine.confined import ConfinedFolder
from cam_engine.experiments.skipped import NOTHING, Skipped
from cam_engine.images.decoded import counted, facts_from_json
from cam_engine.images.png import MAIN_PREFIX
from cam_engine.outputs.files import not_writable, write_into
from cam_engine.pictures.recipes import Failed, LayerFacts, Row, RunFacts, Succeeded, to_json
from cam_engine.results import ClassScore
from cam_engine.short_names import speakable

_log = logging.getLogger(__name__)

SUMMARY_JSON = "summary.json"
SUMMARY_CSV = "summary.csv"
MANIFEST = "manifest.json"

# A cell that begins with one of them may be run by a spreadsheet.
_BEGIN_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")

_COUNTS = ("images", "succeeded", "failed")
_OF_A_DAMAGED_SUMMARY = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One classifier's rows, and how long they took.

    skipped: what was left out where images were looked for. folders_of_no_class: images by folder,
    of those folders that are no class of the classifier's.
    """

    facts: RunFacts
    rows: tuple[Row, ...]
    seconds: float
    resumed: int = 0
    skipped: Skipped = NOTHING
    folders_of_no_class: Mapping[str, int] = field(default_factory=dict)

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


def write_model_summary(folder: ConfinedFolder, summary: ModelSummary) -> None:
    """summary.csv, summary.json and manifest.json of one classifier.

    None of them where one would replace a file that is not ours, as the log then warns. Raises
    OutputNotWritable.
    """
    table = [(summary.facts.model, row) for row in summary.rows]
    _write_summaries(
        folder,
        table,
        summary=model_summary_object(summary),
        manifest=_manifest_object(summary),
    )


def write_merged_summary(root: ConfinedFolder, fresh: Sequence[ModelSummary] = ()) -> None:
    """The same three at the root, from all classifiers' folders in it.

    Also those of earlier runs: focal today and cb tomorrow end up in one table. `fresh` are taken
    as they are, whatever is in their folders. What is damaged or not ours is left out, as the log
    then warns. Raises OutputNotWritable.
    """
    ours = {of_model.facts.model: of_model for of_model in fresh}
    earlier = [name for name in root.folders() if root.is_file(f"{name}/{SUMMARY_JSON}")]
    summaries, manifests, table = [], [], []
    for name in sorted({*ours, *earlier}):
        try:
            if name in ours:
                summary = json.loads(to_json(model_summary_object(ours[name])))
                manifest: Any = _manifest_object(ours[name])
            else:
                summary = json.loads(root.read(f"{name}/{SUMMARY_JSON}"))
                manifest = json.loads(root.read(f"{name}/{MANIFEST}"))
            rows = [(summary["model"], row_from_json(row)) for row in summary["images"]]
            summary_csv(rows)
            counts = {key: int(manifest["counts"][key]) for key in _COUNTS}
        except (OSError, *_OF_A_DAMAGED_SUMMARY) as error:
            _log.warning(
                "%s: left out of %s: %s or %s there is damaged, or not of this software (%s)",
                name,
                root.shown(SUMMARY_JSON),
                SUMMARY_JSON,
                MANIFEST,
                type(error).__name__,
            )
            continue
        table += rows
        summaries.append(summary)
        manifests.append((counts, manifest))
    totals = {key: sum(counts[key] for counts, _ in manifests) for key in _COUNTS}
    models = [manifest for _, manifest in manifests]
    _write_summaries(
        root,
        table,
        summary={"models": summaries},
        manifest={"counts": totals, "models": models},
    )


def _write_summaries(
    folder: ConfinedFolder,
    table: Sequence[tuple[str, Row]],
    *,
    summary: Mapping[str, object],
    manifest: Mapping[str, object],
) -> None:
    def read(name: str) -> bytes:
        try:
            return folder.read(name)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise not_writable(folder.shown(name), error) from error

    if not may_replace_summaries(read, folder.shown):
        return
    write_into(folder, SUMMARY_CSV, summary_csv(table))
    write_into(folder, SUMMARY_JSON, _json_bytes(summary))
    write_into(folder, MANIFEST, _json_bytes(manifest))


def may_replace_summaries(read: Callable[[str], bytes], shown: Callable[[str], str]) -> bool:
    """Whether none of the three files there is another program's, or damaged; else the log warns.

    read: the content of a file of that name; raises FileNotFoundError, and what else it raises is
    raised. shown: its path, for people.
    """
    for name, is_ours in _OURS.items():
        if not _may_replace(name, is_ours, read):
            _log.warning(
                "%s is not of this software, or damaged, and was left as it is: no summaries are "
                "written beside it; remove it, or choose another output folder",
                shown(name),
            )
            return False
    return True


def _may_replace(name: str, is_ours: Callable[[bytes], bool], read: Callable[[str], bytes]) -> bool:
    """Whether there is nothing of that name, nothing in it, or what we wrote."""
    try:
        data = read(name)
    except FileNotFoundError:
        return True
    try:
        return not data or is_ours(data)
    except _OF_A_DAMAGED_SUMMARY:
        return False


def _is_our_table(data: bytes) -> bool:
    return data.decode("utf-8-sig").startswith("model,image")


def _is_our_summary(data: bytes) -> bool:
    value = json.loads(data)
    of_models = value.get("models", [value])
    return all("model" in model and _are_rows(model["images"]) for model in of_models)


def _are_rows(rows: Sequence[Mapping[str, object]]) -> bool:
    return all({"status", "image", "name"} <= set(row) for row in rows)


def _is_our_manifest(data: bytes) -> bool:
    value = json.loads(data)
    return set(_COUNTS) <= set(value["counts"]) and ("models" in value or "run" in value)


_OURS: Mapping[str, Callable[[bytes], bool]] = MappingProxyType(
    {SUMMARY_CSV: _is_our_table, SUMMARY_JSON: _is_our_summary, MANIFEST: _is_our_manifest}
)


def summary_csv(table: Sequence[tuple[str, Row]]) -> bytes:
    """A line an image, UTF-8 with a byte order mark (spreadsheets then read names right).

    Names that a spreadsheet would take for a formula have an apostrophe before them.
    """
    lines = [_csv_fields(model, row) for model, row in table]
    columns = list(dict.fromkeys(key for line in lines for key in line)) or ["model", "image"]
    text = _Lines()
    writer = csv.DictWriter(text, columns, restval="", lineterminator=_Lines.written)
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode("utf-8-sig")


class _Lines(io.StringIO):
    """Ends lines with a line feed alone, while carriage returns in a cell are quoted as well.

    The csv module quotes those characters only that end its lines.
    """

    written = "\r\n"

    def __init__(self) -> None:
        super().__init__(newline="")

    def write(self, line: str) -> int:
        """Write a whole line."""
        return super().write(f"{line.removesuffix(self.written)}\n")


def row_to_json(row: Row) -> dict[str, object]:
    """A row as a JSON object with a `status`."""
    status = "succeeded" if isinstance(row, Succeeded) else "failed"
    fields = json.loads(to_json(row))
    extra = (
        {"correct": row.correct, "notices": [*row.decoding.notices]}
        if isinstance(row, Succeeded)
        else {}
    )
    return {"status": status, **fields, **extra}


def row_from_json(value: Mapping[str, Any]) -> Row:
    """The row that `row_to_json` wrote. Raises KeyError, TypeError or ValueError on others."""
    fields = {k: v for k, v in value.items() if k not in {"status", "correct", "notices"}}
    if value["status"] == "failed":
        return Failed(**fields)
    fields["top"] = tuple(ClassScore(**score) for score in value["top"])
    fields["layers"] = tuple(
        LayerFacts(**{**layer, "grid": tuple(layer["grid"])}) for layer in value["layers"]
    )
    plain = value["unenhanced"]
    fields["unenhanced"] = None if plain is None else ClassScore(**plain)
    fields["decoding"] = facts_from_json(fields.get("decoding", {}))  # none in older rows
    return Succeeded(**fields)


def _csv_fields(model: str, row: Row) -> dict[str, object]:
    common = {
        "model": _no_formula(model),
        "image": _no_formula(row.image),
        "true": _no_formula(row.true_class or ""),
    }
    if isinstance(row, Failed):
        return {**common, "status": "failed", "error": row.code, "detail": _no_formula(row.detail)}
    layers: dict[str, object] = {}
    for layer in row.layers:
        name, border = _no_formula(layer.name), layer.border_energy
        layers[f"{name}_grid"] = f"{layer.grid[0]}x{layer.grid[1]}"
        layers[f"{name}_maximum"] = f"{layer.maximum:.6g}"
        layers[f"{name}_border_energy"] = "" if border is None else f"{border:.4f}"
    return {
        **common,
        "status": "succeeded",
        "predicted": _no_formula(row.predicted),
        "probability": f"{row.probability:.4f}",
        "correct": "" if row.correct is None else str(row.correct).lower(),
        "target": _no_formula(row.target),
        "top_classes": _no_formula("; ".join(f"{s.name} {s.probability:.4f}" for s in row.top)),
        "class_without_clahe": _no_formula(row.unenhanced.name if row.unenhanced else ""),
        "clahe_changed_class": str(row.clahe_changed_class).lower(),
        "notices": _no_formula("; ".join(row.decoding.notices)),
        "figure": f"{MAIN_PREFIX}{row.name}.png",
        **layers,
        "error": "",
        "detail": "",
    }


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_BEGIN_FORMULAS) else text


def model_summary_object(summary: ModelSummary) -> dict[str, object]:
    """What summary.json holds of one classifier."""
    correct, known = summary.accuracy
    skipped = summary.skipped
    folders = summary.folders_of_no_class
    return {
        "model": summary.facts.model,
        "notices": notices_of(summary),
        "images": [row_to_json(row) for row in summary.rows],
        "accuracy": {
            "correct": correct,
            "of_known_class": known,
            "images": len(summary.succeeded),
        },
        "skipped": {"total": skipped.total, "words": skipped.words, "kinds": skipped.kinds},
        "folders_of_no_class": {speakable(name): count for name, count in folders.items()},
    }


def notices_of(summary: ModelSummary) -> list[str]:
    """What was assumed of the model, and of how many of its images what."""
    of_images = counted(row.decoding.notices for row in summary.succeeded)
    return [*summary.facts.notices, *(said_of(count, notice) for count, notice in of_images)]


def said_of(count: int, notice: str) -> str:
    """A notice of so many images: "12 images: 16 bits scaled by 12 bits"."""
    return f"{count} image{'' if count == 1 else 's'}: {notice}"


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

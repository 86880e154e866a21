"""Writes the tables that the documentation takes from the code.

python -m scripts.generate_docs            rewrites them
python -m scripts.generate_docs --check    says which are out of date, status 1 if any is
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.documents import replace_block
from cam_engine.method_facts import DEFAULT_METHOD, METHOD_FACTS
from service.explanations.requests import StoredImageRequest, UploadFields
from service.http.problems import table_markdown
from service.settings import GIB, MIB, Settings
from service.watching.metrics import Metrics

ROOT = Path(__file__).resolve().parents[1]


def methods_table() -> list[str]:
    """Every CAM method: its name for programs and for people, what it does, its source."""
    lines = ["| `--method` | Method | What it shows | Source |", "|---|---|---|---|"]
    for name, facts in METHOD_FACTS.items():
        option = f"`{name}`" + (" (default)" if name == DEFAULT_METHOD else "")
        lines.append(f"| {option} | {facts.label} | {facts.sentence} | {facts.source} |")
    return lines


def settings_table() -> list[str]:
    """Every setting: its variable, default and meaning."""
    lines = ["| Variable | Default | Meaning |", "|---|---|---|"]
    properties = Settings.model_json_schema()["properties"]
    for name, field in Settings.model_fields.items():
        meaning = _description(properties[name]) or _values(properties[name])
        variable, default = f"GRADCAM_{name.upper()}", _default(name, field.default)
        lines.append(f"| `{variable}` | {default} | {meaning} |")
    return lines


def options_table() -> list[str]:
    """Every field of an explanation request beside an upload's image."""
    lines = ["| Field | In | Values | Default | Meaning |", "|---|---|---|---|---|"]
    properties = StoredImageRequest.model_json_schema()["properties"]
    for name, field in StoredImageRequest.model_fields.items():
        where = "both" if name in UploadFields.model_fields else "JSON"
        if name == "image":
            where = "JSON; in an upload it is the file"
        described, default = properties[name], _default(name, field.default)
        values, meaning = _values(described), _description(described)
        lines.append(f"| `{name}` | {where} | {values} | {default} | {meaning} |")
    return lines


def metrics_table() -> list[str]:
    """Every metric as Prometheus sees it."""
    lines = ["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    for metric in vars(Metrics()).values():
        if not hasattr(metric, "describe"):
            continue
        [family] = metric.describe()
        suffix = "_total" if family.type == "counter" else ""
        labels = ", ".join(f"`{name}`" for name in metric._labelnames)
        name = f"`{family.name}{suffix}`"
        lines.append(f"| {name} | {family.type} | {labels} | {family.documentation} |")
    return lines


TABLES: Mapping[tuple[str, str], Callable[[], list[str]]] = MappingProxyType(
    {
        ("README.md", "methods"): methods_table,
        ("docs/errors.md", "problems"): table_markdown,
        ("docs/service.md", "settings"): settings_table,
        ("docs/service.md", "options"): options_table,
        ("docs/service.md", "metrics"): metrics_table,
    }
)


def write_tables(root: Path) -> None:
    """Rewrite all tables in the documents below that folder. Raises ValueError without markers."""
    for (document, block), table in TABLES.items():
        replace_block(root / document, block, ["", *table(), ""])


def outdated(root: Path) -> list[str]:
    """Names of the tables that are not what the code says."""
    return [
        f"{document}: {block}"
        for (document, block), table in TABLES.items()
        if "\n".join(table()) not in (root / document).read_text()
    ]


def _forms(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A property's JSON schema and those that it is made of."""
    return [schema, *schema.get("anyOf", []), schema.get("items", {})]


def _values(schema: Mapping[str, Any]) -> str:
    values: list[Any] = next((form["enum"] for form in _forms(schema) if "enum" in form), [])
    return ", ".join(f"`{value}`" for value in values)


def _description(schema: Mapping[str, Any]) -> str:
    forms = (form["description"] for form in _forms(schema) if "description" in form)
    return str(next(forms, "")).replace("<", "&lt;")


def _default(name: str, value: object) -> str:
    if value is None or value in {(), ""}:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if name.endswith("_bytes") and isinstance(value, int):
        size, unit = (value // GIB, "GiB") if value % GIB == 0 else (value // MIB, "MiB")
        return f"`{value}` ({size} {unit})"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def main() -> int:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    if not parser.parse_args().check:
        write_tables(ROOT)
        return 0
    stale = outdated(ROOT)
    for name in stale:
        print(f"out of date: {name}; run: python -m scripts.generate_docs", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

"""The pages, filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import jinja2

from cam_engine.options import STAGES, Pick
from service.pages.files import ELEMENT, static_files
from worker.jobs.contract import JobRequest


@dataclass(frozen=True, slots=True)
class Scripts:
    """What a page loads: its own script, and later, where it has one, that of the viewer.

    A page asks the API by its own script; the viewer, twice as many modules, is needed when there
    is something to show. Browsers have six connections: what comes first matters.
    """

    own: str
    later: str | None = None


SCRIPTS: Mapping[str, Scripts] = MappingProxyType(
    {
        "look.html": Scripts("pages/look/look.js", ELEMENT),
        "experiment.html": Scripts("pages/experiment/experiment.js", ELEMENT),
        "compare.html": Scripts("pages/compare/compare.js", ELEMENT),
        "jobs.html": Scripts("pages/jobs/jobs.js"),
        "embed.html": Scripts("pages/embed.js"),
    }
)
PICK_WORDS: Mapping[Pick, str] = MappingProxyType(
    {
        "balanced": "classes in turn",
        "first": "the first",
        "random": "at random",
        "errors": "where each model errs most",
    }
)

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals |= {
    "stages": STAGES,
    "picks": tuple(PICK_WORDS.items()),
    "job_defaults": {name: field.default for name, field in JobRequest.model_fields.items()},
}


def page_text(template: str, base: str, **values: object) -> str:
    """The HTML of a page; base: what addresses begin with."""
    files = static_files()
    scripts = SCRIPTS[template]
    modules = files.modules(scripts.own)
    later = files.modules(scripts.later) if scripts.later else ()
    known = {
        "base": base,
        "static": f"{base}/static/{files.version}",
        "page": Path(template).stem,
        "scripts": scripts,
        "modules": modules,
        "later_modules": [script for script in later if script not in modules],
    }
    return _TEMPLATES.get_template(template).render(**known, **values)

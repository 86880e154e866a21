"""The pages, filled in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import jinja2

from cam_engine.options import PICKS, STAGES, Pick
from service.pages.files import ELEMENT, static_files
from worker.jobs.contract import JobRequest

# In the order in which they are loaded.
SCRIPTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "look.html": (ELEMENT, "pages/look/look.js"),
        "experiment.html": (ELEMENT, "pages/experiment/experiment.js"),
        "compare.html": (ELEMENT, "pages/compare/compare.js"),
        "jobs.html": ("pages/jobs/jobs.js",),
        "embed.html": ("pages/embed.js",),
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
    "picks": [(pick, PICK_WORDS[pick]) for pick in PICKS],
    "job_defaults": {name: field.default for name, field in JobRequest.model_fields.items()},
}


def page_text(template: str, base: str, **values: object) -> str:
    """The HTML of a page; base: what addresses begin with."""
    files = static_files()
    scripts = SCRIPTS[template]
    known = {
        "base": base,
        "static": f"{base}/static/{files.version}",
        "page": Path(template).stem,
        "scripts": scripts,
        "modules": files.modules(scripts),
    }
    return _TEMPLATES.get_template(template).render(**known, **values)

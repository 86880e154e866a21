"""Pages from their templates: addresses below a base, modules in order, and no gaps."""

from __future__ import annotations

import re
from typing import get_args

import jinja2
import pytest

from cam_engine.options import Pick
from service.pages.files import static_files
from service.pages.templates import PICK_WORDS, SCRIPTS, page_text

PLAIN = ["look.html", "experiment.html", "compare.html", "jobs.html"]


@pytest.mark.parametrize("base", ["", "/tools/gradcam"])
@pytest.mark.parametrize("template", PLAIN)
def test_every_address_of_a_page_begins_with_the_base(template: str, base: str) -> None:
    text = page_text(template, base)
    addresses = re.findall(r'(?:src|href)="(/[^"]*)"', text)
    assert len(addresses) > 4
    assert all(address.startswith(f"{base}/") for address in addresses)
    scripts = [address for address in addresses if address.endswith(".js")]
    assert scripts
    version = f"{base}/static/{static_files().version}/"
    assert all(script.startswith(version) for script in scripts)


@pytest.mark.parametrize("template", PLAIN)
def test_a_page_names_all_modules_once_its_own_first(template: str) -> None:
    files, scripts = static_files(), SCRIPTS[template]
    text = page_text(template, "")
    heads = re.findall(r'rel="modulepreload"[^>]*href="/static/[^/]+/([^"]+)"', text)
    own = list(files.modules(scripts.own))
    later = list(files.modules(scripts.later)) if scripts.later else []
    wanted = own + [module for module in later if module not in own]
    assert sorted(heads) == sorted(wanted)
    assert len(set(heads)) == len(heads)


def test_a_page_that_is_not_there_or_lacks_a_value_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        page_text("nothing.html", "")
    with pytest.raises(jinja2.UndefinedError):
        page_text("embed.html", "")


def test_every_way_to_pick_images_has_words_on_the_page_of_jobs() -> None:
    assert set(PICK_WORDS) == set(get_args(Pick))
    text = page_text("jobs.html", "")
    for pick, words in PICK_WORDS.items():
        assert re.search(rf'value="{pick}"[^>]*>\s*{words}', text), pick


def test_what_is_put_into_a_page_is_escaped() -> None:
    text = page_text("look.html", "/<script>alert(1)</script>")
    assert "<script>alert" not in text

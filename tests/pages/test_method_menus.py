"""What forms and menus offer: the rows and defaults of Python, in the words for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from cam_engine.method_facts import DEFAULT_METHOD, METHOD_FACTS, MethodFacts
from cam_engine.options import COLORMAPS, PICKS
from service.pages.facts import facts_script
from tests.pages.test_experiment import LIFECYCLE
from tests.pages.viewing import CELL
from worker.jobs.contract import JobRequest

ADDED: dict[str, MethodFacts] = dict(
    [*METHOD_FACTS.items(), ("newcam", MethodFacts("New-CAM", "as Grad-CAM, but newer", ""))]
)
FACTS = re.compile(r"/viewer/common/facts\.js$")
JOBS = re.compile(r"/v1/jobs\?")
PLANS = "/v1/job-plans"  # what a form at rest asks: refused, since this service has no Redis
QUERY = f"?experiment={LIFECYCLE}&image={CELL}"
MENUS = {
    "look": ("#viewer", f"/{QUERY}"),
    "compare": ("#shown section >> nth=0", f"/compare{QUERY}"),
}
MENUS["jobs"] = ("#form", "/jobs")


@pytest.fixture(params=MENUS)
def opened_menu(request: pytest.FixtureRequest, open_page: Callable[..., Any]) -> Any:
    """`with opened_menu(facts script) as (page, menu):` a page and its menu of methods."""
    place, path = MENUS[request.param]

    def open_with(page: Page, script: str | None) -> Locator:
        if script is not None:
            page.route(FACTS, partial(Route.fulfill, body=script, content_type="text/javascript"))
        without_jobs(page)
        page.goto(path)
        if request.param == "jobs":
            page.get_by_text("More options").click()
        menu = page.locator(place).get_by_label("Method").first
        expect(menu.locator("option[value='gradcam']")).to_have_count(1)
        return menu

    with open_page("/docs", expected=(PLANS,)) as page:
        yield partial(open_with, page)


def without_jobs(page: Page) -> None:
    """As if Redis were there: the form needs no more of it."""
    page.route(JOBS, partial(Route.fulfill, json={"jobs": [], "total": 0}))


def sentence(facts: MethodFacts) -> str:
    return f"{facts.sentence[0].upper()}{facts.sentence[1:]}."


def offered(menu: Locator) -> dict[str, tuple[str, str]]:
    """The options that are methods: value -> (text, title)."""
    options = "(menu) => [...menu.options].map((one) => [one.value, one.text, one.title])"
    return {value: (text, title) for value, text, title in menu.evaluate(options) if value}


def rows(methods: Mapping[Any, MethodFacts]) -> dict[str, tuple[str, str]]:
    return {name: (facts.label, sentence(facts)) for name, facts in methods.items()}


def test_a_menu_has_each_method_by_its_name_and_says_what_it_does(opened_menu: Any) -> None:
    menu = opened_menu(None)
    assert list(offered(menu).items()) == list(rows(METHOD_FACTS).items())
    for name in ("eigencam", "layercam"):
        menu.select_option(name)
        said = sentence(METHOD_FACTS[name])
        expect(menu).to_have_accessible_description(said)
        expect(menu.page.get_by_text(said, exact=True).locator("visible=true")).to_have_count(1)


def test_a_method_that_is_added_in_python_is_on_offer(opened_menu: Any) -> None:
    menu = opened_menu(facts_script(ADDED.items()))
    assert offered(menu) == rows(ADDED)


def test_a_form_says_what_is_done_where_no_method_is_chosen(page: Page) -> None:
    page.goto(f"/compare{QUERY}")
    menu = page.get_by_label("Method").first
    expect(menu).to_have_value("")
    label = METHOD_FACTS[DEFAULT_METHOD].label
    expect(menu).to_have_accessible_description(re.compile(re.escape(label)))


def test_the_form_for_jobs_begins_with_the_defaults_of_the_api(
    open_page: Callable[..., Any],
) -> None:
    defaults = {name: field.default for name, field in JobRequest.model_fields.items()}
    with open_page("/docs", expected=(PLANS,)) as page:
        without_jobs(page)
        page.goto("/jobs")
        page.get_by_text("More options").click()
        expect(page.locator("#method")).to_have_value(DEFAULT_METHOD)
        for name in ("alpha", "colormap", "max_images", "pick"):
            expect(page.locator(f"#{name}")).to_have_value(str(defaults[name]))
        for name in ("clahe", "fused", "resume", "save_maps"):
            expect(page.locator(f"#{name}")).to_be_checked(checked=defaults[name])
        layers = page.locator("[name=layers]:checked").evaluate_all(
            "(all) => all.map((x) => x.value)"
        )
        assert tuple(layers) == defaults["layers"]
        values = "(menu) => [...menu.options].map((one) => one.value)"
        assert tuple(page.locator("#colormap").evaluate(values)) == COLORMAPS
        assert tuple(page.locator("#pick").evaluate(values)) == PICKS

"""Requests of a page that are held back until the test lets them go."""

from __future__ import annotations

import re

from playwright.sync_api import Page, Route


class Holding:
    """Holds a page's requests whose addresses match a pattern."""

    def __init__(self, page: Page, pattern: str) -> None:
        self._page = page
        self._pattern = re.compile(pattern)
        self._ended = False
        self.routes: list[Route] = []
        page.route(self._pattern, self._hold)

    def _hold(self, route: Route) -> None:
        if self._ended:
            route.continue_()
        else:
            self.routes.append(route)

    def wait(self) -> None:
        """Until there is one."""
        for _ in range(1000):
            if self.routes:
                return
            self._page.wait_for_timeout(20)
        raise AssertionError(f"nothing asked for {self._pattern.pattern}")

    def let_go(self) -> None:
        """Send them; none is held any more."""
        self._ended = True
        for route in self.routes:
            route.continue_()

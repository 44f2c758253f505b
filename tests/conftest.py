"""Fixtures of the tests that look at pages."""
from __future__ import annotations

from pathlib import Path

import pytest

from tests.chromium import Chromium, find_chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium; the test is skipped where there is none."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium here: sudo apt install chromium")
    browser = Chromium(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser, tmp_path: Path):
    """url -> a page; what it downloads lands in tmp_path. At the end no page may have thrown anything."""
    pages = []

    def open_(url: str):
        pages.append(browser.page(url, tmp_path))
        return pages[-1]

    yield open_
    for page in pages:
        page.close()
    assert browser.faults == []

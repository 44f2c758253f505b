"""runtime/PI.md quotes what the program says: the words must be the program's."""
from __future__ import annotations

import re

import pytest

from runtime.camera.picamera import NAME

BREAKS = r"…|: given |, expected |^expected |^now: "  # between words that stand together in the program
OTHERS_WORDS = {"error: externally-managed-environment"}


@pytest.fixture(scope="module")
def page(root) -> str:
    return (root / "runtime" / "PI.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sources(root) -> str:
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((root / "runtime").rglob("*.py")))
    return text.replace("{NAME}", NAME)


def test_the_quoted_messages_are_the_program_s(sources, page):
    table = page.partition("## When something fails")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    quoted = {message for cell in cells for message in re.findall(r"`([^`]+)`", cell)} - OTHERS_WORDS
    parts = {part.strip(" .,") for message in quoted for part in re.split(BREAKS, message)} - {""}
    assert len(parts) > 20
    assert [part for part in sorted(parts) if part not in sources] == []


def test_every_thread_is_in_the_picture(sources, page):
    names = set(re.findall(r'Thread\(.*name="([^"]+)"', sources))
    assert names == {"capture", "web pictures", "web server", "vitals"}
    assert [name for name in sorted(names) if name not in page.partition("## The threads")[2]] == []

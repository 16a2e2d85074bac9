"""The manual pages: well formed, installed, and their references among each other lead somewhere."""
import re
import shutil
import subprocess

import pytest

from harness import ROOT

PAGES = sorted((ROOT / "man").iterdir())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_page_is_well_formed(page):
    if shutil.which("mandoc"):
        found = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True).stdout
    elif shutil.which("groff"):
        found = subprocess.run(["groff", "-t", "-mdoc", "-ww", "-Wbreak", "-z", page], capture_output=True, text=True).stderr
    else:
        pytest.skip("neither mandoc nor groff is installed")
    # `adafs emulator` has a page of its own, whose name begins as the other's.
    assert [line for line in found.splitlines() if "cross reference to self" not in line] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_its_name_is_its_title(page):
    title, section = page.name.rsplit(".", 1)
    text = page.read_text()
    assert f".Dt {title.upper()} {section}\n" in text


def test_references_lead_somewhere():
    names = {tuple(p.name.rsplit(".", 1)) for p in PAGES}
    for page in PAGES:
        for title, section in re.findall(r"^\.Xr (adafs\S*) (\d)", page.read_text(), re.M):
            assert (title, section) in names, f"{page.name} refers to {title}({section})"


def test_all_are_installed():
    build = (ROOT / "CMakeLists.txt").read_text()
    for page in PAGES:
        section = page.suffix
        assert f'man{section[1:]} FILES_MATCHING PATTERN "*{section}"' in build, page.name

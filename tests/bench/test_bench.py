"""scripts/bench runs end to end, with little of everything and no verdict on speed."""
import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness import ROOT, program


@pytest.mark.parametrize("server, lines", [
    ("static", ("read", "random64", "write", "small-in", "ls5000", "start-ls")), ("emulator", ("read", "write"))])
def test_it_measures_and_draws(tmp_path, server, lines):
    build = Path(program()).parent
    done = subprocess.run([ROOT / "scripts" / "bench", "--build", build, "--server", server, "--rounds", "1", "--size", "8",
                           "--json", tmp_path / "out.json", "--svg", tmp_path / "out.svg", *lines],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    results = report["results"]
    assert report["machine"]["processors"] and report["size_mib"] == 8
    assert {(r["server"], r["line"]) for r in results} == {(server, line) for line in lines}
    assert all(r["values"]["adafs"] > 0 for r in results)
    assert "read of 8 MiB" in "".join(ET.parse(tmp_path / "out.svg").getroot().itertext())


def test_a_line_that_is_none_is_named():
    done = subprocess.run([ROOT / "scripts" / "bench", "none"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no such line: none" in done.stderr and "read" in done.stderr

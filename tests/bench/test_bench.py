"""scripts/bench runs end to end, with little of everything and no verdict on speed."""
import json
import subprocess
from pathlib import Path

from harness import ROOT, program


def test_it_measures_and_draws(tmp_path):
    build = Path(program()).parent
    lines = ("read", "random64", "write", "small-in", "ls5000", "start-ls")
    done = subprocess.run([ROOT / "scripts" / "bench", "--build", build, "--rounds", "1", "--size", "8", "--json",
                           tmp_path / "out.json", "--svg", tmp_path / "out.svg", *lines],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    results = report["results"]
    assert report["machine"]["processors"] and report["size_mib"] == 8
    assert {(r["server"], r["line"]) for r in results} == {(s, line) for s in ("static", "emulator") for line in lines}
    assert all(r["values"]["adafs"] > 0 for r in results)
    assert "<svg" in (tmp_path / "out.svg").read_text()


def test_a_line_that_is_none_is_named():
    done = subprocess.run([ROOT / "scripts" / "bench", "none"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no such line: none" in done.stderr and "read" in done.stderr

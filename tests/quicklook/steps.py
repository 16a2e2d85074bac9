"""The tools of the quicklook pipeline, run as a node runs them: one process a step."""
import json
import os
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TOOLS = os.path.join(ROOT, "scripts", "quicklook")
sys.path.insert(0, TOOLS)
sys.dont_write_bytecode = True


def call(program, *args, want=0):
    """Run a program of scripts/; returns the finished process."""
    done = subprocess.run(["/usr/bin/python3", "-B", program, *map(str, args)], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == want, f"{program} {args}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def tool(name, *args, want=0):
    return call(os.path.join(TOOLS, name + ".py"), *args, want=want)


def make_scene(out, seed, buildings, *more, want=0):
    return call(os.path.join(ROOT, "scripts", "make-scene"), "--seed", seed, "--buildings", buildings,
                "--out", out, "--name", "scene", *more, want=want)


def find(image, wd, *cover):
    """The steps up to the filtered buildings; returns their path."""
    os.makedirs(wd, exist_ok=True)
    tool("cover", "--raster", image, "--out", wd / "cover.json", *cover)
    tool("tile", "--raster", image, "--cover", wd / "cover.json", "--out", wd / "tiles")
    tool("predict", "--tiles", wd / "tiles", "--cover", wd / "cover.json", "--out", wd / "masks")
    tool("vectorize", "--masks", wd / "masks", "--cover", wd / "cover.json", "--out", wd / "outlines.geojson")
    tool("filter", "--data", wd / "outlines.geojson", "--dest", wd / "clean.geojson")
    return wd / "clean.geojson"


def final(clean, wd, *damage):
    tool("final_layer", "--builds", clean, *damage, "--out", wd / "buildings.geojson")
    return wd / "buildings.geojson"


def assess(pre, post, clean, wd):
    """The steps that only a pair has; returns the final layer."""
    tool("align", "--pre", pre, "--post", post, "--out", wd / "shift.json")
    tool("classify", "--pre", pre, "--post", post, "--buildings", clean, "--shift", wd / "shift.json",
         "--out", wd / "labels.json")
    return final(clean, wd, "--damage", wd / "labels.json")


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def figures(found, truth, *more):
    done = subprocess.run(["/usr/bin/python3", "-B", os.path.join(TOOLS, "score.py"), "--json", "--min", "0", "--found",
                           found, "--truth", truth, *more], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)["figures"]

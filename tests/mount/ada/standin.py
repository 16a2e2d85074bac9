#!/usr/bin/python3
"""Stands in for the commands of ADA, by the name that it is called under: each looks at its inputs as the real one
would, and writes the outputs that the real one names. What lies in a cell stands in the images themselves: every
raster begins with a line "cell <id>", and "<here>/behaviour.json" says what becomes of which cell."""
import argparse
import glob
import json
import os
import sys
from pathlib import Path

BEHAVIOUR = json.loads((Path(__file__).parent / "behaviour.json").read_text())


def need(path: str) -> bytes:
    if not os.path.isfile(path):
        sys.exit(f"{NAME}: {path}: no such file")
    return Path(path).read_bytes()


def cell_of(path: str) -> str:
    words = need(path).split(b"\n", 1)[0].split()
    if len(words) != 2 or words[0] != b"cell":
        sys.exit(f"{NAME}: {path} does not come from setup-wd")
    return words[1].decode()


def write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    Path(path).write_text(text)


def options(*names: str, argv: list[str]) -> argparse.Namespace:
    p = argparse.ArgumentParser(prog=NAME)
    for name in names:
        p.add_argument("--" + name, required=True)
    return p.parse_args(argv)


def fail_if_told(cell: str, step: str) -> None:
    if cell in BEHAVIOUR.get(step, []) and not (Path(__file__).parent / "mended").exists():
        sys.exit(f"{NAME}: told to fail for {cell}")


def create_index(argv):
    o = options("data", "zoom", "dest", argv=argv)
    assert o.zoom == "13"
    found = {role: sorted(os.listdir(f"{o.data}/{role}")) for role in ("pre-event", "post-event")}
    write(o.dest, json.dumps(found))


def setup_wd(argv):
    o = options("data", "index", "id", "dest", argv=argv)
    zoom, x, y = o.id.split(".")
    assert zoom == "13" and int(x) >= 0 and int(y) >= 0
    for role, names in json.loads(need(o.index)).items():
        for name in names:
            assert need(f"{o.data}/{role}/{name}")[:2] == b"II"
        write(f"{o.dest}/{role}/merged.tif", f"cell {o.id}\n{role} {len(names)}\n")


def abd(argv):
    tool, argv = argv[0], [a for a in argv[1:] if a not in ("--keep_borders", "--metatiles")]
    if tool == "cover":
        o = options("raster", "zoom", "out", argv=argv)
        write(o.out, f"cell {cell_of(o.raster)}\n")
    elif tool == "tile":
        o = options("raster", "zoom", "cover", "config", "out", "format", argv=argv)
        need(o.config)
        assert cell_of(o.raster) == cell_of(o.cover)
        for k in range(3):
            write(f"{o.out}/17/{k}/1.tif", f"cell {cell_of(o.raster)}\n")
    elif tool == "predict":
        o = options("config", "cover", "dataset", "checkpoint", "out", argv=argv)
        need(o.config), need(o.checkpoint)
        fail_if_told(cell_of(o.cover), "predict")
        tiles = sorted(glob.glob(f"{o.dataset}/images/17/*/*.tif"))
        assert len(tiles) == 3, tiles
        for tile in tiles:
            at = tile[len(o.dataset) + len("/images"):-len(".tif")]
            write(o.out + at + ".png", f"cell {cell_of(tile)}\n")
    else:
        o = options("config", "masks", "out", "type", argv=argv)
        masks = glob.glob(f"{o.masks}/**/*.png", recursive=True)
        assert len(masks) == 3 and o.type == "Building", masks
        write(o.out, f"cell {cell_of(masks[0])}\n")


def filter_buildings(argv):
    o = options("data", "dest", "waterbodies", argv=argv)
    assert not os.path.exists(o.waterbodies), "the water is optional, and nobody put it there"
    write(o.dest, f"cell {cell_of(o.data)}\n")


def align_raster(argv):
    o = options("targetbuild", "referencebuild", "alignedbuild", "targetraster", "alignedraster", argv=argv)
    cells = {cell_of(p) for p in (o.targetbuild, o.referencebuild, o.targetraster)}
    assert len(cells) == 1, cells
    if cells.isdisjoint(BEHAVIOUR["unaligned"]):
        write(o.alignedbuild, f"cell {min(cells)}\n")
    write(o.alignedraster, f"cell {min(cells)}\n")


def prepare_data(argv):
    o = options("data", "datapre", "datapost", "buildings", "dest", argv=argv)
    cells = {cell_of(o.buildings), cell_of(f"{o.data}/pre-event/{o.datapre}.tif"),
             cell_of(f"{o.data}/post-event/{o.datapost}.tif")}
    assert len(cells) == 1, cells
    if cells & set(BEHAVIOUR["empty"]):
        print("no buildings")
        sys.exit(64)
    for k in range(2):
        write(f"{o.dest}/inference/before/{k}.png", f"cell {min(cells)}\n")


def python(argv):
    assert argv.pop(0) == "/caladrius/caladrius/run.py"
    argv.remove("--inference")
    o = options("run-name", "data-path", "model-type", "model-path", "batch-size", "classification-loss-type",
                "checkpoint-path", "output-type", argv=argv)
    need(o.model_path)
    images = glob.glob(f"{o.data_path}/inference/before/*.png")
    assert len(images) == 2, images
    write(f"{o.checkpoint_path}/run-input_size_32-learning_rate_0.001-batch_size_{o.batch_size}/predictions/"
          "run-split_inference-epoch_001-model_attentive-predictions.txt", f"cell {cell_of(images[0])}\n")


def final_layer(argv):
    o = options("builds", "damage", "out", argv=argv)
    assert cell_of(o.builds) == cell_of(o.damage)
    feature = {"type": "Feature", "properties": {"cell": cell_of(o.builds)}, "geometry": None}
    write(o.out, json.dumps({"type": "FeatureCollection", "features": [feature]}))


def merge_output(argv):
    o = options("dir", "data", "dest", argv=argv)
    features = []
    for part in sorted(glob.glob(f"{o.dir}/**/{o.data}", recursive=True)):
        features += json.loads(need(part))["features"]
    write(o.dest, json.dumps({"type": "FeatureCollection", "features": features}))


NAME = Path(sys.argv[0]).name
globals()[NAME.replace("-", "_")](sys.argv[1:])

#!/usr/bin/python3 -B
"""Merge the layers of many images into one.

Reads every file called --data below --dir; the folder that holds it names the job it came from.
Where buildings of different files overlap (IoU of 0.3 or more) one is kept: an assessed one before
an unassessed one, then the higher score, then the higher confidence, then the first job by name.
Merging what was merged before changes nothing.
"""
import argparse
import os

import common
from geometry import Index, iou, shape

SAME = 0.3


def parts(folder, name):
    """(job, path) of every part, in order of their paths."""
    if not os.path.isdir(folder):
        raise common.ToolError(f"{folder}: no such folder; give the folder that holds one sub-folder a job")
    for at, below, files in os.walk(folder):
        below.sort()
        if name in files:
            yield os.path.basename(os.path.abspath(at)), os.path.join(at, name)


def rank(entry):
    p = entry[1]["properties"]
    return (p.get("damage") == "unassessed", -(p.get("score") or 0), -(p.get("confidence") or 0), p["job"])


def distinct(entries):
    """The features of (part, feature) entries, without those that another part shows better."""
    index, kept, shapes = Index(), [], []
    for part, f in sorted(entries, key=rank):
        found = shape(f)
        box = found.GetEnvelope()
        if any(kept[n][0] != part and iou(found, shapes[n]) >= SAME for n in index.near(box)):
            continue
        index.add(len(kept), box)
        kept.append((part, f))
        shapes.append(found)
    return [f for _, f in kept]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--dir", required=True, help="folder with one sub-folder a job")
    ap.add_argument("--data", default="buildings.geojson", help="name of the layer in it (buildings.geojson)")
    ap.add_argument("--dest", required=True, help="GeoJSON to write")
    a = ap.parse_args()
    entries, jobs, notes = [], 0, set()
    for job, path in sorted(parts(a.dir, a.data)):
        layer = common.read_features(path)
        notes.add(common.read_json(path).get("note"))
        jobs += 1
        for f in layer:
            f["properties"] = {**f["properties"], "job": f["properties"].get("job", job)}
            entries.append((jobs, f))
    kept = distinct(entries)
    kept.sort(key=lambda f: (f["properties"]["job"], f["properties"].get("id", "")))
    common.write_features(a.dest, kept, "; ".join(sorted(n for n in notes if n)) or None)
    print(f"{len(kept)} buildings of {jobs} images" + (f"; {len(entries) - len(kept)} seen twice"
                                                       if len(kept) < len(entries) else ""))
    return 0


if __name__ == "__main__":
    common.run(main)

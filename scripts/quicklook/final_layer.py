#!/usr/bin/python3 -B
"""Write the layer that users see: the buildings of one image, with their damage if it was assessed.

Properties: id (stable while the outline is), area_m2, confidence and, with --damage, damage (one of
no-damage, damaged, destroyed, unassessed) and score (0..1, null if unassessed).
"""
import argparse
import hashlib

import common


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--builds", required=True, help="GeoJSON of the buildings")
    ap.add_argument("--damage", help="labels.json of classify")
    ap.add_argument("--out", required=True, help="GeoJSON to write")
    a = ap.parse_args()
    features = common.read_features(a.builds)
    labels = common.read_json(a.damage) if a.damage else [None] * len(features)
    if len(labels) != len(features):
        raise common.ToolError(f"{a.damage}: {len(labels)} labels for {len(features)} buildings; run the step "
                               "classify on these buildings")
    out = []
    for f, label in zip(features, labels):
        key = hashlib.sha256(repr(f["geometry"]["coordinates"]).encode()).hexdigest()[:12]
        properties = {"id": key, **f["properties"]}
        if label is not None:
            properties.update(damage=label["damage"], score=label["score"])
        out.append({"type": "Feature", "properties": properties, "geometry": f["geometry"]})
    common.write_features(a.out, out, common.read_json(a.builds).get("note"))
    print(f"{len(out)} buildings in the final layer")
    return 0


if __name__ == "__main__":
    common.run(main)

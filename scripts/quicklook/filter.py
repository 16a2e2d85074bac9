#!/usr/bin/python3 -B
"""Drop outlines that are no building: too small, too large, too long, too ragged, or doubtful."""
import argparse

import common
import numpy as np
from vectorize import ring_area, smallest_rectangle


def reason(feature, a):
    """Why the outline is dropped, or None."""
    p = feature["properties"]
    if not a.min_area <= p["area_m2"] <= a.max_area:
        return "size"
    if p.get("confidence", 1) < a.min_confidence:
        return "doubt"
    ring = np.array(feature["geometry"]["coordinates"][0])
    ring = (ring - ring[0]) * np.array(common.metres_per_degree(ring[0, 1]))
    corners, area = smallest_rectangle(ring)
    sides = np.hypot(*(corners[1] - corners[0])), np.hypot(*(corners[2] - corners[1]))
    if max(sides) > a.max_aspect * min(sides):
        return "length"
    if abs(ring_area(ring)) < a.min_fill * area:
        return "shape"
    return None


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--data", required=True, help="GeoJSON of outlines")
    ap.add_argument("--dest", required=True, help="GeoJSON to write")
    ap.add_argument("--min-area", type=float, default=25, help="square metres (25)")
    ap.add_argument("--max-area", type=float, default=8000, help="square metres (8000)")
    ap.add_argument("--max-aspect", type=float, default=6, help="length by width (6)")
    ap.add_argument("--min-fill", type=float, default=0.6, help="share of the smallest rectangle (0.6)")
    ap.add_argument("--min-confidence", type=float, default=0.5, help="confidence of predict (0.5)")
    ap.add_argument("--if-none", type=int, default=0, metavar="CODE", help="exit code when no building is left (0)")
    a = ap.parse_args()
    features = common.read_features(a.data)
    kept, dropped = [], {}
    for f in features:
        why = reason(f, a)
        if why is None:
            kept.append(f)
        else:
            dropped[why] = dropped.get(why, 0) + 1
    common.write_features(a.dest, kept, common.read_json(a.data).get("note"))
    print(f"{len(kept)} of {len(features)} outlines are buildings"
          + "".join(f"; {n} dropped for {why}" for why, n in sorted(dropped.items())))
    return 0 if kept else a.if_none


if __name__ == "__main__":
    common.run(main)

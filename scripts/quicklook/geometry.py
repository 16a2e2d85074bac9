"""Overlap of building outlines: intersections, a grid index, best-first matching."""
from osgeo import ogr

import common

ogr.UseExceptions()
CELL_DEG = 0.001        # about 100 m: a cell holds a few tens of buildings


def shape(feature):
    """The outline of a GeoJSON feature in degrees, made valid."""
    import json
    geometry = feature.get("geometry")
    found = ogr.CreateGeometryFromJson(json.dumps(geometry)) if geometry else None
    if found is None or found.IsEmpty() or found.GetDimension() != 2:
        raise common.ToolError("a feature has no polygon; give a layer of building outlines")
    return found if found.IsValid() else found.Buffer(0)


def iou(one, two):
    common_part = one.Intersection(two)
    inter = common_part.GetArea() if common_part is not None else 0.0
    total = one.GetArea() + two.GetArea() - inter
    return inter / total if total > 0 else 0.0


class Index:
    """Finds the shapes whose boxes touch a box."""

    def __init__(self):
        self.cells = {}

    @staticmethod
    def keys(box):
        x0, x1, y0, y1 = (int(v // CELL_DEG) for v in box)
        return [(x, y) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1)]

    def add(self, number, box):
        for key in self.keys(box):
            self.cells.setdefault(key, []).append((number, box))

    def near(self, box):
        x0, x1, y0, y1 = box
        return sorted({n for key in self.keys(box) for n, (a0, a1, b0, b1) in self.cells.get(key, ())
                       if a0 <= x1 and x0 <= a1 and b0 <= y1 and y0 <= b1})


def matches(found, truth, least):
    """Pairs (found, true) with an IoU of at least `least`, each used once, best first."""
    index = Index()
    for j, t in enumerate(truth):
        index.add(j, t.GetEnvelope())
    pairs = []
    for i, f in enumerate(found):
        for j in index.near(f.GetEnvelope()):
            value = iou(f, truth[j])
            if value >= least:
                pairs.append((value, i, j))
    seen_f, seen_t, out = set(), set(), []
    for _, i, j in sorted(pairs, key=lambda p: (-p[0], p[1], p[2])):
        if i not in seen_f and j not in seen_t:
            seen_f.add(i)
            seen_t.add(j)
            out.append((i, j))
    return out

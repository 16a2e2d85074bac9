#!/usr/bin/python3 -B
"""Say for each building how damaged it is, from what its roof looked like before and after.

The light of the post-event image is fitted to that of the pre-event image on the ground around the
buildings, then every roof pixel is compared: a pixel is changed if colour or texture around it
differ by more than noise and light explain. The share of changed pixels decides:

    no-damage    less than 17%      damaged    up to 69%      destroyed    more

The score (0..1) is the distance from the nearest border between classes: 0.5 on it, towards 1 away
from it. Where the post-event image holds no data a building is `unassessed`, without a score.
"""
import argparse

import common
import numpy as np
from osgeo import gdal, ogr, osr
from pair import Pair

SOME, MOST = 0.17, 0.69        # shares of changed roof that part the classes
COLOUR = (8, 0.08)              # a changed pixel differs by more than this: grey levels, and share of the roof's level
ROUGH = (1.8, 0.016)             # the same for the deviation around it
WINDOW = 5                      # pixels around, over which colour and deviation are taken
CLOSE = 4                       # gaps of up to twice this many pixels between changed ones count as changed
CELL = 512                      # buildings are read together in cells of this many pixels


def footprints(features, grid):
    """For each building its outline in pixels of the working grid."""
    back = osr.CoordinateTransformation(common.wgs84(), grid.srs)
    inverse = gdal.InvGeoTransform(grid.work_gt)
    for f in features:
        ring = np.array(back.TransformPoints([p[:2] for p in f["geometry"]["coordinates"][0]]))[:, :2]
        yield np.column_stack([inverse[0] + ring @ inverse[1:3], inverse[3] + ring @ inverse[4:6]])


def burn(rings, x, y, w, h):
    """Label image of the window: building k of `rings` as k + 1."""
    srs = osr.SpatialReference()
    srs.SetLocalCS("pixels")
    target = gdal.GetDriverByName("MEM").Create("", w, h, 1, gdal.GDT_Int32)
    source = ogr.GetDriverByName("Memory").CreateDataSource("")
    layer = source.CreateLayer("b", srs, ogr.wkbPolygon)
    layer.CreateField(ogr.FieldDefn("n", ogr.OFTInteger))
    for k, ring in enumerate(rings):
        f = ogr.Feature(layer.GetLayerDefn())
        f["n"] = k + 1
        points = ",".join(f"{px - x:.3f} {y - py:.3f}" for px, py in ring)
        f.SetGeometry(ogr.CreateGeometryFromWkt(f"POLYGON(({points}))"))
        layer.CreateFeature(f)
    target.SetGeoTransform((0, 1, 0, 0, 0, -1))
    target.SetSpatialRef(srs)
    gdal.RasterizeLayer(target, [1], layer, options=["ATTRIBUTE=n"])
    return target.ReadAsArray()


def fit_light(pre, post, ground):
    """The post-event window in the light of the pre-event one: gain and offset for each band."""
    out = np.empty_like(post)
    for k in range(3):
        a, b = post[k][ground], pre[k][ground]
        gain, offset = 1.0, 0.0
        keep = np.ones(a.size, bool)
        for _ in range(4):
            if np.count_nonzero(keep) < 200 or a[keep].std() < 1:
                break
            gain, offset = np.polyfit(a[keep], b[keep], 1)
            gain = float(np.clip(gain, 0.4, 2.5))
            offset = float(np.median(b[keep] - gain * a[keep]))
            error = np.abs(b - gain * a - offset)
            keep = error < 2.5 * np.median(error[keep]) + 0.5
        out[k] = gain * post[k] + offset
    return out


class Change:
    """Where the roofs of one window have changed."""

    def __init__(self, pre, post, labels, valid):
        from scipy import ndimage
        self.nd = ndimage
        self.labels, self.valid = labels, valid
        ground = valid & ~ndimage.binary_dilation(labels > 0, iterations=4)
        self.pre, self.post = pre, fit_light(pre, post, ground)

    def share(self, k, box):
        """Share of the changed pixels of building k, or None without data."""
        mask = self.labels[box] == k + 1
        if np.count_nonzero(mask & self.valid[box]) < 0.7 * np.count_nonzero(mask):
            return None
        inner = self.nd.binary_erosion(np.pad(mask, 2), iterations=2)[2:-2, 2:-2]
        if np.count_nonzero(inner) < 0.3 * np.count_nonzero(mask):
            inner = mask
        pre, post = (img[(slice(None), *box)] for img in (self.pre, self.post))
        d = post - pre
        level = float(np.median(pre[:, inner]))
        rough = self.roughness(post, mask) - self.roughness(pre, mask)
        # A roof may be a little lighter or darker as a whole (wet, another angle): that is no change.
        whole = np.clip(np.median(d[:, inner], axis=1), -0.1 * level - 4, 0.1 * level + 4)
        return min(self.changed(d - offset[:, None, None], rough, level, inner) for offset in (whole, 0 * whole))

    def changed(self, d, rough, level, inner):
        colour = np.sqrt(self.nd.uniform_filter((d ** 2).mean(axis=0), WINDOW))
        found = (colour > COLOUR[0] + COLOUR[1] * level) | (rough > ROUGH[0] + ROUGH[1] * level)
        found = self.nd.binary_opening(found & inner)
        found = self.nd.binary_closing(np.pad(found, CLOSE), iterations=CLOSE)[CLOSE:-CLOSE, CLOSE:-CLOSE] & inner
        return np.count_nonzero(found) / max(1, np.count_nonzero(inner))

    def roughness(self, img, mask):
        """Deviation of brightness around each pixel, of roof pixels only."""
        grey, m = img.mean(axis=0), mask.astype(np.float32)
        n = np.maximum(self.nd.uniform_filter(m, 5), 1e-3)
        mean = self.nd.uniform_filter(grey * m, 5) / n
        square = self.nd.uniform_filter(grey * grey * m, 5) / n
        return np.sqrt(np.maximum(square - mean * mean, 0))


def label(share):
    """(class, score) of a share of changed roof."""
    if share < SOME:
        return "no-damage", 1 - 0.5 * share / SOME
    if share < MOST:
        return "damaged", 0.5 + min(0.5, (share - SOME) / 0.3, (MOST - share) / 0.3)
    return "destroyed", min(1.0, 0.5 + 0.5 * (share - MOST) / (1 - MOST) * 1.25)


def assess(features, pair):
    """(class, score, share) of each building."""
    grid = pair.pre
    rings = list(footprints(features, grid))
    cells = {}
    for n, ring in enumerate(rings):
        x, y = ring.mean(axis=0)
        cells.setdefault((int(y) // CELL, int(x) // CELL), []).append(n)
    out = [None] * len(features)
    for _, members in sorted(cells.items()):
        points = np.vstack([rings[n] for n in members])
        x, y = (max(0, int(v) - 40) for v in points.min(axis=0))
        right, bottom = (min(m, int(v) + 41) for v, m in zip(points.max(axis=0), (grid.width, grid.height)))
        if right <= x or bottom <= y:
            continue
        labels = burn([rings[n] for n in members], x, y, right - x, bottom - y)
        pre, post, valid = pair.read(x, y, right - x, bottom - y)
        change = Change(pre, post, labels, valid)
        boxes = change.nd.find_objects(labels, max_label=len(members))
        for k, n in enumerate(members):
            share = change.share(k, boxes[k]) if boxes[k] else None
            if share is not None:
                out[n] = (*label(share), share)
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--pre", required=True, help="pre-event image")
    ap.add_argument("--post", required=True, help="post-event image")
    ap.add_argument("--buildings", required=True, help="buildings of the pre-event image")
    ap.add_argument("--shift", required=True, help="shift.json of align")
    ap.add_argument("--out", required=True, help="labels.json to write, one entry a building, in order")
    a = ap.parse_args()
    features, shift = common.read_features(a.buildings), common.read_json(a.shift)
    results = assess(features, Pair(a.pre, a.post, shift["dx"], shift["dy"])) if features else []
    common.write_json(a.out, [
        {"damage": "unassessed", "score": None} if r is None else
        {"damage": r[0], "score": round(r[1], 2), "changed": round(r[2], 3)} for r in results])
    count = {}
    for r in results:
        count[r[0] if r else "unassessed"] = count.get(r[0] if r else "unassessed", 0) + 1
    print(f"{len(results)} buildings" + "".join(f", {n} {c}" for c, n in sorted(count.items())))
    return 0


if __name__ == "__main__":
    common.run(main)

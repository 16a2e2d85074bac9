#!/usr/bin/python3 -B
"""List the tiles of an image that hold data.

Writes a JSON file: the image's working grid and one entry for each tile, a core of at most --tile
pixels a side with a margin around it, so that what stands on a seam is seen whole. An image without
any data ends with exit code 64. An image too coarse to show buildings becomes one thinned tile and
a note, since there is nothing to gain from its pixels.
"""
import argparse

import common


def cells(size, tile):
    """Cut 0..size into equal pieces of at most `tile`."""
    n = max(1, -(-size // tile))
    edges = [size * k // n for k in range(n + 1)]
    return list(zip(edges, edges[1:]))


def plan(raster, tile, margin):
    sketch, valid = raster.sketch(2048)
    if not valid.any():
        raise common.NothingFound("the image holds no data: every pixel is masked, nodata or zero")
    fx, fy = valid.shape[1] / raster.width, valid.shape[0] / raster.height
    tiles = []
    for y0, y1 in cells(raster.height, tile):
        for x0, x1 in cells(raster.width, tile):
            if not valid[int(y0 * fy):int(y1 * fy) + 1, int(x0 * fx):int(x1 * fx) + 1].any():
                continue
            left, top = max(0, x0 - margin), max(0, y0 - margin)
            right, bottom = min(raster.width, x1 + margin), min(raster.height, y1 + margin)
            tiles.append({"id": f"{len(tiles):05d}", "core": [x0, y0, x1 - x0, y1 - y0],
                          "window": [left, top, right - left, bottom - top]})
    return tiles


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--raster", required=True, help="the image")
    ap.add_argument("--out", required=True, help="cover.json to write")
    ap.add_argument("--tile", type=int, default=2048, help="side of a tile's core in pixels (2048)")
    ap.add_argument("--margin", type=int, default=96, help="margin around it in pixels (96)")
    a = ap.parse_args()
    if a.tile < 64 or a.margin < 0:
        ap.error("--tile is 64 or more, --margin 0 or more")
    raster = common.Raster(a.raster)
    note = None
    if raster.pixel_m > common.COARSE_PIXEL_M:
        note = (f"pixels of {raster.pixel_m:.1f} m are too coarse to show buildings; "
                f"{common.COARSE_PIXEL_M:g} m or finer is needed")
        tiles = plan(raster, max(raster.width, raster.height), 0)
    else:
        tiles = plan(raster, a.tile, a.margin)
    common.write_json(a.out, {
        "width": raster.width, "height": raster.height, "geotransform": raster.work_gt,
        "srs": raster.srs.ExportToWkt(), "pixel_m": raster.work_pixel_m, "coarse": note is not None,
        "note": note, "tiles": tiles})
    print(f"{raster.ds.RasterXSize} x {raster.ds.RasterYSize} pixels of {raster.pixel_m:.3g} m: "
          f"{len(tiles)} tiles with data" + (f"; {note}" if note else ""))
    return 0


if __name__ == "__main__":
    common.run(main)

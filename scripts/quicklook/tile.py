#!/usr/bin/python3 -B
"""Cut an image into the tiles of its cover: red, green, blue and alpha of 8 bit.

A tile of an image too coarse to show buildings is thinned to 1024 pixels a side: nothing but its
place is used.
"""
import argparse
import os

import common
import numpy as np
from osgeo import gdal, osr

THIN = 1024


def write_tile(path, img, valid, cover, window, thin):
    gt, srs = cover["geotransform"], osr.SpatialReference()
    srs.ImportFromWkt(cover["srs"])
    ds = gdal.GetDriverByName("GTiff").Create(path, valid.shape[1], valid.shape[0], 4, gdal.GDT_Byte, [
        "COMPRESS=LZW", "INTERLEAVE=BAND", "PHOTOMETRIC=RGB", "ALPHA=YES"])
    ds.SetSpatialRef(srs)
    x, y = window[:2]
    ds.SetGeoTransform((gt[0] + x * gt[1] + y * gt[2], gt[1] * thin[0], gt[2] * thin[1],
                        gt[3] + x * gt[4] + y * gt[5], gt[4] * thin[0], gt[5] * thin[1]))
    for k in range(3):
        ds.GetRasterBand(k + 1).WriteArray(np.clip(img[k] + 0.5, 0, 255).astype(np.uint8))
    ds.GetRasterBand(4).WriteArray(valid.astype(np.uint8) * 255)
    ds.FlushCache()


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--raster", required=True, help="the image")
    ap.add_argument("--cover", required=True, help="its cover.json")
    ap.add_argument("--out", required=True, help="folder for the tiles, <id>.tif each")
    a = ap.parse_args()
    cover, raster = common.read_json(a.cover), common.Raster(a.raster)
    if (cover["width"], cover["height"]) != (raster.width, raster.height):
        raise common.ToolError(f"{a.cover}: it was made for another image ({cover['width']} x {cover['height']} "
                               f"against {raster.width} x {raster.height}); run cover on this image")
    os.makedirs(a.out, exist_ok=True)
    for t in cover["tiles"]:
        x, y, w, h = t["window"]
        if cover["coarse"]:
            tw, th = min(w, THIN), min(h, THIN)
            img, valid = raster.read_raw(0, 0, raster.ds.RasterXSize, raster.ds.RasterYSize, tw, th,
                                         gdal.GRIORA_NearestNeighbour)
        else:
            tw, th = w, h
            img, valid = raster.read(x, y, w, h)
        write_tile(os.path.join(a.out, t["id"] + ".tif"), img, valid, cover, t["window"], (w / tw, h / th))
        print(f"tile {t['id']}: {tw} x {th} pixels, {100 * valid.mean():.0f}% data", flush=True)
    return 0


if __name__ == "__main__":
    common.run(main)

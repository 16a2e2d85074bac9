#!/usr/bin/python3 -B
"""Turn the masks of an image into polygons in WGS 84 with area_m2 and confidence.

The masks are read as one mosaic, so a building on a seam stays one. An outline that nearly fills its
smallest rectangle becomes that rectangle; any other is simplified.
"""
import argparse
import glob
import math
import os

import common
import numpy as np
from osgeo import gdal, ogr, osr

RECTANGLE_FILL = 0.86


def polygons(mosaic):
    """Every polygon of the mosaic's mask, in map coordinates."""
    source = ogr.GetDriverByName("Memory").CreateDataSource("")
    layer = source.CreateLayer("p", mosaic.GetSpatialRef(), ogr.wkbPolygon)
    band = mosaic.GetRasterBand(1)
    gdal.Polygonize(band, band, layer, -1, [])
    for found in layer:
        yield found.GetGeometryRef().Clone()


def confidence(mosaic, inverse, point):
    """Band 2 of the mosaic at a point in map coordinates."""
    x, y = gdal.ApplyGeoTransform(inverse, *point)
    x, y = (min(max(int(v), 0), n - 1) for v, n in ((x, mosaic.RasterXSize), (y, mosaic.RasterYSize)))
    return int(mosaic.GetRasterBand(2).ReadAsArray(x, y, 1, 1)[0, 0]) / 100


def smallest_rectangle(ring):
    """Corners of the smallest rectangle around a closed ring, and its area."""
    edges = np.diff(ring, axis=0)
    angles = np.unique(np.round(np.concatenate([np.arctan2(edges[:, 1], edges[:, 0]) % (math.pi / 2),
                                                np.radians(np.arange(0, 90, 1.5))]), 3))
    c, s = np.cos(angles), np.sin(angles)
    along, across = np.outer(ring[:, 0], c) + np.outer(ring[:, 1], s), np.outer(ring[:, 1], c) - np.outer(ring[:, 0], s)
    areas = np.ptp(along, axis=0) * np.ptp(across, axis=0)
    k = int(np.argmin(areas))
    (u0, u1), (v0, v1) = ((w[:, k].min(), w[:, k].max()) for w in (along, across))
    corners = np.array([(u0, v0), (u1, v0), (u1, v1), (u0, v1)]) @ np.array([[c[k], s[k]], [-s[k], c[k]]])
    return corners, float(areas[k])


def ring_area(ring):
    x, y = ring[:-1].T
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def regular(ring, pixel_m):
    """The ring (closed, metres) with straight sides."""
    corners, area = smallest_rectangle(ring)
    own = abs(ring_area(ring))
    if own >= RECTANGLE_FILL * area:
        # Keep the area that was measured: the smallest rectangle reaches out to the furthest pixel corners.
        middle = corners.mean(axis=0)
        corners = middle + (corners - middle) * math.sqrt(own / area)
        return np.vstack([corners, corners[:1]])
    line = ogr.Geometry(ogr.wkbPolygon)
    part = ogr.Geometry(ogr.wkbLinearRing)
    for x, y in ring:
        part.AddPoint_2D(*map(float, (x, y)))
    line.AddGeometry(part)
    simple = line.SimplifyPreserveTopology(1.2 * pixel_m)
    points = simple.GetGeometryRef(0).GetPoints() if simple and not simple.IsEmpty() else None
    return np.array([p[:2] for p in points]) if points and len(points) >= 4 else ring


def feature(ring, to_wgs84, pixel_m, conf):
    """A GeoJSON feature of an outline in map coordinates, or None if it has no place in WGS 84."""
    lonlat = np.array(to_wgs84.TransformPoints([p[:2] for p in ring]))[:, :2]
    if not np.isfinite(lonlat).all() or np.ptp(lonlat[:, 0]) > 180:
        return None
    origin = lonlat[0]
    scale = np.array(common.metres_per_degree(float(lonlat[:, 1].mean())))
    shape = regular((lonlat - origin) * scale, pixel_m)
    area = ring_area(shape)
    if area < 0:
        shape, area = shape[::-1], -area
    out = shape / scale + origin
    return {"type": "Feature", "properties": {"area_m2": round(area, 1), "confidence": round(conf, 2)},
            "geometry": {"type": "Polygon", "coordinates": [[[round(float(x), 8), round(float(y), 8)]
                                                             for x, y in out]]}}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--masks", required=True, help="folder of the masks")
    ap.add_argument("--cover", required=True, help="cover.json of the image")
    ap.add_argument("--out", required=True, help="GeoJSON to write")
    a = ap.parse_args()
    cover = common.read_json(a.cover)
    files = sorted(glob.glob(os.path.join(glob.escape(a.masks), "*.tif")))
    if len(files) != len(cover["tiles"]):
        raise common.ToolError(f"{a.masks}: {len(files)} masks for {len(cover['tiles'])} tiles; run the step "
                               "predict again")
    features = []
    if not cover["coarse"]:
        mosaic = gdal.BuildVRT("", files)
        inverse = gdal.InvGeoTransform(mosaic.GetGeoTransform())
        srs = mosaic.GetSpatialRef()
        srs.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
        to_wgs84 = osr.CoordinateTransformation(srs, common.wgs84())
        for shape in polygons(mosaic):
            conf = confidence(mosaic, inverse, shape.PointOnSurface().GetPoint_2D())
            found = feature(shape.GetGeometryRef(0).GetPoints(), to_wgs84, cover["pixel_m"], conf)
            if found:
                features.append(found)
    common.write_features(a.out, features, cover["note"])
    print(f"{len(features)} outlines")
    return 0


if __name__ == "__main__":
    common.run(main)

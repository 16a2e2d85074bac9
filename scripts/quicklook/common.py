"""What the steps of the quicklook pipeline share: rasters, the working grid, GeoJSON, errors.

All steps see an image through the working grid: the image's own pixels, averaged down to about half
a metre where they are finer. Distances are metres on the ground, whatever the image's projection.
"""
import json
import math
import os
import sys

import numpy as np
from osgeo import gdal, osr

gdal.UseExceptions()
osr.UseExceptions()
gdal.SetCacheMax(192 << 20)
gdal.SetConfigOption("GDAL_PAM_ENABLED", "NO")      # never write .aux.xml beside an input

EXIT_EMPTY = 64         # nothing to look at: the job ends as empty
EXIT_DATA = 65          # an input cannot be used
WORK_PIXEL_M = 0.5      # finer images are averaged to this
COARSE_PIXEL_M = 2.0    # buildings cannot be told from their surroundings in coarser images


class ToolError(Exception):
    """An input cannot be used: names the thing, the reason and the fix."""


class NothingFound(Exception):
    """There is nothing to analyse."""


def run(main):
    """Run a step; turn its errors into one line on stderr and an exit code."""
    name = os.path.basename(sys.argv[0])
    try:
        sys.exit(main())
    except NothingFound as e:
        print(f"{name}: {e}", file=sys.stderr)
        sys.exit(EXIT_EMPTY)
    except ToolError as e:
        print(f"{name}: {e}", file=sys.stderr)
        sys.exit(EXIT_DATA)
    except (OSError, RuntimeError, MemoryError) as e:
        print(f"{name}: {type(e).__name__}: {e}", file=sys.stderr)
        sys.exit(1)


def read_json(path):
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    except FileNotFoundError:
        raise ToolError(f"{path}: no such file; it is an output of an earlier step") from None
    except ValueError as e:
        raise ToolError(f"{path}: not valid JSON ({e}); run the step that writes it again") from None


def read_features(path):
    """The features of a GeoJSON FeatureCollection."""
    data = read_json(path)
    if not isinstance(data, dict) or data.get("type") != "FeatureCollection" \
            or not isinstance(data.get("features"), list):
        raise ToolError(f"{path}: not a GeoJSON FeatureCollection; give a layer of buildings")
    crs = ((data.get("crs") or {}).get("properties") or {}).get("name", "CRS84")
    if not crs.upper().endswith(("CRS84", "EPSG::4326", "EPSG:4326")):
        raise ToolError(f"{path}: its coordinates are in {crs}, not in degrees; write the layer in EPSG:4326")
    return data["features"]


def without_nan(value):
    """JSON has no NaN and no infinity: what is no number is null."""
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path, data):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".part", "w", encoding="utf-8") as f:
        json.dump(without_nan(data), f, separators=(",", ":"), allow_nan=False)
        f.write("\n")
    os.replace(path + ".part", path)


def write_features(path, features, note=None):
    data = {"type": "FeatureCollection", "name": "buildings"}
    if note:
        data["note"] = note
    data["features"] = features
    write_json(path, data)


def wgs84():
    srs = osr.SpatialReference()
    srs.ImportFromEPSG(4326)
    srs.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return srs


def metres_per_degree(lat):
    """Metres along one degree of longitude and of latitude on the WGS 84 ellipsoid."""
    a, e2 = 6378137.0, 0.00669437999014
    s = math.sin(math.radians(lat))
    w = math.sqrt(1 - e2 * s * s)
    east = a / w * math.cos(math.radians(lat))
    return math.radians(1) * max(east, 1e-3), math.radians(1) * a * (1 - e2) / w ** 3


class Raster:
    """An image opened for reading, with its place on Earth and its working grid."""

    def __init__(self, path):
        try:
            ds = gdal.Open(path)
        except RuntimeError as e:
            raise ToolError(f"image: GDAL cannot read it ({e}); give a GeoTIFF or another georeferenced "
                            "raster") from None
        if ds.RasterCount == 0:
            raise ToolError("image: it holds no bands, only sub-datasets; extract one with gdal_translate")
        if ds.RasterCount < 3 and ds.GetRasterBand(1).GetColorTable() is not None:
            ds = gdal.Translate("", ds, format="VRT", rgbExpand="rgb")
        self.ds = ds
        self.gt, self.srs = self.georeference(ds)
        self.to_wgs84 = osr.CoordinateTransformation(self.srs, wgs84())
        self.pixel_m = self.ground_pixel()
        self.shrink = max(1.0, WORK_PIXEL_M / self.pixel_m)
        self.width = max(1, round(ds.RasterXSize / self.shrink))
        self.height = max(1, round(ds.RasterYSize / self.shrink))
        self.kx, self.ky = ds.RasterXSize / self.width, ds.RasterYSize / self.height
        self.work_gt = (self.gt[0], self.gt[1] * self.kx, self.gt[2] * self.ky,
                        self.gt[3], self.gt[4] * self.kx, self.gt[5] * self.ky)
        self.bands = self.colour_bands(ds)
        self._stretch = None

    @staticmethod
    def georeference(ds):
        gt, srs = ds.GetGeoTransform(can_return_null=True), ds.GetSpatialRef()
        if gt is None and ds.GetGCPCount() >= 3:
            gt, srs = gdal.GCPsToGeoTransform(ds.GetGCPs(), 1), ds.GetGCPSpatialRef()
        if gt is None or srs is None or gt[1] * gt[5] - gt[2] * gt[4] == 0:
            raise ToolError("image: it has no georeference, so its buildings have no place on the map; add "
                            "one with gdal_translate -a_srs EPSG:<code> -a_ullr <left> <top> <right> "
                            "<bottom>, and copy the result in")
        srs = srs.Clone()
        srs.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
        if srs.IsLocal():
            raise ToolError("image: its coordinate system is local and has no way to WGS 84; assign a real "
                            "one with gdal_translate -a_srs EPSG:<code>")
        return gt, srs

    def ground_pixel(self):
        """Size of a pixel in the middle of the image, in metres on the ground."""
        x, y, gt = self.ds.RasterXSize / 2, self.ds.RasterYSize / 2, self.gt
        at = [(gt[0] + gt[1] * (x + i) + gt[2] * (y + j), gt[3] + gt[4] * (x + i) + gt[5] * (y + j))
              for i, j in ((0, 0), (1, 0), (0, 1))]
        try:
            p, r, d = (self.to_wgs84.TransformPoint(*xy)[:2] for xy in at)
        except RuntimeError as e:
            raise ToolError(f"image: its middle has no place in WGS 84 ({e}); check its georeference") from None
        if not all(map(math.isfinite, (*p, *r, *d))) or abs(p[1]) > 90:
            raise ToolError("image: its middle lies outside the Earth; check its georeference")
        mx, my = metres_per_degree(p[1])
        area = abs((r[0] - p[0]) * (d[1] - p[1]) - (r[1] - p[1]) * (d[0] - p[0])) * mx * my
        return math.sqrt(area)

    @staticmethod
    def colour_bands(ds):
        """Numbers of the red, green and blue band; one band of a grey image three times."""
        interp = {ds.GetRasterBand(k).GetColorInterpretation(): k for k in range(ds.RasterCount, 0, -1)}
        rgb = [interp.get(c) for c in (gdal.GCI_RedBand, gdal.GCI_GreenBand, gdal.GCI_BlueBand)]
        if all(rgb):
            return rgb
        plain = [k for k in range(1, ds.RasterCount + 1)
                 if ds.GetRasterBand(k).GetColorInterpretation() != gdal.GCI_AlphaBand] or [1]
        return plain[:3] if len(plain) >= 3 else [plain[0]] * 3

    def read_raw(self, x, y, w, h, out_w, out_h, resample):
        """A window in image pixels as float32 (3, out_h, out_w), and where it holds data."""
        try:
            return self.read_planes(x, y, w, h, out_w, out_h, resample)
        except RuntimeError as e:
            raise ToolError(f"image: the part at {x}, {y} cannot be read ({e}); the file is damaged, "
                            "copy a whole one") from None

    def read_planes(self, x, y, w, h, out_w, out_h, resample):
        planes = {}
        for k in set(self.bands):
            band = self.ds.GetRasterBand(k)
            planes[k] = band.ReadAsArray(x, y, w, h, out_w, out_h, resample_alg=resample).astype(np.float32)
        img = np.stack([planes[k] for k in self.bands])
        np.nan_to_num(img, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        band = self.ds.GetRasterBand(self.bands[0])
        valid = (img != 0).any(axis=0)
        if not band.GetMaskFlags() & gdal.GMF_ALL_VALID:
            valid &= band.GetMaskBand().ReadAsArray(x, y, w, h, out_w, out_h,
                                                    resample_alg=gdal.GRIORA_NearestNeighbour) > 0
        return img, valid

    def sketch(self, most=1024):
        """The whole image, thinned to at most `most` pixels a side."""
        w, h = self.ds.RasterXSize, self.ds.RasterYSize
        k = max(1.0, max(w, h) / most)
        return self.read_raw(0, 0, w, h, max(1, round(w / k)), max(1, round(h / k)),
                             gdal.GRIORA_NearestNeighbour)

    def stretch(self):
        """Values that become 0 and 255; 8 bit images stay as they are."""
        if self._stretch is None:
            if self.ds.GetRasterBand(self.bands[0]).DataType == gdal.GDT_Byte:
                self._stretch = (0.0, 255.0)
            else:
                img, valid = self.sketch()
                data = img[:, valid]
                low, high = (float(v) for v in np.percentile(data, (0.5, 99.5))) if data.size else (0, 1)
                self._stretch = (min(low, 0.0) if low < 0.1 * high else low, max(high, low + 1e-6))
        return self._stretch

    def read(self, x, y, w, h):
        """A window of the working grid as float32 (3, h, w) in 0..255, and where it holds data."""
        x0, y0 = int(x * self.kx), int(y * self.ky)
        x1 = min(self.ds.RasterXSize, max(x0 + 1, round((x + w) * self.kx)))
        y1 = min(self.ds.RasterYSize, max(y0 + 1, round((y + h) * self.ky)))
        how = gdal.GRIORA_Average if self.shrink > 1 else gdal.GRIORA_NearestNeighbour
        img, valid = self.read_raw(x0, y0, x1 - x0, y1 - y0, w, h, how)
        low, high = self.stretch()
        if (low, high) != (0.0, 255.0):
            img = np.clip((img - low) * (255 / (high - low)), 0, 255)
        return img, valid

    @property
    def work_pixel_m(self):
        return self.pixel_m * math.sqrt(self.kx * self.ky)

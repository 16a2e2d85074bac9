"""A pre- and a post-event image on one grid: the pre-event image's working grid."""
import common
import numpy as np
from osgeo import gdal, osr


class Pair:
    """Reads the same window of both; the post-event image is warped as it is read."""

    def __init__(self, pre, post, dx=0.0, dy=0.0):
        self.pre, other = common.Raster(pre), common.Raster(post)
        self.stretch = other.stretch()
        self.bands = other.bands
        gt = self.pre.work_gt
        # Where the pre-event pixel lies in the post-event image's own idea of the map.
        self.gt = (gt[0] - dx, gt[1], gt[2], gt[3] - dy, gt[4], gt[5])
        self.warped = self.warp(other)
        self.demand_overlap(other)

    def demand_overlap(self, other):
        """Refuse images of different places."""
        grid, ds = self.pre, other.ds
        back = gdal.InvGeoTransform(other.gt)
        move = osr.CoordinateTransformation(grid.srs, other.srs)
        for fy in np.linspace(0, grid.height, 33):
            for fx in np.linspace(0, grid.width, 33):
                try:
                    at = move.TransformPoint(*gdal.ApplyGeoTransform(self.gt, float(fx), float(fy)))[:2]
                except RuntimeError:
                    continue
                x, y = gdal.ApplyGeoTransform(back, *at)
                if 0 <= x <= ds.RasterXSize and 0 <= y <= ds.RasterYSize:
                    return
        raise common.ToolError("post-event image: it does not overlap the pre-event image; pair images of the "
                               "same place (the same base name under pre-event/ and post-event/)")

    def warp(self, other):
        """A virtual raster: the post-event image and its mask on the (shifted) pre-event grid."""
        grid = self.pre
        if self.gt[2] or self.gt[4]:
            raise common.ToolError("pre-event image: its rows are turned against the map; make it north-up with "
                                   "gdalwarp")
        how = gdal.GRA_Average if other.pixel_m < 0.6 * grid.work_pixel_m else gdal.GRA_Bilinear
        x0, y0 = self.gt[0], self.gt[3]
        x1, y1 = x0 + self.gt[1] * grid.width, y0 + self.gt[5] * grid.height
        try:
            return gdal.Warp("", other.ds, format="VRT", srcSRS=other.srs.ExportToWkt(),
                             dstSRS=grid.srs.ExportToWkt(), outputBounds=(x0, min(y0, y1), x1, max(y0, y1)),
                             width=grid.width, height=grid.height, resampleAlg=how, dstAlpha=True,
                             warpMemoryLimit=64 << 20)
        except RuntimeError as e:
            raise common.ToolError(f"post-event image: it cannot be laid over the pre-event image ({e}); "
                                   "check the georeference of both") from None

    def read(self, x, y, w, h):
        """Both windows as float32 (3, h, w) in 0..255, and where both hold data."""
        one, valid = self.pre.read(x, y, w, h)
        two = np.stack([self.warped.GetRasterBand(k).ReadAsArray(x, y, w, h).astype(np.float32)
                        for k in self.bands])
        alpha = self.warped.GetRasterBand(self.warped.RasterCount).ReadAsArray(x, y, w, h) > 0
        valid = valid & alpha & (two != 0).any(axis=0)
        low, high = self.stretch
        if (low, high) != (0.0, 255.0):
            two = np.clip((two - low) * (255 / (high - low)), 0, 255)
        return one, two, valid

#!/usr/bin/python3 -B
"""Find buildings in tiles by classical segmentation: one mask for each tile's core.

What is neither vegetation nor shadow falls into pieces; a piece that is compact, has about the shape
of a rectangle or an L, sharp edges and a shadow beside it is a building. A piece that is none (a
house that touches paving, say) is cut along its strong edges and its parts are tried again, also
two by two, since the faces of a roof differ in light.

Band 1 of a mask is 255 on buildings, band 2 the confidence in percent.
"""
import argparse
import os

import common
import numpy as np
from osgeo import gdal

MIN_AREA_M2, MAX_AREA_M2 = 25.0, 8000.0
GREEN = 0.07            # excess green above which a pixel is vegetation, where the tile does not tell
SHADE = 0.60            # share of the tile's median brightness below which a pixel lies in shadow
STRONG_EDGE = 9.0       # grey levels a pixel
MIN_FILL = 0.66         # least share of its smallest rectangle that a building fills; an L has 0.7
MAX_ASPECT = 5.5
MAX_HOLES = 0.15        # holes that are filled, as a share of the piece
ACCEPT = 0.5            # least confidence
LEAST_SHADE = 0.35      # share of the strip behind a building that its shadow takes
DIRECTIONS = np.radians(np.arange(0, 360, 22.5))
ANGLES = np.radians(np.arange(0, 90, 3))


def disc(radius):
    y, x = np.mgrid[-int(radius):int(radius) + 1, -int(radius):int(radius) + 1]
    return x * x + y * y <= radius * radius + 0.5


def least_green(green, ndimage):
    """Excess green that parts vegetation from the rest: the valley above the peak of grey surfaces."""
    step = 0.005
    count, edges = np.histogram(green, np.arange(-0.1, 0.3, step))
    count = ndimage.gaussian_filter1d(count.astype(float), 2)
    low, high = (int((v + 0.1) / step) for v in (-0.05, 0.06))
    peak = low + int(np.argmax(count[low:high]))
    valley = count[peak + round(0.05 / step):peak + round(0.1 / step)]
    if count[peak] < 0.002 * green.size or valley.min() > 0.5 * count[peak]:
        return GREEN
    return float(edges[peak + round(0.05 / step) + int(np.argmin(valley))])


class Tile:
    """Per-pixel evidence of one tile."""

    def __init__(self, img, valid, pixel_m):
        from scipy import ndimage
        self.nd, self.px = ndimage, pixel_m
        sigma = min(1.0, 0.45 / pixel_m)
        smooth = np.stack([ndimage.gaussian_filter(p, sigma) for p in img])
        total = smooth.sum(axis=0)
        green = (3 * smooth[1] - total) / (total + 1)
        bright = total / 3
        middle = float(np.median(bright[valid])) if valid.any() else 0.0
        self.shadow = valid & (bright < SHADE * middle)
        self.valid = valid
        self.open = valid & ~self.shadow & (green < least_green(green[valid], ndimage))
        self.edge = np.zeros(bright.shape, np.float32)
        for p in smooth:
            gy, gx = (ndimage.gaussian_filter1d(p, 0.7, axis=k, order=1) for k in (0, 1))
            np.maximum(self.edge, np.hypot(gx, gy), out=self.edge)
        r = max(1.0, 1.55 / pixel_m)
        self.open = ndimage.binary_opening(self.open, disc(r))
        self.away = None        # where shadows fall, once it is known
        self.no_shadows = False

    def pieces(self, mask):
        """Label image of the mask, and (number, box, pixels) of each piece large enough for a building."""
        labels, n = self.nd.label(mask)
        if not n:
            return labels, []
        size = np.bincount(labels.ravel(), minlength=n + 1)
        boxes = self.nd.find_objects(labels)
        least = 0.5 * MIN_AREA_M2 / self.px ** 2
        return labels, [(k, boxes[k - 1], int(size[k])) for k in range(1, n + 1) if size[k] >= least]

    def fill(self, piece):
        """The piece without its small holes (vents, sky-lights, a dark dormer); a street keeps its blocks."""
        filled = self.nd.binary_fill_holes(piece)
        own = np.count_nonzero(piece)
        return filled if np.count_nonzero(filled) - own <= MAX_HOLES * own else piece

    def confidence(self, box, piece):
        """0..1: how much the piece in the box looks like a building."""
        area = np.count_nonzero(piece) * self.px ** 2
        if not MIN_AREA_M2 <= area <= MAX_AREA_M2:
            return 0.0
        inner = self.nd.binary_erosion(piece)
        rows, cols = np.nonzero(piece & ~inner)
        u = np.outer(np.cos(ANGLES), cols) + np.outer(np.sin(ANGLES), rows)
        v = np.outer(np.cos(ANGLES), rows) - np.outer(np.sin(ANGLES), cols)
        du, dv = np.ptp(u, axis=1) + 1, np.ptp(v, axis=1) + 1
        best = int(np.argmin(du * dv))
        long, short = max(du[best], dv[best]), min(du[best], dv[best])
        fill = min(1.0, area / self.px ** 2 / (long * short))
        if fill < MIN_FILL or long > MAX_ASPECT * short:
            return 0.0
        grown, ring = self.surround(box, piece)
        sharp = float((self.edge[grown][ring] > 0.6 * STRONG_EDGE).mean())
        conf = 0.1 + (fill - MIN_FILL) + 0.5 * sharp
        if self.away is not None:
            shade = self.shade(box, piece, self.away)
            conf = (conf + 0.25 * shade) * np.clip(shade / LEAST_SHADE, 0.4, 1)
        elif self.no_shadows:
            # One kind of evidence is missing, so the others must be better; what the image's edge cuts has none.
            conf = conf - 0.2 if self.whole(box, piece) else 0.0
        return float(np.clip(conf, 0, 1))

    def whole(self, box, piece):
        """Whether data goes on all around the piece."""
        h, w = self.open.shape
        if box[0].start < 2 or box[1].start < 2 or box[0].stop > h - 2 or box[1].stop > w - 2:
            return False
        grown, ring = self.surround(box, piece)
        return bool(self.valid[grown][ring].all())

    def shade(self, box, piece, way):
        """Share of shadow in the strip beside the piece that lies away from the sun, less that on the sunny side."""
        reach = max(2, round(1.5 / self.px))
        dy, dx = (round(reach * f(way)) for f in (np.sin, np.cos))
        grown = self.grow(box, reach)
        wide = self.widen(box, piece, grown)
        dark, known = self.shadow[grown], self.valid[grown]
        share = []
        for k in (1, -1):
            strip = np.roll(wide, (k * dy, k * dx), (0, 1)) & ~wide & known
            share.append(dark[strip].mean() if strip.any() else 0.5)
        return float(share[0] - 0.5 * share[1])

    def shadow_direction(self, labels, pieces):
        """Where shadows fall, as an angle, from the pieces most like a building; None if there is no clear way."""
        total = np.zeros(len(DIRECTIONS))
        count = 0
        for k, box, _ in pieces:
            piece = self.fill(labels[box] == k)
            if count < 100 and self.confidence(box, piece) >= 0.65:
                total += [self.shade(box, piece, way) for way in DIRECTIONS]
                count += 1
        best = int(np.argmax(total))
        return float(DIRECTIONS[best]) if count and total[best] >= 0.3 * count else None

    def surround(self, box, piece, reach=2):
        """A larger box and, in it, the pixels within `reach` of the piece's outline, outside of it."""
        grown = self.grow(box, reach)
        wide = self.widen(box, piece, grown)
        return grown, self.nd.binary_dilation(wide, iterations=reach) & ~wide

    def grow(self, box, reach):
        """The box with `reach` more pixels on each side, as far as the tile goes."""
        return tuple(slice(max(0, b.start - reach), min(n, b.stop + reach)) for b, n in zip(box, self.open.shape))

    @staticmethod
    def widen(box, piece, grown):
        """The piece in a larger box."""
        return np.pad(piece, [(b.start - g.start, g.stop - b.stop) for b, g in zip(box, grown)])

    def buildings(self):
        """(box, piece, confidence) of each building."""
        labels, pieces = self.pieces(self.open)
        self.away = self.shadow_direction(labels, pieces)
        self.no_shadows = self.away is None
        rest = np.zeros(self.open.shape, bool)
        for k, box, _ in pieces:
            part = labels[box] == k
            piece = self.fill(part)
            conf = self.confidence(box, piece)
            if conf >= ACCEPT:
                yield box, piece, conf
            else:
                rest[box] |= part
        yield from self.cut(rest)

    def cut(self, rest):
        """Buildings among the parts into which strong edges cut what is left."""
        # Thin remains (kerbs, lines, drives) are opened away; what stays grows back over its own edge.
        quiet = self.nd.binary_opening(rest & (self.edge < STRONG_EDGE), disc(max(1.0, 1.0 / self.px)))
        labels, pieces = self.pieces(quiet)
        found = {}
        for k, box, _ in pieces:
            at, piece = self.regrow(box, labels[box] == k, rest)
            found[k] = (at, piece, self.confidence(at, piece))
        used = set()
        for conf, one, two in sorted(self.pairs(labels, found), key=lambda p: -p[0]):
            if one not in used and two not in used and conf >= max(ACCEPT, found[one][2], found[two][2]):
                used |= {one, two}
                yield (*self.union(found[one], found[two]), conf)
        for k, (box, piece, conf) in found.items():
            if k not in used and conf >= ACCEPT:
                yield box, piece, conf

    def regrow(self, box, piece, rest):
        grown, ring = self.surround(box, piece)
        return grown, self.fill(self.widen(box, piece, grown) | (ring & rest[grown]))

    def pairs(self, labels, found):
        """(confidence, one, other) of neighbouring parts taken together."""
        for k, (box, piece, _) in found.items():
            if np.count_nonzero(piece) * self.px ** 2 > MAX_AREA_M2:
                continue
            near = labels[box][self.nd.binary_dilation(piece, iterations=2)]
            for other in np.unique(near):
                if other > k and other in found and np.count_nonzero(found[other][1]) * self.px ** 2 < MAX_AREA_M2:
                    conf = self.confidence(*self.union(found[k], found[other]))
                    if conf >= ACCEPT:
                        yield conf, k, other

    def union(self, one, two):
        r0, c0 = (min(one[0][i].start, two[0][i].start) for i in (0, 1))
        r1, c1 = (max(one[0][i].stop, two[0][i].stop) for i in (0, 1))
        both = np.zeros((r1 - r0, c1 - c0), bool)
        for box, piece, *_ in (one, two):
            both[box[0].start - r0:box[0].stop - r0, box[1].start - c0:box[1].stop - c0] |= piece
        closed = self.nd.binary_closing(np.pad(both, 3), iterations=2)[3:-3, 3:-3]
        return (slice(r0, r1), slice(c0, c1)), self.fill(closed)


def masks(tile):
    """Mask and confidence of a tile; different buildings never touch."""
    mask = np.zeros(tile.open.shape, np.uint8)
    sure = np.zeros(tile.open.shape, np.uint8)
    for box, piece, conf in tile.buildings():
        taken = tile.nd.binary_dilation(np.pad(mask[box] > 0, 1), np.ones((3, 3)))[1:-1, 1:-1]
        put = piece & ~taken
        mask[box][put] = 255
        sure[box][put] = round(conf * 100)
    return mask, sure


def write_mask(path, mask, sure, like, core, window):
    gt = like.GetGeoTransform()
    dx, dy = core[0] - window[0], core[1] - window[1]
    ds = gdal.GetDriverByName("GTiff").Create(path, core[2], core[3], 2, gdal.GDT_Byte, [
        "COMPRESS=LZW", "INTERLEAVE=BAND", "TILED=YES", "SPARSE_OK=TRUE"])
    ds.SetSpatialRef(like.GetSpatialRef())
    ds.SetGeoTransform((gt[0] + dx * gt[1] + dy * gt[2], gt[1], gt[2],
                        gt[3] + dx * gt[4] + dy * gt[5], gt[4], gt[5]))
    if mask is not None and mask.any():
        for k, plane in ((1, mask), (2, sure)):
            ds.GetRasterBand(k).WriteArray(plane[dy:dy + core[3], dx:dx + core[2]])
    ds.FlushCache()


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--tiles", required=True, help="folder of the tiles")
    ap.add_argument("--cover", required=True, help="their cover.json")
    ap.add_argument("--out", required=True, help="folder for the masks, <id>.tif each")
    a = ap.parse_args()
    cover = common.read_json(a.cover)
    os.makedirs(a.out, exist_ok=True)
    for t in cover["tiles"]:
        path = os.path.join(a.tiles, t["id"] + ".tif")
        try:
            ds = gdal.Open(path)
            bands = None if cover["coarse"] else ds.ReadAsArray()
        except RuntimeError as e:
            raise common.ToolError(f"tile {t['id']}: cannot be read ({e}); run the step tile again") from None
        mask = sure = None
        if bands is not None:
            mask, sure = masks(Tile(bands[:3].astype(np.float32), bands[3] > 0, cover["pixel_m"]))
        write_mask(os.path.join(a.out, t["id"] + ".tif"), mask, sure, ds, t["core"], t["window"])
        share = 100 * (mask > 0).mean() if mask is not None else 0
        print(f"tile {t['id']}: {share:.1f}% building", flush=True)
    if cover["note"]:
        print(cover["note"])
    return 0


if __name__ == "__main__":
    common.run(main)

#!/usr/bin/python3 -B
"""Measure how far the post-event image is shifted against the pre-event image.

Phase correlation of edges in up to nine places that both images cover; the median counts. Writes
{"dx", "dy"}: what to add to the post-event image's map coordinates, in the units of the
pre-event image's coordinate system.
"""
import argparse

import common
import numpy as np
from pair import Pair

SIDE = 384
MAX_SHIFT_PX = 16


def edges(img):
    grey = img.mean(axis=0)
    gy, gx = np.gradient(grey)
    e = np.hypot(gx, gy)
    return (e - e.mean()) * np.outer(np.hanning(e.shape[0]), np.hanning(e.shape[1]))


def shift(pre, post):
    """(dx, dy) in pixels by which post must move, and how much the peak stands out."""
    spectrum = np.fft.rfft2(edges(pre)) * np.conj(np.fft.rfft2(edges(post)))
    power = np.fft.irfft2(spectrum / (np.abs(spectrum) + 1e-6 * np.abs(spectrum).max() + 1e-12), s=pre.shape[1:])
    near = np.roll(power, (MAX_SHIFT_PX, MAX_SHIFT_PX), (0, 1))[:2 * MAX_SHIFT_PX + 1, :2 * MAX_SHIFT_PX + 1]
    y, x = np.unravel_index(int(np.argmax(near)), near.shape)
    best = []
    for line, at in ((near[y], x), (near[:, x], y)):
        fine = 0.0
        if 0 < at < line.size - 1:
            a, b, c = line[at - 1:at + 2]
            fine = 0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c < 0 else 0.0
        best.append(at + fine - MAX_SHIFT_PX)
    return best[0], best[1], float(near[y, x] / (near.std() + 1e-12))


def places(grid):
    """Up to nine windows spread over the working grid."""
    side = min(SIDE, grid.width, grid.height)
    for fy in (0.5, 0.2, 0.8):
        for fx in (0.5, 0.2, 0.8):
            yield (int((grid.width - side) * fx), int((grid.height - side) * fy), side, side)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--pre", required=True, help="pre-event image")
    ap.add_argument("--post", required=True, help="post-event image")
    ap.add_argument("--out", required=True, help="shift.json to write")
    a = ap.parse_args()
    pair = Pair(a.pre, a.post)
    found = []
    if pair.pre.pixel_m <= common.COARSE_PIXEL_M:
        for window in sorted(set(places(pair.pre))):
            one, two, both = pair.read(*window)
            if both.mean() > 0.8:
                dx, dy, peak = shift(one, two)
                if peak > 6:
                    found.append((dx, dy))
    dx, dy = np.median(found, axis=0) if found else (0.0, 0.0)
    gt = pair.pre.work_gt
    common.write_json(a.out, {"dx": dx * gt[1] + dy * gt[2], "dy": dx * gt[4] + dy * gt[5],
                              "places": len(found)})
    print(f"post-event image moves by {dx:.2f}, {dy:.2f} pixels (measured in {len(found)} places)"
          if found else "no place to measure a shift: the post-event image stays where it is")
    return 0


if __name__ == "__main__":
    common.run(main)

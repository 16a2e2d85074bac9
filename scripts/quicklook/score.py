#!/usr/bin/python3 -B
"""Compare a found layer of buildings with the truth, and fail below a least value.

A found building matches a true one if their intersection over union (IoU) is 0.5 or more; each is
matched once, best pairs first. Precision is the share of found buildings that are matched, recall
the share of true ones. A damage class counts a building as right only if it is matched and has the
true class: for class c, precision is right / found as c (unmatched ones included), recall is
right / truly c (missed ones included). So a missed building costs its class too. The macro value
is the mean over the classes that occur in the truth or in the found layer.
"""
import argparse

import common
from geometry import matches, shape


def ratio(part, whole):
    """Nothing to find, or nothing claimed, is no mistake."""
    return part / whole if whole else 1.0


def damage_scores(found, truth, pairs):
    """{class: (precision, recall, right, found as, truly)}."""
    have = [f["properties"].get("damage") for f in found]
    want = [f["properties"].get("damage") for f in truth]
    out = {}
    for c in sorted({c for c in have + want if c}):
        right = sum(have[i] == c and want[j] == c for i, j in pairs)
        out[c] = (ratio(right, have.count(c)), ratio(right, want.count(c)), right, have.count(c), want.count(c))
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--found", required=True, help="GeoJSON of the analysis")
    ap.add_argument("--truth", required=True, nargs="+", help="GeoJSON of make-scene; several are taken as one")
    ap.add_argument("--min", type=float, default=0.85, help="least value of each figure (0.85); exit 1 below")
    ap.add_argument("--iou", type=float, default=0.5, help="least overlap of a match (0.5)")
    ap.add_argument("--buildings-only", action="store_true", help="do not look at damage classes")
    ap.add_argument("--json", action="store_true", help="print one JSON object instead")
    a = ap.parse_args()
    if not 0 < a.iou <= 1 or not 0 <= a.min <= 1:
        ap.error("--iou and --min lie between 0 and 1")
    found, truth = common.read_features(a.found), [f for t in a.truth for f in common.read_features(t)]
    pairs = matches([shape(f) for f in found], [shape(f) for f in truth], a.iou)
    figures = {"buildings precision": ratio(len(pairs), len(found)), "buildings recall": ratio(len(pairs), len(truth))}
    lines = [f"buildings: {len(found)} found, {len(truth)} true, {len(pairs)} matched"]
    if not a.buildings_only and any("damage" in f["properties"] for f in truth):
        scores = damage_scores(found, truth, pairs)
        for c, (p, r, right, claimed, true) in scores.items():
            figures[f"{c} precision"], figures[f"{c} recall"] = p, r
            lines.append(f"{c}: {claimed} found, {true} true, {right} right")
        for k, what in enumerate(("precision", "recall")):
            figures[f"damage macro {what}"] = ratio(sum(s[k] for s in scores.values()), len(scores))
    low = [name for name, value in figures.items() if value < a.min]
    if a.json:
        import json
        print(json.dumps({"figures": {k: round(v, 4) for k, v in figures.items()}, "below": low}))
    else:
        print("\n".join(lines + [f"{name:22s} {value:.3f}{'  BELOW ' + str(a.min) if name in low else ''}"
                                 for name, value in figures.items()]))
    return 1 if low else 0


if __name__ == "__main__":
    common.run(main)

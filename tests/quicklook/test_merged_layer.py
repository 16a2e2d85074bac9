"""merge and score, on layers made by hand."""
import json

import pytest
from steps import call, figures, load, tool


def house(x, y=0, size=1e-4, **properties):
    ring = [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]
    return {"type": "Feature", "properties": {"area_m2": 100, "confidence": 0.8, **properties},
            "geometry": {"type": "Polygon", "coordinates": [ring]}}


def layer(path, *features):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def merge(tmp_path, want=0):
    done = tool("merge", "--dir", tmp_path / "parts", "--dest", tmp_path / "m.geojson", want=want)
    return load(tmp_path / "m.geojson")["features"] if want == 0 else done.stderr


def test_merge_of_nothing(tmp_path):
    (tmp_path / "parts").mkdir()
    assert merge(tmp_path) == []


def test_merge_of_one_and_of_an_empty_one(tmp_path):
    layer(tmp_path / "parts" / "a" / "buildings.geojson", house(1), house(2))
    layer(tmp_path / "parts" / "b" / "buildings.geojson")
    assert [f["properties"]["job"] for f in merge(tmp_path)] == ["a", "a"]


def test_merge_keeps_the_best_of_what_overlaps(tmp_path):
    layer(tmp_path / "parts" / "a" / "buildings.geojson", house(1, damage="unassessed", score=None),
          house(2, score=0.6))
    layer(tmp_path / "parts" / "b" / "buildings.geojson", house(1.00001, damage="destroyed", score=0.7),
          house(2.00001, score=0.9), house(3, score=0.5))
    assert [f["properties"]["job"] for f in merge(tmp_path)] == ["b", "b", "b"]


def test_merging_the_merged_changes_nothing(tmp_path):
    for k in range(5):
        layer(tmp_path / "parts" / f"job-{k}" / "buildings.geojson", house(k), house(k + 0.00002, 0.5))
    first = merge(tmp_path)
    layer(tmp_path / "parts" / "again" / "buildings.geojson", *first)
    assert merge(tmp_path) == first


def test_merge_names_the_bad_part(tmp_path):
    (tmp_path / "parts" / "a").mkdir(parents=True)
    (tmp_path / "parts" / "a" / "buildings.geojson").write_text("{")
    assert "a/buildings.geojson" in merge(tmp_path, want=65)


def test_score_counts_what_is_missed_and_what_is_invented(tmp_path):
    truth = layer(tmp_path / "t", *(house(k, damage="damaged" if k else "destroyed") for k in range(4)))
    found = layer(tmp_path / "f", house(0, damage="damaged"), house(1, damage="damaged"), house(9, damage="damaged"))
    got = figures_of(found, truth)
    assert got["buildings precision"] == pytest.approx(2 / 3, abs=1e-3) and got["buildings recall"] == 0.5
    assert got["damaged precision"] == pytest.approx(1 / 3, abs=1e-3)
    assert got["damaged recall"] == pytest.approx(1 / 3, abs=1e-3)
    assert got["destroyed recall"] == 0
    tool("score", "--found", found, "--truth", truth, want=1)


def test_score_of_the_truth_is_one(scene):
    assert set(figures(scene["truth"], scene["truth"]).values()) == {1.0}


def test_a_merged_layer_is_held_against_several_truths(tmp_path):
    truths = [layer(tmp_path / f"t{k}", house(k)) for k in range(2)]
    found = layer(tmp_path / "f", house(0), house(1))
    assert "2 matched" in tool("score", "--found", found, "--truth", *truths).stdout


def test_overlap_below_half_is_no_match(tmp_path):
    truth, found = layer(tmp_path / "t", house(0)), layer(tmp_path / "f", house(0.00004))
    assert figures_of(found, truth)["buildings recall"] == 0


def figures_of(found, truth):
    return figures(found, truth)


def test_every_tool_has_help():
    from steps import TOOLS
    import glob
    for path in glob.glob(TOOLS + "/*.py"):
        if "argparse" in open(path, encoding="utf-8").read():
            assert "usage" in call(path, "--help").stdout

"""make-scene: what it promises of its files."""
from steps import load, make_scene
from osgeo import gdal, ogr


def test_same_seed_same_bytes(tmp_path):
    for name in ("a", "b"):
        make_scene(tmp_path / name, 3, 4)
    for path in ("pre-event/scene.tif", "post-event/scene.tif", "truth/scene.geojson"):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_files_are_georeferenced_and_truth_is_whole(scene):
    for image in (scene["pre"], scene["post"]):
        ds = gdal.Open(str(image))
        assert ds.RasterCount == 3 and ds.GetRasterBand(1).DataType == gdal.GDT_Byte
        assert ds.GetSpatialRef().GetUTMZone() != 0 and ds.GetGeoTransform()[1] <= 0.5
    truth = load(scene["truth"])["features"]
    assert len(truth) == 60
    assert {f["properties"]["damage"] for f in truth} == {"no-damage", "damaged", "destroyed"}
    shapes = [ogr.CreateGeometryFromJson(str(f["geometry"]).replace("'", '"')) for f in truth]
    assert all(s.IsValid() for s in shapes)
    assert not any(a.Intersects(b) for k, a in enumerate(shapes) for b in shapes[:k])


def test_too_many_buildings_are_refused_with_the_way_out(tmp_path):
    done = make_scene(tmp_path, 1, 30, "--size", 128, want=2)
    assert "--size" in done.stderr and not list(tmp_path.iterdir())

"""The steps: right on scenes, and well-behaved on what users bring."""
import numpy as np
import pytest
from steps import assess, figures, final, find, load, make_scene, tool
from osgeo import gdal, ogr, osr

gdal.UseExceptions()


def image(path, data, epsg=32633, pixel=0.5, kind=gdal.GDT_Byte):
    """Write bands (n, h, w) as a GeoTIFF; without a georeference if epsg is None."""
    ds = gdal.GetDriverByName("GTiff").Create(str(path), data.shape[2], data.shape[1], data.shape[0], kind)
    if epsg:
        srs = osr.SpatialReference()
        srs.ImportFromEPSG(epsg)
        ds.SetSpatialRef(srs)
        ds.SetGeoTransform((500000, pixel, 0, 5000000, 0, -pixel))
    ds.WriteArray(data)
    ds.FlushCache()
    return path


def lawn(shape=(3, 300, 300), seed=1):
    noise = np.random.default_rng(seed).normal(0, 4, shape)
    return np.clip(np.array((95, 115, 72))[:, None, None] + noise, 0, 255).astype(np.uint8)


def copy(src, dst, **options):
    gdal.Translate(str(dst), str(src), **options)
    return dst


def test_buildings_and_damage_are_found(scene):
    low = {k: v for k, v in figures(scene["final"], scene["truth"]).items() if v < 0.85}
    assert not low
    for f in load(scene["final"])["features"]:
        p = f["properties"]
        assert p["area_m2"] > 0 and 0 <= p["score"] <= 1 and len(p["id"]) == 12
        assert ogr.CreateGeometryFromJson(str(f["geometry"]).replace("'", '"')).IsValid()


def test_area_is_that_of_the_ground(scene):
    found = sum(f["properties"]["area_m2"] for f in load(scene["final"])["features"])
    true = sum(f["properties"]["area_m2"] for f in load(scene["truth"])["features"])
    assert 0.85 < found / true < 1.15


def test_same_input_same_bytes(scene, tmp_path):
    again = assess(scene["pre"], scene["post"], find(scene["pre"], tmp_path / "w"), tmp_path / "w")
    assert again.read_bytes() == scene["final"].read_bytes()


def test_a_building_on_a_seam_stays_one(scene, tmp_path):
    many = find(scene["pre"], tmp_path, "--tile", 200)
    assert len(list((tmp_path / "masks").iterdir())) > 4
    one, other = (figures(layer, scene["truth"], "--buildings-only") for layer in (scene["clean"], many))
    assert all(abs(one[k] - other[k]) < 0.06 for k in one)


def test_another_projection_and_a_finer_pixel(scene, tmp_path):
    warped = tmp_path / "w.tif"
    gdal.Warp(str(warped), str(scene["pre"]), dstSRS="EPSG:4326", resampleAlg="bilinear")
    fine = copy(scene["pre"], tmp_path / "f.tif", widthPct=200, heightPct=200)
    for name, picture in (("w", warped), ("f", fine)):
        got = figures(find(picture, tmp_path / name), scene["truth"], "--buildings-only")
        assert min(got.values()) > 0.8, name


def test_a_pair_on_different_grids(scene, tmp_path):
    post = tmp_path / "post.tif"
    gdal.Warp(str(post), str(scene["post"]), dstSRS="EPSG:3857", resampleAlg="bilinear")
    (tmp_path / "w").mkdir()
    got = figures(assess(scene["pre"], post, scene["clean"], tmp_path / "w"), scene["truth"])
    assert min(got.values()) > 0.8


def test_a_shift_is_measured(scene, tmp_path):
    moved = tmp_path / "moved.tif"
    ds = gdal.Open(str(scene["pre"]))
    gt = ds.GetGeoTransform()
    gdal.Translate(str(moved), ds, outputBounds=[gt[0] + 2.5, gt[3] - 1.5, gt[0] + 2.5 + ds.RasterXSize * gt[1],
                                                 gt[3] - 1.5 + ds.RasterYSize * gt[5]])
    tool("align", "--pre", scene["pre"], "--post", moved, "--out", tmp_path / "shift.json")
    shift = load(tmp_path / "shift.json")
    assert shift["dx"] == pytest.approx(-2.5, abs=0.15) and shift["dy"] == pytest.approx(1.5, abs=0.15)


def test_sixteen_bit(scene, tmp_path):
    deep = copy(scene["pre"], tmp_path / "deep.tif", outputType=gdal.GDT_UInt16, scaleParams=[[0, 255, 0, 4000]])
    assert min(figures(find(deep, tmp_path / "w"), scene["truth"], "--buildings-only").values()) > 0.8


@pytest.mark.parametrize("suffix", ["grey", "palette", "float"])
def test_odd_bands_do_not_fail(scene, tmp_path, suffix):
    small = {"srcWin": [0, 0, 300, 300]}
    if suffix == "palette":
        grey = copy(scene["pre"], tmp_path / "g.tif", bandList=[1], **small)
        ds = gdal.Open(str(grey), gdal.GA_Update)
        table = gdal.ColorTable()
        for k in range(256):
            table.SetColorEntry(k, (k, k, 255 - k, 255))
        ds.GetRasterBand(1).SetColorTable(table)
        del ds
        picture = grey
    elif suffix == "grey":
        picture = copy(scene["pre"], tmp_path / "g.tif", bandList=[1], **small)
    else:
        picture = copy(scene["pre"], tmp_path / "g.tif", outputType=gdal.GDT_Float32, **small)
    assert load(find(picture, tmp_path / "w"))["type"] == "FeatureCollection"


def test_no_buildings_is_an_empty_layer(tmp_path):
    picture = image(tmp_path / "lawn.tif", lawn())
    clean = find(picture, tmp_path / "w")
    (tmp_path / "parts" / "job-a").mkdir(parents=True)
    assess(picture, picture, clean, tmp_path / "w").rename(tmp_path / "parts" / "job-a" / "buildings.geojson")
    tool("merge", "--dir", tmp_path / "parts", "--dest", tmp_path / "merged.geojson")
    assert load(tmp_path / "merged.geojson")["features"] == []
    assert ogr.Open(str(tmp_path / "merged.geojson")).GetLayer(0).GetFeatureCount() == 0


def test_a_scene_without_buildings(tmp_path):
    make_scene(tmp_path, 5, 0, "--size", 400)
    assert load(find(tmp_path / "pre-event" / "scene.tif", tmp_path / "w"))["features"] == []


def test_no_data_at_all_ends_as_empty(tmp_path):
    picture = image(tmp_path / "black.tif", np.zeros((3, 200, 200), np.uint8))
    assert "no data" in tool("cover", "--raster", picture, "--out", tmp_path / "c.json", want=64).stderr


def test_no_georeference_is_refused_with_the_fix(tmp_path):
    picture = image(tmp_path / "plain.tif", lawn(), epsg=None)
    said = tool("cover", "--raster", picture, "--out", tmp_path / "c.json", want=65).stderr
    assert "no georeference" in said and "gdal_translate" in said and "Traceback" not in said


def test_coarse_pixels_say_so(tmp_path):
    picture = image(tmp_path / "coarse.tif", lawn(), pixel=30)
    layer = load(final(find(picture, tmp_path / "w"), tmp_path / "w"))
    assert layer["features"] == [] and "too coarse" in layer["note"]


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "text.tif").write_text("hello")
    assert "cannot read" in tool("cover", "--raster", tmp_path / "text.tif", "--out", tmp_path / "c", want=65).stderr


def test_a_post_image_of_another_place_is_refused(scene, tmp_path):
    far = image(tmp_path / "far.tif", lawn())
    said = tool("align", "--pre", scene["pre"], "--post", far, "--out", tmp_path / "s.json", want=65).stderr
    assert "overlap" in said


def test_half_a_post_image_leaves_the_rest_unassessed(scene, tmp_path):
    (tmp_path / "w").mkdir()
    half = copy(scene["post"], tmp_path / "half.tif", srcWin=[0, 0, 300, gdal.Open(str(scene["post"])).RasterYSize])
    layer = load(assess(scene["pre"], half, scene["clean"], tmp_path / "w"))["features"]
    lost = [f for f in layer if f["properties"]["damage"] == "unassessed"]
    assert 0 < len(lost) < len(layer) and all(f["properties"]["score"] is None for f in lost)

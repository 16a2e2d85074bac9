"""A scene that several tests look at."""
import pytest

from steps import assess, find, make_scene


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """A scene of 60 buildings and what the steps found in it."""
    wd = tmp_path_factory.mktemp("scene")
    make_scene(wd, 7, 60)
    pre, post = wd / "pre-event" / "scene.tif", wd / "post-event" / "scene.tif"
    clean = find(pre, wd / "work")
    return {"dir": wd, "pre": pre, "post": post, "truth": wd / "truth" / "scene.geojson", "clean": clean,
            "final": assess(pre, post, clean, wd / "work")}

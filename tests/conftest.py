"""Fixtures of all Python tests; what they are made of stands in harness.py."""
import pytest

from harness import Emulator, Mount


@pytest.fixture
def emulator(tmp_path):
    """A fresh emulator for one test."""
    e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0",
                 "--slots", "4")
    e.start()
    yield e
    e.stop()


@pytest.fixture
def make_mount(tmp_path):
    """Mounts with the embedded engine; everything is unmounted, ended and checked afterwards."""
    made: list[Mount] = []

    def make(*options: str, name: str = "m", **kw) -> Mount:
        made.append(Mount(tmp_path / name, *options, **kw))
        return made[-1]

    yield make
    for m in made:
        m.unmount()
    for m in made:
        m.stop_engine()
    for m in made:
        m.check_logs()

"""Data flows one way: the includes of every file, held against the layers of the design."""
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What a folder may include besides itself; the emulator's runner stores and fetches as a real node does.
LAYERS = {
    "fs": {"batch/foreman", "batch/pipeline", "batch/azure", "batch/base", "batch/emulator"},
    "batch/foreman": {"batch/pipeline", "batch/azure", "batch/base"},
    "batch/pipeline": {"batch/azure", "batch/base"},
    "batch/azure": {"batch/base"},
    "batch/emulator": {"batch/azure", "batch/base"},
    "batch/base": set(),
}
# A third-party header and the only files that may know it.
OWNERS = {
    r"fuse(_lowlevel|_opt)?\.h|fuse3/.*": r"fs/.*",
    r"curl/.*": r"batch/azure/http[^/]*\.c",
    r"microhttpd\.h": r"batch/emulator/http[^/]*\.c",
    r"sqlite3\.h": r"batch/emulator/.*store[^/]*\.c",
    r"expat\.h": r"batch/base/xml\.c",
    r"tiff.*\.h": r"batch/pipeline/image[^/]*\.c",
    r"proj.*\.h|geodesic\.h": r"batch/pipeline/geo_proj\.c",
}
FILES = sorted(p.relative_to(ROOT) for top in ("fs", "batch") for p in (ROOT / top).rglob("*.[ch]"))


def layer_of(path: str) -> str:
    return max((name for name in LAYERS if path.startswith(name + "/")), key=len)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_includes_point_one_way(path):
    text = (ROOT / path).read_text()
    mine = layer_of(str(path))
    for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.M):
        other = layer_of(name)
        assert other == mine or other in LAYERS[mine], f"{path} includes {name}"
        # From the emulator the program takes the command alone; the services are reached by HTTP.
        if mine == "fs" and other == "batch/emulator":
            assert (str(path), name) == ("fs/program/main.c", "batch/emulator/emulator.h")
    for name in re.findall(r"^\s*#\s*include\s+<([^>]+)>", text, re.M):
        for header, owner in OWNERS.items():
            if re.fullmatch(header, name):
                assert re.fullmatch(owner, str(path)), f"{path} includes <{name}>"


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".c"], ids=str)
def test_a_source_file_includes_its_own_header_first(path):
    own = path.with_suffix(".h")
    if (ROOT / own).exists():
        first = re.search(r'^\s*#\s*include\s+["<]([^">]+)[">]', (ROOT / path).read_text(), re.M)
        assert first and first.group(1) == str(own)

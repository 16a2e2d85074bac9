"""Small images and pipelines for tests over a mount."""
import json
import random
import struct
from pathlib import Path


def tiff(seed: int, side: int = 16) -> bytes:
    """A whole TIFF of one grey strip; its pixels depend on the seed."""
    pixels = random.Random(seed).randbytes(side * side)
    tags = [(256, 3, side), (257, 3, side), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
            (278, 3, side), (279, 4, len(pixels))]
    directory = struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        directory += struct.pack("<HHI", tag, kind, 1)
        directory += struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + struct.pack("<I", 0)


def write_pipeline(path: Path, first: str = "true", name: str = "tiny") -> Path:
    """Two steps and a merge of shell commands; `first` runs at the start of the first one."""
    steps = [
        {"name": "look", "command": f"{first}; wc -c < {{image}} > size.txt", "outputs": {"size": "size.txt"}},
        {"name": "tell", "command": "cat {look.size} > report.txt; echo told >&2",
         "outputs": {"report": "report.txt"}, "result": True}]
    merge = {"command": "cat {parts}/*/report.txt > all.txt", "outputs": {"all": "all.txt"},
             "when_empty": {"all": ""}}
    path.write_text(json.dumps({"name": name, "steps": steps, "merge": merge}))
    return path


def gate(path: Path) -> str:
    """A command that says so and waits until the file is there."""
    return f"echo waiting; while [ ! -e {path} ]; do sleep 0.05; done; echo passed"

"""Names: all that Azure and POSIX both allow; others fail at create, and never with EIO."""
import errno
import os
import subprocess

import pytest

from site_of_blobs import errno_of

ALLOWED = ["space here", " leading", "trailing ", "percent%2F", "%", "%%20", "plus+", "hash#", "question?", "amp&", "quote'\"",
           "back`tick", "ümläut", "e\u0301", "é", "emoji\U0001f30d", "tail.", "tail..", "...", ".hidden", "-dash", "--help", "CON",
           "a~b", "x" * 255, "a=b;c,d", "[x]{y}", "<xml>&amp;", "a:b", "*", "|", "$root", "@", "^", "שלום", "中" * 85, "\u200b",
           "ﬁ", "\U00010348", "\u0085", "a\u2028b", "~$lock", "..x", "x..", "#"]
REFUSED = [("back\\slash", errno.EINVAL), ("tab\there", errno.EINVAL), ("new\nline", errno.EINVAL), ("\x01", errno.EINVAL),
           ("\x7f", errno.EINVAL), ("\ufffe", errno.EINVAL), ("\uffff", errno.EINVAL), ("x" * 256, errno.ENAMETOOLONG),
           ("中" * 86, errno.ENAMETOOLONG), (os.fsdecode(b"bad\xff"), errno.EILSEQ), (os.fsdecode(b"\xed\xa0\x80"), errno.EILSEQ)]


def test_names_that_can_be(site):
    for name in ALLOWED:
        (site.dir / name).write_text(name)
    site.remount()
    assert sorted(os.listdir(site.dir)) == sorted(ALLOWED)
    assert sorted(site.blobs.names()) == sorted(ALLOWED)
    for name in ALLOWED:
        assert (site.dir / name).read_text() == name
        assert (site.dir / name).stat().st_size == len(name.encode())


def test_what_is_done_with_names_that_can_be(site):
    for name in ALLOWED:
        path = site.dir / name
        path.mkdir()
        (path / name).write_text(name)
        os.symlink(name, path / "link")
        os.rename(path / name, path / "other")
        os.rename(path / "other", path / name)
        os.chmod(path / name, 0o700)
        os.utime(path, ns=(10**18, 10**18))
        os.setxattr(path / name, "user.name", name.encode())
        assert (path / "link").read_text() == name, name
        if len(name.encode()) < 254:
            path.rename(site.dir / (name + "2"))
            path = site.dir / (name + "2")
        assert sorted(os.listdir(path)) == sorted(["link", name])
        assert os.getxattr(path / name, "user.name") == name.encode()
        subprocess.run(["rm", "-r", path], check=True)
    assert os.listdir(site.dir) == [] and site.blobs.names() == []


@pytest.mark.parametrize("name, code", REFUSED)
def test_names_that_cannot_be(site, name, code):
    path = site.dir / name
    (site.dir / "f").write_text("x")
    assert errno_of(lambda: open(path, "w")) == code
    assert errno_of(lambda: path.mkdir()) == code
    assert errno_of(lambda: os.symlink("f", path)) == code
    assert errno_of(lambda: os.mknod(path)) == code
    assert errno_of(lambda: os.rename(site.dir / "f", path)) == code
    assert errno_of(lambda: path.stat()) in (errno.ENOENT, errno.ENAMETOOLONG)
    assert not path.exists() if code != errno.ENAMETOOLONG else True
    assert os.listdir(site.dir) == ["f"]


def test_the_longest_paths(site):
    segments, path = ["d" * 200] * 5, site.dir
    for s in segments:
        path = path / s
        path.mkdir()
    left = 1024 - len("/".join(segments)) - 1
    (path / ("f" * left)).write_text("last")
    assert errno_of(lambda: (path / ("f" * (left + 1))).write_text("x")) == errno.ENAMETOOLONG
    assert errno_of(lambda: (path / ("f" * (left + 1))).mkdir()) == errno.ENAMETOOLONG
    # Units of UTF-16 count, not bytes or characters.
    assert errno_of(lambda: (path / ("\U0001f30d" * (left // 2 + 1))).mkdir()) == errno.ENAMETOOLONG
    site.remount()
    assert (path / ("f" * left)).read_text() == "last"


def test_the_deepest_paths(site):
    path = site.dir
    for _ in range(253):
        path = path / "d"
    os.makedirs(path)
    (path / "f").write_text("deep")
    (path / "e").mkdir()
    assert errno_of(lambda: (path / "e" / "f").write_text("x")) == errno.ENAMETOOLONG
    assert errno_of(lambda: (path / "e" / "f").mkdir()) == errno.ENAMETOOLONG
    site.remount()
    assert (path / "f").read_text() == "deep"
    subprocess.run(["rm", "-r", site.dir / "d"], check=True)
    assert site.blobs.names() == []


def test_names_that_differ_by_little(site):
    twins = ["é", "e\u0301", "É", "a", "A", "a ", " a", "a.", "ﬁ", "fi"]
    for i, name in enumerate(twins):
        (site.dir / name).write_text(str(i))
    site.remount()
    assert sorted(os.listdir(site.dir)) == sorted(twins)
    for i, name in enumerate(twins):
        assert (site.dir / name).read_text() == str(i)


def test_lookups_of_what_cannot_be_are_free(site):
    os.listdir(site.dir)
    for name in ("back\\slash", "\x01", os.fsdecode(b"\xff"), "x" * 255):
        assert site.requests(lambda n=name: (site.dir / n).exists()) == {}

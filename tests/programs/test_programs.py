"""What analysts and their scripts run on a disk, run on containers/, each with a check that nothing was changed."""
import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys

import pytest

from harness import ROOT

ENV = {**os.environ, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "GIT_CONFIG_GLOBAL": "/dev/null",
       "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
       "GIT_COMMITTER_EMAIL": "a@b"}


def run(*argv, cwd=None, stdin=None, timeout=240):
    """The output of a program that has to succeed."""
    done = subprocess.run([str(a) for a in argv], cwd=cwd, input=stdin, capture_output=True, env=ENV, timeout=timeout)
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout[-2000:]!r}\n{done.stderr[-2000:]!r}"
    return done.stdout


def need(name):
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed: run scripts/setup --tests")
    return name


@pytest.fixture
def mount(make_mount):
    return make_mount().start()


@pytest.fixture
def folder(mount):
    path = mount.path / "containers" / "work"
    path.mkdir()
    return path


@pytest.fixture
def sources(tmp_path):
    """A tree of real sources of this project, with an odd name, an executable, an empty file and an old time."""
    tree = tmp_path / "sources"
    for part in ("fs", "man", "scripts"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "a name with spaces, ü and %25").write_text("odd\n")
    (tree / "empty").touch()
    os.utime(tree / "empty", ns=(10**18 + 123456789, 10**18 + 123456789))
    return tree


def content(tree):
    """Name and digest of every file below."""
    return {os.path.relpath(os.path.join(top, name), tree):
            hashlib.sha256(open(os.path.join(top, name), "rb").read()).hexdigest()
            for top, _, names in os.walk(tree) for name in names}


# --- trees ---------------------------------------------------------------------------------------


def test_tar_unpacks_and_nothing_differs(folder, sources, tmp_path):
    run("tar", "cf", tmp_path / "tree.tar", "-C", sources, ".")
    (folder / "tree").mkdir()
    run("tar", "xf", tmp_path / "tree.tar", "-C", folder / "tree")
    run("diff", "-r", sources, folder / "tree")
    assert int(os.stat(folder / "tree" / "empty").st_mtime) == 10**9
    run("rm", "-r", folder / "tree")
    assert os.listdir(folder) == []


def test_a_second_rsync_sends_nothing(folder, sources):
    need("rsync")
    run("rsync", "-a", f"{sources}/", folder / "tree")
    assert content(folder / "tree") == content(sources)
    again = run("rsync", "-a", "--itemize-changes", "--stats", f"{sources}/", folder / "tree").decode()
    assert "Number of regular files transferred: 0" in again
    assert not [line for line in again.splitlines() if line[:2] in (">f", "cd", ".f", ".d")], again
    (sources / "empty").write_text("changed")
    assert "Number of regular files transferred: 1" in run("rsync", "-a", "--stats", f"{sources}/",
                                                           folder / "tree").decode()
    assert content(folder / "tree") == content(sources)
    (sources / "empty").unlink()
    run("rsync", "-a", "--delete", f"{sources}/", folder / "tree")
    assert content(folder / "tree") == content(sources)


def test_rsync_goes_on_where_it_was_stopped(folder, tmp_path):
    need("rsync")
    whole = random.Random(1).randbytes(9_000_000)
    (tmp_path / "image").write_bytes(whole)
    (folder / "image").write_bytes(whole[:5_000_000])
    run("rsync", "-a", "--append-verify", tmp_path / "image", folder / "image")
    assert (folder / "image").read_bytes() == whole
    (tmp_path / "image").write_bytes(whole[:4_000_000] + b"x" * 100 + whole[4_000_100:])
    run("rsync", "-a", "--inplace", "--no-whole-file", "--ignore-times", tmp_path / "image", folder / "image")
    assert (folder / "image").read_bytes() == (tmp_path / "image").read_bytes()


def test_git_clones_works_and_is_sound(folder, sources):
    need("git")
    run("git", "init", "-q", "-b", "main", cwd=sources)
    run("git", "add", ".", cwd=sources)
    run("git", "commit", "-q", "-m", "first", cwd=sources)
    run("git", "clone", "-q", "--no-local", sources, folder / "repository")
    repository = folder / "repository"
    run("git", "fsck", "--full", "--strict", cwd=repository)
    assert run("git", "status", "--porcelain", cwd=repository) == b""
    (repository / "new").write_text("new\n")
    (repository / "empty").write_text("no more\n")
    run("git", "add", ".", cwd=repository)
    run("git", "commit", "-q", "-m", "second", cwd=repository)
    run("git", "checkout", "-q", "-b", "other", "HEAD~1", cwd=repository)
    assert not (repository / "new").exists()
    run("git", "merge", "-q", "main", cwd=repository)
    run("git", "gc", "-q", cwd=repository)
    run("git", "fsck", "--full", cwd=repository)
    assert run("git", "log", "--format=%s", cwd=repository).split() == [b"second", b"first"]


def test_cp_recursive_preserving(folder, sources):
    run("cp", "-rp", sources, folder / "tree")
    run("diff", "-r", sources, folder / "tree")
    assert os.stat(folder / "tree" / "empty").st_mtime_ns == 10**18 + 123456789
    run("cp", "-r", folder / "tree", folder / "again")
    run("diff", "-r", folder / "tree", folder / "again")
    run("mv", folder / "again", folder / "moved")
    run("diff", "-r", sources, folder / "moved")
    assert sorted(os.listdir(folder)) == ["moved", "tree"]


def test_find_and_grep_see_all(folder, sources):
    run("cp", "-r", sources, folder / "tree")
    for tree in (folder / "tree", sources):
        found = sorted(run("find", ".", "-type", "f", cwd=tree).splitlines())
        assert found == sorted(run("find", ".", "-noleaf", "-type", "f", cwd=sources).splitlines())
    assert sorted(run("grep", "-rl", "include", ".", cwd=folder / "tree").split(b"\n")) == \
        sorted(run("grep", "-rl", "include", ".", cwd=sources).split(b"\n"))


# --- single files --------------------------------------------------------------------------------


def test_sparse_copies(folder, tmp_path):
    with open(tmp_path / "holes", "wb") as f:
        for at in (0, 5_000_000, 20_000_000):
            f.seek(at)
            f.write(b"data" * 1000)
        f.truncate(30_000_000)
    run("cp", "--sparse=always", tmp_path / "holes", folder / "holes")
    run("cmp", tmp_path / "holes", folder / "holes")
    run("cp", "--sparse=always", folder / "holes", tmp_path / "back")
    run("cmp", tmp_path / "holes", tmp_path / "back")
    run("truncate", "-s", "40M", folder / "holes")
    assert os.stat(folder / "holes").st_size == 40 * 1024 * 1024


def test_dd_in_the_middle(folder, tmp_path):
    whole = bytearray(random.Random(2).randbytes(6_000_000))
    (folder / "image").write_bytes(whole)
    run("dd", "of=" + str(folder / "image"), "bs=1000", "seek=4321", "conv=notrunc,fsync", stdin=b"x" * 5000)
    whole[4_321_000:4_326_000] = b"x" * 5000
    assert (folder / "image").read_bytes() == whole


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist"])
def test_sqlite_with_a_rollback_journal(folder, journal):
    path = folder / "table.db"
    db = sqlite3.connect(path, timeout=20)
    assert db.execute(f"PRAGMA journal_mode={journal}").fetchone()[0] == journal
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
    for turn in range(6):
        with db:
            db.executemany("INSERT INTO t (body) VALUES (?)", [(f"{turn}-{i}" * 20,) for i in range(200)])
    db.execute("BEGIN")
    db.execute("DELETE FROM t")
    db.rollback()
    with db:
        db.execute("UPDATE t SET body = 'x' WHERE id % 2 = 0")
    db.close()
    again = sqlite3.connect(path)
    assert again.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert again.execute("SELECT count(*), sum(body = 'x') FROM t").fetchone() == (1200, 600)
    again.close()


def test_sqlite_goes_back_after_a_crash(folder):
    """The journal of a program that was killed in mid-transaction is used by the next one."""
    path = folder / "table.db"
    code = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("CREATE TABLE t (body TEXT)")
with db:
    db.executemany("INSERT INTO t VALUES (?)", [("a" * 500,)] * 2000)
db.execute("PRAGMA cache_size=5")
db.execute("BEGIN")
db.execute("UPDATE t SET body = 'half'")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code, str(path)], timeout=60)
    db = sqlite3.connect(path, timeout=20)
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert db.execute("SELECT count(*), sum(body = 'half') FROM t").fetchone() == (2000, 0)
    db.close()


def test_fio_verifies_what_it_wrote(folder, tmp_path):
    need("fio")
    for name, *options in (("sequential", "--rw=write", "--bs=256k", "--size=12m"),
                           ("random", "--rw=randwrite", "--bs=4k-64k", "--size=6m"),
                           ("mapped", "--rw=randrw", "--bs=4k", "--size=4m", "--ioengine=mmap"),
                           ("many", "--rw=randwrite", "--bs=16k", "--size=1m", "--numjobs=4")):
        run("fio", f"--name={name}", f"--directory={folder}", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1",
            "--randseed=7", "--fallocate=none", "--end_fsync=1", "--thread", *options, cwd=tmp_path)
        run("fio", f"--name={name}", f"--directory={folder}", "--verify=crc32c", "--verify_only", "--verify_fatal=1",
            "--randseed=7", "--fallocate=none", "--thread", *options, cwd=tmp_path)


# --- images --------------------------------------------------------------------------------------


def test_gdal_writes_and_edits_in_place(folder):
    gdal = pytest.importorskip("osgeo.gdal", reason="python3-gdal is not installed: run scripts/setup")
    gdal.UseExceptions()
    path = str(folder / "image.tif")
    made = gdal.GetDriverByName("GTiff").Create(path, 1000, 700, 3, options=["TILED=YES", "COMPRESS=DEFLATE"])
    made.SetGeoTransform((0, 1, 0, 0, 0, -1))
    for band in (1, 2, 3):
        made.GetRasterBand(band).WriteRaster(0, 0, 1000, 700, bytes([band * 10]) * 700_000)
    made = None
    edit = gdal.Open(path, gdal.GA_Update)
    edit.GetRasterBand(2).WriteRaster(100, 100, 50, 50, bytes(range(50)) * 50)
    edit.SetMetadataItem("EVENT", "flood")
    edit.BuildOverviews("AVERAGE", [2, 4])
    edit = None
    seen = gdal.Open(path)
    assert seen.GetRasterBand(2).ReadRaster(100, 100, 50, 50) == bytes(range(50)) * 50
    assert seen.GetRasterBand(3).ReadRaster(0, 0, 1000, 700) == bytes([30]) * 700_000
    assert seen.GetMetadataItem("EVENT") == "flood" and seen.GetRasterBand(1).GetOverviewCount() == 2


def test_gdal_programs(folder):
    need("gdal_translate")
    run("gdal_create", "-of", "GTiff", "-outsize", 800, 600, "-bands", 1, "-burn", 7, "-a_srs", "EPSG:4326", "-a_ullr", 0,
        1, 1, 0, folder / "a.tif")
    run("gdal_translate", "-q", "-of", "COG", folder / "a.tif", folder / "b.tif")
    run("gdalwarp", "-q", "-t_srs", "EPSG:3857", folder / "b.tif", folder / "c.tif")
    run("gdalbuildvrt", "-q", folder / "all.vrt", folder / "a.tif", folder / "b.tif")
    run("ogr2ogr", "-f", "GPKG", folder / "t.gpkg", "/vsistdin/", stdin=b'{"type":"FeatureCollection","features":[{"type":'
        b'"Feature","properties":{"n":1},"geometry":{"type":"Point","coordinates":[1,2]}}]}')
    for name in ("a.tif", "b.tif", "c.tif", "all.vrt"):
        assert b"Band 1" in run("gdalinfo", "-checksum", folder / name)
    assert b"Feature Count: 1" in run("ogrinfo", "-so", "-al", folder / "t.gpkg")


# --- editors -------------------------------------------------------------------------------------


def test_sed_in_place(folder):
    (folder / "notes").write_text("one\ntwo\n")
    run("sed", "-i.old", "s/two/three/", folder / "notes")
    assert (folder / "notes").read_text() == "one\nthree\n" and (folder / "notes.old").read_text() == "one\ntwo\n"
    assert sorted(os.listdir(folder)) == ["notes", "notes.old"]


@pytest.mark.parametrize("backupcopy", ["no", "yes", "auto"])
def test_vim_saves(folder, backupcopy):
    vim = shutil.which("vim.tiny") or need("vim")
    (folder / "notes").write_text("one\n")
    run(vim, "-N", "-u", "NONE", "-i", "NONE", "-es", "-c", f"set backup writebackup backupskip= backupcopy={backupcopy}",
        "-c", "%s/one/two/", "-c", "wq", folder / "notes")
    assert (folder / "notes").read_text() == "two\n" and (folder / "notes~").read_text() == "one\n"
    assert sorted(os.listdir(folder)) == ["notes", "notes~"]


def test_a_new_file_takes_the_place_of_the_old_one(folder):
    """As QGIS, LibreOffice and most others save: write beside, fsync, rename over."""
    (folder / "notes").write_text("one\n")
    for turn in range(20):
        with open(folder / ".notes.tmp", "x") as f:
            f.write(f"turn {turn}\n")
            f.flush()
            os.fsync(f.fileno())
        os.rename(folder / ".notes.tmp", folder / "notes")
        assert (folder / "notes").read_text() == f"turn {turn}\n"
    assert os.listdir(folder) == ["notes"]

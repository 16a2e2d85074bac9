"""Cases 9 to 24: programs that write in their own ways, names of all kinds, and several writers at once."""
import errno
import json
import os
import shutil
import subprocess
import threading
import time

import pytest

from acts import attribute, ends, in_batch, map_of, named, need, one_job, only_the_last_becomes_a_job, run
from harness import wait_for
from images import gate, tiff, write_pipeline
from site_of_blobs import RENAME_NOREPLACE, batch_pool, errno_of, rename2

MIB = 1 << 20


def first_step_runs(job):
    wait_for("the first step runs", lambda: (job / "steps/look/stdout.txt").read_text() == "waiting\n", 30)


def test_case_09_a_file_larger_than_the_cache_fails_alone(make_mount, tmp_path):
    """9: an image that does not fit cache_size: ENOSPC at the write, the log says why, others are unharmed."""
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "poll=0.1", "cache_size=16M", "block_size=1M").start()
    (m.path / "inbox/flood").mkdir()
    other = m.path / "containers/ada/other"
    other.write_bytes(b"other" * 1000)
    done = run("dd", "if=/dev/urandom", f"of={m.path}/inbox/flood/big.tif", "bs=1M", "count=40", want=1)
    assert "No space left" in done.stderr and "40+0 records in" not in done.stderr
    assert "flood/big.tif" in m.log.read_text() and "cache_size" in m.log.read_text()
    wait_for("it is gone", lambda: os.listdir(m.path / "inbox/flood") == [], 20)
    only_the_last_becomes_a_job(m)
    assert other.read_bytes() == b"other" * 1000 and os.listdir(m.path / "rejected") == []


@pytest.fixture
def small_disk(make_mount, emulator, tmp_path):
    """A mount whose files being written lie on a disk of 12 MiB: m.state."""
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "pool=asleep", "attr_timeout=0", env=emulator.settings)
    m.state.mkdir()
    batch_pool(emulator)
    if run("mount", "-t", "tmpfs", "-o", "size=12m", "adafs-test", m.state, want=None).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        m.start()
        (m.path / "inbox/flood").mkdir()
        yield m
        assert m.alive()
    finally:
        m.unmount()
        run("umount", m.state)


def write_fails(m, code):
    """A large file fails with this; what is stored is read, listed and reported as before."""
    with open(m.path / "containers/ada/new", "wb", buffering=0) as f:
        assert errno_of(lambda: [f.write(os.urandom(MIB)) for _ in range(30)]) == code
        f.truncate(0)
    assert (m.path / "containers/ada/kept").read_bytes() == b"kept" * MIB
    assert "http" in json.loads((m.path / "status.json").read_text())


def goes_on(m):
    (m.path / "inbox/flood/after.tif").write_bytes(tiff(1, 1000))
    one_job(m, "flood-after")


def test_case_10_a_full_cache_disk(small_disk):
    """10: the disk is full: ENOSPC to the writer, the mount stays up, and goes on when there is room."""
    (small_disk.path / "containers/ada/kept").write_bytes(b"kept" * MIB)
    wait_for("what was written has left the disk", lambda: shutil.disk_usage(small_disk.state).free > 11.5 * MIB, 20)
    (small_disk.state / "somebody else's").write_bytes(bytes(11 * MIB))
    write_fails(small_disk, errno.ENOSPC)
    assert "write to 'ada/new' failed: No space left" in small_disk.log.read_text()
    (small_disk.state / "somebody else's").unlink()
    goes_on(small_disk)


def test_case_10_a_cache_disk_that_becomes_read_only(small_disk):
    """10: the disk is remounted read-only: EROFS to the writer, and all goes on when it is not."""
    (small_disk.path / "containers/ada/kept").write_bytes(b"kept" * MIB)
    wait_for("nothing on it is being written", lambda: not run("mount", "-o", "remount,ro", small_disk.state, want=None).returncode, 20)
    write_fails(small_disk, errno.EROFS)
    run("mount", "-o", "remount,rw", small_disk.state)
    goes_on(small_disk)


def test_case_10_a_cache_directory_that_is_deleted(small_disk):
    """10: the directory of files being written is deleted: it is made again, or the error is one of a disk."""
    shutil.rmtree(small_disk.state / "spool")
    try:
        (small_disk.path / "containers/ada/new").write_bytes(os.urandom(2 * MIB))
    except OSError as e:
        assert e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def test_case_11_mv_from_another_file_system(mounted, tmp_path):
    """11: mv into inbox/ copies and unlinks: one job, and the source is gone."""
    (tmp_path / "a.tif").write_bytes(tiff(1))
    run("mv", tmp_path / "a.tif", mounted.path / "inbox/flood/")
    ends(one_job(mounted, "flood-a"), "completed")
    assert not (tmp_path / "a.tif").exists() and len(in_batch(mounted)) == 1


def test_case_11_mv_from_the_same_mount(mounted):
    """11: mv from containers/ into inbox/: the bytes pass the check, one job, and the source is gone."""
    source = mounted.path / "containers/ada/here.tif"
    source.write_bytes(tiff(2))
    run("mv", source, mounted.path / "inbox/flood/a.tif")
    job = ends(one_job(mounted, "flood-a"), "completed")
    assert (job / "image").read_bytes() == tiff(2) and not source.exists() and len(in_batch(mounted)) == 1


def test_case_11_renames_that_must_not_replace(held):
    """11: RENAME_NOREPLACE is honoured in inbox/: EEXIST, and both images stay as they are."""
    a, b = held.path / "inbox/flood/a.tif", held.path / "inbox/flood/b.tif"
    a.write_bytes(tiff(1))
    b.write_bytes(tiff(2))
    assert errno_of(lambda: rename2(a, b, RENAME_NOREPLACE)) == errno.EEXIST
    assert a.read_bytes() == tiff(1) and b.read_bytes() == tiff(2)
    one_job(held, "flood-a"), one_job(held, "flood-b")


@pytest.mark.parametrize("how", [[], ["--partial"], ["--inplace"]], ids=["plain", "partial", "inplace"])
def test_case_12_rsync(held, tmp_path, how):
    """12: rsync in each of its ways: one job an image, times are kept, a second run sends nothing."""
    need("rsync")
    source = tmp_path / "src"
    source.mkdir()
    for i in range(2):
        (source / f"r{i}.tif").write_bytes(tiff(i))
        os.utime(source / f"r{i}.tif", ns=(10**18 + i, 10**18 + i))
    command = ["rsync", "-rt", "--stats", *how, f"{source}/", f"{held.path}/inbox/flood/"]
    assert "regular files transferred: 2" in run(*command).stdout
    assert (held.path / "inbox/flood/r1.tif").stat().st_mtime_ns == 10**18 + 1
    assert "regular files transferred: 0" in run(*command).stdout
    jobs = [one_job(held, f"flood-r{i}") for i in range(2)]
    (tmp_path / "open").touch()
    for job in jobs:
        ends(job, "completed")
    if "--inplace" in how:  # the next test
        return
    # The images have left inbox/ by now, so rsync sends them again: they are the same jobs.
    wait_for("inbox/ is empty", lambda: os.listdir(held.path / "inbox/flood") == [], 20)
    run(*command)
    (held.path / "inbox/flood/last.tif").write_bytes(tiff(99))
    ends(one_job(held, "flood-last"), "completed")
    assert len(held.jobs()) == len(in_batch(held)) == 3


def test_case_12_rsync_inplace_of_images_that_are_done(mounted, tmp_path):
    """12: rsync --inplace again after all jobs have ended: success, and no second run."""
    need("rsync")
    (tmp_path / "src").mkdir()
    for i in range(20):
        (tmp_path / "src" / f"r{i}.tif").write_bytes(tiff(i))
    run("cp", *(tmp_path / "src").iterdir(), mounted.path / "inbox/flood/")
    mounted.wait_jobs(20)
    wait_for("inbox/ is empty", lambda: os.listdir(mounted.path / "inbox/flood") == [], 20)
    time.sleep(1)  # Last-Modified has whole seconds: what is written in the second of the end looks older than it
    run("rsync", "-rt", "--inplace", f"{tmp_path}/src/", f"{mounted.path}/inbox/flood/")
    assert len(mounted.jobs()) == len(in_batch(mounted)) == 20


def test_case_13_savers_with_temporary_names(mounted):
    """13: files of browsers, desktops and sync programs start nothing until they get their real name."""
    inbox = mounted.path / "inbox/flood"
    temporary = [".goutputstream-AB12CD", "b.tif.part", "c.tif.crdownload", ".syncthing.d.tif.tmp", "e.tif.filepart", "f.tif.tmp"]
    for i, name in enumerate(temporary):
        (inbox / name).write_bytes(tiff(i))
    only_the_last_becomes_a_job(mounted)
    for i, name in enumerate(temporary):
        run("mv", inbox / name, inbox / f"real{i}.tif")
    for i in range(len(temporary)):
        assert (ends(one_job(mounted, f"flood-real{i}"), "completed") / "image").read_bytes() == tiff(i)
    assert len(in_batch(mounted)) == len(temporary) + 1 and os.listdir(inbox) == []


def test_case_14_files_of_editors(mounted):
    """14: vim edits a file beside an image: saved, with its swap and backup files, and none of them is a job."""
    vim = shutil.which("vim.tiny") or need("vim")
    inbox = mounted.path / "inbox/flood"
    (inbox / "a.prj").write_text("one\n")
    run(vim, "-N", "-u", "NONE", "-i", "NONE", "-es", "-c", "set swapfile backup writebackup backupskip= updatecount=1",
        "-c", "%s/one/two/", "-c", "preserve", "-c", "wq", inbox / "a.prj")
    assert (inbox / "a.prj").read_text() == "two\n" and (inbox / "a.prj~").read_text() == "one\n"
    # vim's probe of the directory, its swap file, locks of LibreOffice; all with the bytes of an image.
    (inbox / "4913").touch()
    (inbox / "4913").unlink()
    for name in (".a.prj.swp", ".a.tif.swp", "a.tif~", ".~lock.a.tif#"):
        (inbox / name).write_bytes(tiff(1))
    # What Emacs saves while one types is refused if it is no image.
    assert errno_of(lambda: (inbox / "#a.prj#").write_text("tw")) == errno.EBADMSG
    only_the_last_becomes_a_job(mounted)


def test_case_15_the_same_bytes_again_are_the_same_job(mounted, tmp_path):
    """15: cp of an image that has been done already: no new job, the old one is not run again."""
    (tmp_path / "a.tif").write_bytes(tiff(1))
    for _ in range(2):
        run("cp", tmp_path / "a.tif", mounted.path / "inbox/flood/a.tif")
        first = ends(one_job(mounted, "flood-a"), "completed")
    (mounted.path / "inbox/flood/last.tif").write_bytes(tiff(2))
    ends(one_job(mounted, "flood-last"), "completed")
    assert in_batch(mounted) == sorted(mounted.jobs()) and len(mounted.jobs()) == 2
    assert (first / "events").read_text().count("submitted as") == 1


def test_case_15_an_image_again_when_nothing_is_believed(make_mount, tmp_path):
    """15: the same with attr_timeout=0: cp over an image that has left inbox/ succeeds."""
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "poll=0.1", "attr_timeout=0").start()
    (m.path / "inbox/flood").mkdir()
    (tmp_path / "a.tif").write_bytes(tiff(1))
    run("cp", tmp_path / "a.tif", m.path / "inbox/flood/a.tif")
    ends(one_job(m, "flood-a"), "completed")
    run("cp", tmp_path / "a.tif", m.path / "inbox/flood/a.tif")


def test_case_16_new_bytes_while_the_first_job_runs(make_mount, tmp_path):
    """16: a new version while the first job runs: another job; the first one goes on with its own version."""
    pipeline = json.loads(write_pipeline(tmp_path / "slow.json").read_text())
    # The image is fetched by a step that starts only after the new version is there.
    pipeline["steps"].insert(0, {"name": "wait", "command": gate(tmp_path / "open") + "; touch done", "outputs": {"done": "done"}})
    pipeline["steps"][1]["after"] = ["wait"]
    (tmp_path / "slow.json").write_text(json.dumps(pipeline))
    m = make_mount(f"pipeline={tmp_path / 'slow.json'}", "poll=0.1", "attr_timeout=1").start()
    (m.path / "inbox/flood").mkdir()
    path = m.path / "inbox/flood/a.tif"
    path.write_bytes(tiff(1))
    first = one_job(m, "flood-a")
    wait_for("it waits", lambda: (first / "steps/wait/stdout.txt").read_text() == "waiting\n", 30)
    path.write_bytes(tiff(2, 32))
    wait_for("another job", lambda: len(named(m, "flood-a")) == 2, 30)
    (tmp_path / "open").touch()
    sizes = {job.name: (m.path / "results/flood" / ends(job, "completed").name / "report.txt").read_text().strip()
             for job in named(m, "flood-a")}
    assert sizes.pop(first.name) == str(len(tiff(1))) and list(sizes.values()) == [str(len(tiff(2, 32)))]
    wait_for("the map is of the new version", lambda: map_of(m) == [str(len(tiff(2, 32)))], 20)


def test_case_17_two_hosts_copy_one_name(make_site, tmp_path):
    """17: the first to close owns the name, the other gets ESTALE and its bytes are kept; one job, never a blend."""
    pipeline = f"pipeline={write_pipeline(tmp_path / 'tiny.json')}"
    hosts = [make_site(pipeline, "attr_timeout=1", "poll=0.1", name=name).mount for name in ("one", "two")]
    (hosts[0].path / "inbox/flood").mkdir()
    wait_for("both see the event", lambda: (hosts[1].path / "inbox/flood").is_dir(), 20)
    first, second = (open(m.path / "inbox/flood/a.tif", "wb", buffering=0) for m in hosts)
    first.write(tiff(1))
    second.write(tiff(2))
    first.close()
    assert errno_of(second.close) == errno.ESTALE
    kept = hosts[1].path / "rejected/flood/a.tif"
    wait_for("the bytes of the loser are kept", lambda: kept.exists() and kept.read_bytes() == tiff(2), 20)
    assert kept.with_name("a.tif.reason").read_text().strip()
    job = one_job(hosts[0], "flood-a")
    wait_for("it is submitted", lambda: in_batch(hosts[0]), 20)
    assert in_batch(hosts[0]) == [job.name]
    assert all((m.path / "containers/ada/images/flood/a.tif").read_bytes() == tiff(1) for m in hosts)


def test_case_18_two_mounts_see_one_new_image(make_mount, emulator, tmp_path):
    """18: an image whose mount died before it was submitted: of two other mounts one submits, the other adopts."""
    pipeline = f"pipeline={write_pipeline(tmp_path / 'tiny.json')}"
    dead, one, two = (make_mount(pipeline, "pool=local", "poll=0.1", env=emulator.settings, name=n) for n in ("dead", "one", "two"))
    dead.start(ADAFS_CRASH_AT="after-commit")
    (dead.path / "inbox/flood").mkdir()
    (dead.path / "inbox/flood/a.tif").write_bytes(tiff(1))
    wait_for("it has died", lambda: not dead.alive(), 20)
    threads = [threading.Thread(target=m.start) for m in (one, two)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    jobs = [ends(one_job(m, "flood-a"), "completed") for m in (one, two)]
    assert jobs[0].name == jobs[1].name and in_batch(one) == [jobs[0].name]
    wait_for("one map", lambda: map_of(one) == map_of(two) == [str(len(tiff(1)))], 20)


def test_case_19_litter_starts_nothing(mounted):
    """19: what file managers, network file systems and GIS leave beside images is kept, and no job."""
    names = [".DS_Store", "._a.tif", "Thumbs.db", "desktop.ini", ".directory", ".nfs0001", ".fuse_hidden0001", "a.tif.aux.xml",
             "a.tif.ovr", "a.tfw", "a.prj"]
    for i, name in enumerate(names):
        (mounted.path / "inbox/flood" / name).write_bytes(tiff(i))
    only_the_last_becomes_a_job(mounted)
    assert all((mounted.path / "inbox/flood" / name).read_bytes() == tiff(i) for i, name in enumerate(names))
    assert os.listdir(mounted.path / "rejected") == []


@pytest.mark.parametrize("name", [
    ".Trash-1000/files/a.tif", ".Trashes/a.tif", ".Spotlight-V100/Store-V2/a.tif",
    "flood/.Trash-1000/files/a.tif", "flood/.Trashes/a.tif"])
def test_case_19_folders_of_litter_start_nothing(mounted, name):
    """19: an image that a desktop moves to the trash folder of the mount is no work."""
    path = mounted.path / "inbox" / name
    path.parent.mkdir(parents=True)
    (mounted.path / "containers/ada/a.tif").write_bytes(tiff(1))
    run("mv", mounted.path / "containers/ada/a.tif", path, want=None)
    only_the_last_becomes_a_job(mounted)


def test_case_20_names_in_every_script(mounted, tmp_path):
    """20: NFC and NFD, emoji, right to left, spaces, percent signs and quotes: to the byte, and a job each."""
    names = ["caf\u00e9.tif", "cafe\u0301.tif", "\U0001f30a.tif", "\u05de\u05e4\u05d4.tif", " two  spaces .tif", "50%2F.tif", "a#b?c.tif",
             "a&b+c.tif", "it's \"so\".tif", "$(touch x);`id`.tif"]
    inbox = mounted.path / "inbox/flood"
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(tiff(i))
        run("cp", tmp_path / name, inbox / name)
    wait_for("a job each", lambda: len(mounted.jobs()) == len(names), 60)
    seen = {}
    for job in (mounted.path / "jobs").iterdir():
        ends(job, "completed")
        assert job.name.isascii() and len(job.name) <= 58
        seen[os.path.basename(os.readlink(job / "image"))] = (job / "image").read_bytes()
    assert seen == {name: tiff(i) for i, name in enumerate(names)}
    assert sorted(os.listdir(mounted.path / "containers/ada/images/flood")) == sorted(names)


@pytest.mark.parametrize("name, code", [(b"new\nline.tif", errno.EINVAL), (b"bad\xff.tif", errno.EILSEQ),
                                        (b"back\\slash.tif", errno.EINVAL), (b"\xef\xbf\xbe.tif", errno.EINVAL)])
def test_case_20_names_that_the_service_cannot_store(mounted, name, code):
    """20: what Azure cannot keep to the byte is refused when the name is made."""
    assert errno_of(lambda: open(os.fsencode(mounted.path) + b"/inbox/flood/" + name, "wb")) == code


def test_case_21_long_and_reserved_names(mounted):
    """21: names of 255 bytes, with a dash, a dot at the end, or reserved on Windows: a job each, ids short and apart."""
    names = ["x" * 251 + ".tif", "-rf.tif", "tail.", "CON", "aux.tif", "..tif.png", "A.tif", "a.tif", "a_.tif", "a-.tif"]
    for i, name in enumerate(names):
        (mounted.path / "inbox/flood" / name).write_bytes(tiff(7))
    # A name that starts with a dot is a temporary one.
    jobs = mounted.wait_jobs(len(names) - 1)
    assert set(jobs.values()) == {"completed"} and len({j.lower() for j in jobs}) == len(jobs) == len(names) - 1
    assert all(len(j) <= 58 and set(j) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for j in jobs)


def test_case_21_names_and_paths_that_are_too_long(mounted):
    """21: 256 bytes, a path above 1,024, more than 254 parts: ENAMETOOLONG when it is made, never EIO."""
    assert errno_of(lambda: open(mounted.path / "inbox/flood" / ("x" * 252 + ".tif"), "w")) == errno.ENAMETOOLONG
    for part, most in (("d" * 200, 6), ("d", 260)):
        path, made = mounted.path / "containers/ada", 0

        def deeper():
            nonlocal path, made
            while made < most:
                path = path / part
                path.mkdir(exist_ok=True)
                made += 1
        assert errno_of(deeper) == errno.ENAMETOOLONG


def test_case_22_blobs_that_no_tree_can_have(make_site):
    """22: a beside a/b, empty parts, no markers, archived, leased: shown once or hidden, counted, and never harmed."""
    site = make_site("attr_timeout=0")
    for name in ("a", "a/b", "x//y", "plain/f"):
        site.blobs.put("data/" + name, b"bytes of " + name.encode())
    site.blobs.put("data/cold", b"cold", x_ms_access_tier="Archive")
    site.blobs.put("data/leased", b"leased")
    site.blobs.call("PUT", "data/leased?comp=lease", b"", x_ms_lease_action="acquire", x_ms_lease_duration="-1").close()
    site.remount()
    assert sorted(os.listdir(site.dir)) == ["a", "cold", "leased", "plain", "x"]
    assert (site.dir / "a").is_dir() and (site.dir / "a/b").read_bytes() == b"bytes of a/b" and os.listdir(site.dir / "x") == []
    assert errno_of((site.dir / "cold").read_bytes) == errno.EIO
    assert attribute(site.dir / "cold", "user.adafs.tier").lower() == "archive" and "rehydrate" in site.mount.log.read_text()
    assert (site.dir / "leased").read_bytes() == b"leased"
    assert errno_of(lambda: (site.dir / "leased").write_bytes(b"changed")) == errno.EBUSY
    assert errno_of((site.dir / "x").rmdir) == errno.ENOTEMPTY
    wait_for("the log counts what is hidden", lambda: "1 blobs cannot be shown" in site.mount.log.read_text(), 20)
    assert site.blobs.get("data/a") == b"bytes of a" and site.blobs.get("data/x//y") == b"bytes of x//y"


def test_case_23_a_directory_of_300_images(make_mount, emulator, tmp_path):
    """23: cp -r of an event: every image has exactly one job, and what lies beside the images has none."""
    event = tmp_path / "storm"
    event.mkdir()
    for i in range(300):
        (event / f"i{i:03}.tif").write_bytes(tiff(i))
        if i % 10 == 0:
            (event / f"i{i:03}.tfw").write_text("1\n0\n0\n1\n0\n0\n")
    batch_pool(emulator)
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "pool=asleep", "attr_timeout=60", env=emulator.settings).start()
    run("cp", "-r", event, m.path / "inbox/")
    wait_for("every image has its job in Batch", lambda: len(in_batch(m)) >= 300, 80)
    jobs = in_batch(m)
    assert sorted(j.rsplit("-", 1)[0] for j in jobs) == [f"storm-i{i:03}" for i in range(300)]
    assert sorted(m.jobs()) == jobs and len(os.listdir(m.path / "inbox/storm")) == 330


def test_case_23_the_event_is_one_batch_job(make_mount, emulator, tmp_path):
    """23: with grouping=event nothing starts while the directory still comes; then one Batch job has all of it."""
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "pool=local", "grouping=event", "settle=2", "poll=0.2",
                   env=emulator.settings).start()
    (m.path / "inbox/storm").mkdir()
    for i in range(6):
        (m.path / f"inbox/storm/i{i}.tif").write_bytes(tiff(i))
        time.sleep(0.5)
        assert in_batch(m) == []
    m.wait_jobs(7)
    (event,) = in_batch(m)
    assert sorted(j.rsplit("-", 1)[0] for j in m.jobs()) == [*(f"storm-i{i}" for i in range(6)), "storm-merge"]
    assert set(m.jobs().values()) == {"completed"} and event in m.jobs()


def test_case_24_an_image_that_grows_is_a_new_version(held, tmp_path):
    """24: >> after submission: the running job is unaffected, and the new content has a job of its own."""
    path = held.path / "inbox/flood/a.tif"
    path.write_bytes(tiff(1))
    first = one_job(held, "flood-a")
    first_step_runs(first)
    subprocess.run(f"printf more >> '{path}'", shell=True, check=True, timeout=30)
    wait_for("another job", lambda: len(named(held, "flood-a")) == 2, 30)
    (tmp_path / "open").touch()
    sizes = {job.name: int((held.path / "results/flood" / ends(job, "completed").name / "report.txt").read_text())
             for job in named(held, "flood-a")}
    assert sizes.pop(first.name) == len(tiff(1)) and list(sizes.values()) == [len(tiff(1)) + 4]


@pytest.mark.parametrize("how", ["delete", "truncate", "rename"])
def test_case_24_an_image_that_goes_cancels_its_job(held, how):
    """24: rm cancels the job (the design says so), as truncation to a placeholder and mv to another name do."""
    path = held.path / "inbox/flood/a.tif"
    path.write_bytes(tiff(1))
    job = one_job(held, "flood-a")
    first_step_runs(job)
    if how == "delete":
        run("rm", path)
    elif how == "truncate":
        run("truncate", "-s", 0, path)
    else:
        run("mv", path, path.with_name("b.tif"))
    ends(job, "cancelled")
    assert "image deleted" in (job / "events").read_text()
    assert [j.name.rsplit("-", 1)[0] for j in (held.path / "jobs").iterdir() if j != job] == (["flood-b"] if how == "rename" else [])

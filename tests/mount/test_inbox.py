"""inbox/ and rejected/: which files become jobs, and which never do."""
import errno
import os
import shutil
import signal
import subprocess
import urllib.request

import pytest

from harness import wait_for
from images import gate, tiff, write_pipeline


@pytest.fixture
def mounted(make_mount, tmp_path):
    """Jobs run at once."""
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "poll=0.1", "attr_timeout=1").start()
    (m.path / "inbox/flood").mkdir()
    return m


@pytest.fixture
def gated(make_mount, tmp_path):
    """Jobs wait until the file `open` exists."""
    pipeline = write_pipeline(tmp_path / "gate.json", gate(tmp_path / "open"))
    m = make_mount(f"pipeline={pipeline}", "poll=0.1", "attr_timeout=1").start()
    (m.path / "inbox/flood").mkdir()
    yield m
    (tmp_path / "open").touch()


def only_job(m):
    return wait_for("one job", lambda: (jobs := list((m.path / "jobs").iterdir())) and len(jobs) == 1 and jobs[0])


def assert_no_job_but(m, n):
    """A later image gets its job, so an earlier one that would have got any has it by then."""
    (m.path / "inbox/flood/last.tif").write_bytes(tiff(999))
    assert len(m.wait_jobs(n + 1)) == n + 1


def refused(path, data):
    with pytest.raises(OSError) as e:
        path.write_bytes(data)
    return e.value.errno


def test_files_of_the_root_belong_to_the_event_default(mounted):
    (mounted.path / "inbox/x.tif").write_bytes(tiff(1))
    (job,) = mounted.wait_jobs(1)
    assert job.startswith("default-x-")
    assert (mounted.path / "containers/ada/images/default/x.tif").read_bytes() == tiff(1)
    assert (mounted.path / "results/default" / job / "report.txt").exists()


def test_an_image_is_seen_until_its_job_has_ended(gated, tmp_path):
    for path in (gated.path / "inbox/x.tif", gated.path / "inbox/flood/y.tif"):
        path.write_bytes(tiff(1))
        assert path.read_bytes() == tiff(1) and path.stat().st_size == len(tiff(1))
    assert sorted(os.listdir(gated.path / "inbox")) == ["flood", "x.tif"]
    assert os.listdir(gated.path / "inbox/flood") == ["y.tif"]
    (tmp_path / "open").touch()
    assert set(gated.wait_jobs(2).values()) == {"completed"}
    wait_for("both have left", lambda: os.listdir(gated.path / "inbox") == ["flood"]
             and os.listdir(gated.path / "inbox/flood") == [], 15)
    assert (gated.path / "containers/ada/images/flood/y.tif").read_bytes() == tiff(1)


def test_a_failed_image_stays(make_mount, tmp_path):
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'bad.json', 'exit 3')}", "poll=0.1", "attr_timeout=1").start()
    (m.path / "inbox/a.tif").write_bytes(tiff(1))
    (job,) = m.wait_jobs(1)
    assert m.jobs()[job] == "failed"
    assert "3" in (m.path / "jobs" / job / "steps/look/failure").read_text()
    assert (m.path / "jobs" / job / "steps/look/exit_code").read_text() == "3\n"
    assert "01-look.failed" in os.listdir(m.path / "jobs" / job / "steps")
    assert os.listdir(m.path / "inbox") == ["a.tif"]
    assert os.getxattr(m.path / "inbox/a.tif", "user.adafs.state") == b"failed"


@pytest.mark.parametrize("name", [".a.tif.Xy12", "a.tif~", "a.tif.part", "a.tif.tmp", "a.tif.crdownload", "a.tif.filepart"])
def test_a_temporary_name_starts_nothing_until_it_is_renamed(mounted, name):
    temporary = mounted.path / "inbox/flood" / name
    temporary.write_bytes(tiff(5))
    assert temporary.read_bytes() == tiff(5)
    assert_no_job_but(mounted, 0)
    temporary.rename(mounted.path / "inbox/flood/real.tif")
    jobs = mounted.wait_jobs(2)
    assert any(j.startswith("flood-real-") for j in jobs)
    assert (mounted.path / "containers/ada/images/flood/real.tif").read_bytes() == tiff(5)


def test_a_temporary_file_that_is_no_image_cannot_get_a_real_name(mounted):
    temporary = mounted.path / "inbox/flood/.a.tif.Xy12"
    temporary.write_bytes(tiff(5)[:100])
    with pytest.raises(OSError) as e:
        temporary.rename(mounted.path / "inbox/flood/a.tif")
    assert e.value.errno == errno.EBADMSG
    assert temporary.exists() and not (mounted.path / "inbox/flood/a.tif").exists()
    assert_no_job_but(mounted, 0)


def test_rsync(mounted, tmp_path):
    if not shutil.which("rsync"):
        pytest.skip("rsync is not installed")
    (tmp_path / "src").mkdir()
    for i in range(3):
        (tmp_path / "src" / f"r{i}.tif").write_bytes(tiff(i))
    subprocess.run(["rsync", "-rt", f"{tmp_path}/src/", f"{mounted.path}/inbox/flood/"], check=True, timeout=60)
    jobs = mounted.wait_jobs(3)
    assert sorted(j.rsplit("-", 1)[0] for j in jobs) == ["flood-r0", "flood-r1", "flood-r2"]


def test_sidecars_and_placeholders_start_nothing(mounted):
    for name in ("a.tfw", "a.prj", "a.tif.aux.xml", "a.tif.ovr"):
        (mounted.path / "inbox/flood" / name).write_bytes(b"beside an image")
    (mounted.path / "inbox/flood/empty.tif").touch()
    assert_no_job_but(mounted, 0)
    assert (mounted.path / "containers/ada/images/flood/a.tfw").read_bytes() == b"beside an image"
    assert (mounted.path / "inbox/flood/empty.tif").stat().st_size == 0


def test_a_shell_that_opens_twice_commits_once(mounted):
    """`{ a; b; } > f` flushes several times before the file is whole; only the last close counts."""
    whole = mounted.directory / "whole.tif"
    whole.write_bytes(tiff(3, 64))
    out = mounted.path / "inbox/flood/parts.tif"
    subprocess.run(f"{{ head -c 1000 {whole}; tail -c +1001 {whole}; }} > {out} || true", shell=True, timeout=30)
    jobs = mounted.wait_jobs(1)
    assert len(jobs) == 1 and (mounted.path / "containers/ada/images/flood/parts.tif").read_bytes() == tiff(3, 64)


@pytest.mark.parametrize("event", ["", "flood/"])
def test_what_is_no_image_is_refused_and_kept(mounted, event):
    cut = tiff(1, 64)[:-200]
    path = mounted.path / "inbox" / f"{event}cut.tif"
    assert refused(path, cut) == errno.EBADMSG
    rejected = mounted.path / "rejected" / f"{event}cut.tif"
    reason = mounted.path / "rejected" / f"{event}cut.tif.reason"
    wait_for("the reason", lambda: reason.exists() and rejected.exists(), 20)
    assert rejected.read_bytes() == cut and len(reason.read_text().splitlines()) == 1
    assert not path.exists()
    with pytest.raises(OSError):
        (mounted.path / "rejected" / f"{event}mine.tif").write_bytes(tiff(1))
    rejected.unlink()
    reason.unlink()
    assert not rejected.exists()
    assert_no_job_but(mounted, 0)


def test_a_killed_writer_starts_nothing(mounted):
    """The file is whole by its structure: only the signal tells that its writer had not finished."""
    source = mounted.directory / "whole.tif"
    source.write_bytes(tiff(7))
    path = mounted.path / "inbox/flood/killed.tif"
    writer = subprocess.Popen(["/bin/sh", "-c", f"exec 3> {path}; cat {source} >&3; echo ready; read wait"],
                              stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    # cat's own close is a FLUSH of a whole image that nobody killed, so the last byte comes from the shell itself.
    assert writer.stdout.readline() == b"ready\n"
    writer.kill()
    writer.wait(30)
    assert writer.returncode == -signal.SIGKILL
    pre_sized = subprocess.Popen(
        ["/usr/bin/python3", "-c", "import os,sys,time\n"
         f"f=os.open({str(mounted.path / 'inbox/flood/sized.tif')!r}, os.O_RDWR|os.O_CREAT)\n"
         f"os.write(f, open({str(source)!r},'rb').read())\nprint('ready', flush=True)\ntime.sleep(60)"],
        stdout=subprocess.PIPE)
    assert pre_sized.stdout.readline() == b"ready\n"
    pre_sized.kill()
    pre_sized.wait(30)
    (mounted.path / "inbox/flood/last.tif").write_bytes(tiff(999))
    wait_for("the last job", lambda: any(j.startswith("flood-last") for j in mounted.jobs()))
    assert not any(j.startswith("flood-sized") for j in mounted.jobs())


def test_the_same_image_again_is_the_same_job(mounted):
    (mounted.path / "inbox/flood/a.tif").write_bytes(tiff(1))
    first = mounted.wait_jobs(1)
    (mounted.path / "inbox/flood/a.tif").write_bytes(tiff(1))
    assert_no_job_but(mounted, 1)
    (mounted.path / "inbox/flood/a.tif").write_bytes(tiff(2))
    jobs = mounted.wait_jobs(3)
    assert set(first) <= set(jobs) and sum(j.startswith("flood-a-") for j in jobs) == 2


def test_rm_cancels_the_job_and_deletes_the_image(gated):
    path = gated.path / "inbox/flood/a.tif"
    path.write_bytes(tiff(1))
    job = only_job(gated)
    path.unlink()
    wait_for("the job is cancelled", lambda: (job / "state").read_text() == "cancelled\n", 30)
    assert not (gated.path / "containers/ada/images/flood/a.tif").exists()


def test_a_refused_second_half_leaves_the_committed_first_its_job(mounted):
    """A flush commits (a child that inherited the descriptor); what follows is refused."""
    path = mounted.path / "inbox/flood/a.tif"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(fd, tiff(1))
    os.close(os.dup(fd))
    os.ftruncate(fd, 50)
    with pytest.raises(OSError) as e:
        os.close(fd)
    assert e.value.errno == errno.EBADMSG
    assert list(mounted.wait_jobs(1, 20).values()) == ["completed"]
    assert (mounted.path / "containers/ada/images/flood/a.tif").read_bytes() == tiff(1)


def test_a_file_that_did_not_fit_makes_room_at_once(make_mount, tmp_path):
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'tiny.json')}", "cache_size=16M").start()
    (m.path / "inbox/flood").mkdir()
    fd = os.open(m.path / "inbox/flood/big.tif", os.O_CREAT | os.O_WRONLY)
    with pytest.raises(OSError) as e:
        while True:
            os.write(fd, bytes(1 << 20))
    assert e.value.errno == errno.ENOSPC
    with pytest.raises(OSError) as e:
        os.close(fd)
    assert e.value.errno == errno.ENOSPC
    wait_for("it is gone", lambda: os.listdir(m.path / "inbox/flood") == [], 10)
    (m.path / "inbox/flood/small.tif").write_bytes(tiff(1))
    m.wait_jobs(1)
    assert os.listdir(m.path / "rejected") == []


@pytest.mark.parametrize("how", ["rm", "ctl", "mv"])
def test_an_image_that_comes_back_while_its_job_is_being_cancelled_runs(gated, tmp_path, how):
    """cp returned 0 after the cancel was asked for: the end of the old run is not the end of the image."""
    path = gated.path / "inbox/flood/a.tif"
    path.write_bytes(tiff(1))
    job = only_job(gated)
    wait_for("the first step runs", lambda: (job / "steps/look/stdout.txt").read_text() == "waiting\n")
    if how == "mv":
        os.rename(path, gated.path / "inbox/flood/b.part")
        os.rename(gated.path / "inbox/flood/b.part", path)
    else:
        path.unlink() if how == "rm" else (job / "ctl").write_text("cancel\n")
        path.write_bytes(tiff(1))
    (tmp_path / "open").touch()
    wait_for("it runs to its end", lambda: (job / "state").read_text() == "completed\n", 30)
    assert list(gated.jobs()) == [job.name]
    wait_for("its map", lambda: (gated.path / "results/flood/all.txt").exists(), 20)


def test_a_cancel_holds_for_copies_made_before_it(gated):
    path = gated.path / "inbox/flood/a.tif"
    path.write_bytes(tiff(1))
    job = only_job(gated)
    wait_for("the first step runs", lambda: (job / "steps/look/stdout.txt").read_text() == "waiting\n")
    path.write_bytes(tiff(1))
    (job / "ctl").write_text("cancel\n")
    wait_for("it is cancelled", lambda: (job / "state").read_text() == "cancelled\n", 30)
    gated.unmount()
    gated.start()
    wait_for("it is known", lambda: gated.jobs() == {job.name: "cancelled"}, 30)
    path.with_name("last.tif").write_bytes(tiff(999))
    wait_for("a later image has its job", lambda: len(gated.jobs()) == 2, 30)
    assert gated.jobs()[job.name] == "cancelled"


def test_rename_moves_an_image_to_another_event(gated):
    path = gated.path / "inbox/a.tif"
    path.write_bytes(tiff(1))
    first = only_job(gated)
    os.rename(path, gated.path / "inbox/flood/b.tif")
    wait_for("the new place has a job", lambda: any(j.startswith("flood-b-") for j in gated.jobs()))
    wait_for("the old one is cancelled", lambda: (first / "state").read_text() == "cancelled\n", 30)
    assert sorted(os.listdir(gated.path / "inbox")) == ["flood"]
    os.rename(gated.path / "inbox/flood/b.tif", gated.path / "inbox/c.tif")
    wait_for("back in the event default", lambda: any(j.startswith("default-c-") for j in gated.jobs()))
    assert (gated.path / "containers/ada/images/default/c.tif").read_bytes() == tiff(1)
    assert sorted(os.listdir(gated.path / "inbox")) == ["c.tif", "flood"]


def test_attributes(gated, tmp_path):
    path = gated.path / "inbox/flood/a.tif"
    path.write_bytes(tiff(1))
    job = only_job(gated)
    assert os.getxattr(path, "user.adafs.job") == job.name.encode()
    assert os.getxattr(path, "user.adafs.state") in (b"queued", b"running")
    assert os.getxattr(path, "user.adafs.etag")
    names = os.listxattr(path)
    assert "user.adafs.job" in names and "user.adafs.url" not in names
    url = os.getxattr(path, "user.adafs.url").decode()
    with urllib.request.urlopen(url, timeout=20) as reply:
        assert reply.read() == tiff(1)
    for name in ("user.other", "user.adafs.none"):
        with pytest.raises(OSError) as e:
            os.getxattr(path, name)
        assert e.value.errno == errno.ENODATA


def test_a_directory_tree_is_copied_and_removed(mounted, tmp_path):
    (tmp_path / "event").mkdir()
    for i in range(5):
        (tmp_path / "event" / f"i{i}.tif").write_bytes(tiff(i))
    subprocess.run(["cp", "-r", str(tmp_path / "event"), str(mounted.path / "inbox/")], check=True, timeout=60)
    assert len(mounted.wait_jobs(5)) == 5
    (mounted.path / "inbox/flood").rmdir()
    assert "flood" not in os.listdir(mounted.path / "inbox")

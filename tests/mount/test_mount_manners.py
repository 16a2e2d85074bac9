"""mount(8), fstab, umount(8) and signals, in a mount namespace of the test's own."""
import errno
import os
import signal
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from harness import INTERRUPTIBLE, program, wait_for

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a mount namespace of its own")


class Namespace:
    """A mount namespace in which /sbin holds adafs and its helpers; nothing that is mounted there is seen outside."""

    def __init__(self, directory: Path, helper: bool):
        self.keeper = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", "echo; exec sleep 600"],
                                       stdout=subprocess.PIPE)
        assert self.keeper.stdout and self.keeper.stdout.readline() == b"\n"
        self.directory = directory
        # Copies of mounts of other tests would keep those from ending.
        for path in [line.split()[4] for line in self.mountinfo() if " - fuse" in line]:
            self.run("umount", "-i", "-l", path)
        extra = directory / "sbin"
        extra.mkdir()
        for name in ("adafs", "umount.fuse.adafs", *(["mount.fuse.adafs"] if helper else [])):
            (extra / name).symlink_to(program())
        done = self.run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={extra}:/usr/sbin", "/usr/sbin")
        if done.returncode:
            self.end()
            pytest.skip("an overlay cannot be mounted here: " + done.stderr)

    def argv(self, *argv: str) -> list[str]:
        return ["nsenter", "-m", "-t", str(self.keeper.pid), "--", *argv]

    def run(self, *argv: str, **kw) -> subprocess.CompletedProcess:
        return subprocess.run(self.argv(*argv), capture_output=True, text=True, timeout=60, **kw)

    def popen(self, *argv: str, **kw) -> subprocess.Popen:
        return subprocess.Popen(self.argv(*argv), text=True, **kw)

    def at(self, path: Path) -> Path:
        """A path of the namespace, as the test can reach it."""
        return Path(f"/proc/{self.keeper.pid}/root{path}")

    def mountinfo(self) -> list[str]:
        return Path(f"/proc/{self.keeper.pid}/mountinfo").read_text().splitlines()

    def mounts(self) -> list[list[str]]:
        """Mount point, flags, type and source of each adafs."""
        found = []
        for line in self.mountinfo():
            left, right = line.split(" - ")
            if right.startswith("fuse.adafs") and left.split()[4].startswith(str(self.directory)):
                found.append([left.split()[4], left.split()[5], *right.split()[:2]])
        return found

    def end(self) -> None:
        for mounted in self.mounts():
            self.run("umount", "-i", "-l", mounted[0])
        self.keeper.kill()
        self.keeper.wait()


class Place:
    """A namespace with a mount point and the settings of an emulator in a file."""

    def __init__(self, ns: Namespace, directory: Path, emulator):
        self.ns, self.directory = ns, directory
        self.mnt = directory / "mnt"
        self.mnt.mkdir()
        self.config = directory / "adafs.conf"
        self.config.touch(0o600)
        s = emulator.settings
        self.config.write_text(
            f"connection_string={s['AZURE_STORAGE_CONNECTION_STRING']}\nbatch_account={s['AZURE_BATCH_ACCOUNT']}\n"
            f"batch_key={s['AZURE_BATCH_ACCESS_KEY']}\nbatch_endpoint={s['AZURE_BATCH_ENDPOINT']}\n"
            f"dir={directory / 'state'}\npool=asleep\nlog_level=debug\n")

    def mount(self, *options: str) -> subprocess.CompletedProcess:
        # With _netdev mount(8) keeps a note of the mount, without which umount(8) takes its type for "fuse".
        options = ("_netdev", f"config={self.config}", *options)
        return self.ns.run("mount", "-t", "fuse.adafs", "-o", ",".join(options), "flood", str(self.mnt))

    def pid(self) -> int:
        return int(os.getxattr(self.ns.at(self.mnt), "user.adafs.pid"))

    def path(self, rest: str) -> Path:
        return self.ns.at(self.mnt) / rest

    def writer(self, name: str, seconds: float, words: str = "done") -> subprocess.Popen:
        """A process that holds a file open for writing for so long."""
        p = self.ns.popen("sh", "-c", f"exec 7> {self.mnt}/containers/ada/{name}; echo; sleep {seconds}; echo {words} >&7",
                          stdout=subprocess.PIPE)
        assert p.stdout and p.stdout.readline() == "\n"
        return p


@pytest.fixture(params=[True, False], ids=["mount.fuse.adafs", "mount.fuse3"])
def place(request, tmp_path, emulator):
    ns = Namespace(tmp_path, request.param)
    yield Place(ns, tmp_path, emulator)
    ns.end()


@pytest.fixture
def one_place(tmp_path, emulator):
    ns = Namespace(tmp_path, True)
    yield Place(ns, tmp_path, emulator)
    ns.end()


def gone(pid: int) -> bool:
    """Whether it has ended; who is its parent by now may not have noticed."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


@ROOT_ONLY
def test_a_line_of_fstab(place):
    fstab = place.directory / "fstab"
    fstab.write_text(f"flo\\040od,1 {place.mnt} fuse.adafs rw,_netdev,nofail,x-systemd.automount,x-systemd.idle-timeout=60,"
                     f"user=bob,comment=here,noexec,relatime,uid=nobody,gid=65534,umask=027,config={place.config} 0 0\n")
    done = place.ns.run("mount", "-T", str(fstab), str(place.mnt))
    assert done.returncode == 0, done.stderr
    [(_, flags, kind, source)] = place.ns.mounts()
    assert {"rw", "noexec", "nosuid", "nodev"} <= set(flags.split(",")) and kind == "fuse.adafs"
    assert source == "flo\\040od,1"
    script = place.path("containers/ada/script")
    script.write_text("#!/bin/sh\n")
    st = script.stat()
    assert (st.st_uid, st.st_gid) == (65534, 65534) and st.st_mode & 0o027 == 0
    with pytest.raises(PermissionError):
        os.chmod(script, 0o750)
        subprocess.run([str(script)])
    again = place.ns.run("mount", "-T", str(fstab), str(place.mnt))
    assert again.returncode == 32 and "already" in again.stderr
    pid = place.pid()
    done = place.ns.run("umount", str(place.mnt))
    assert done.returncode == 0 and done.stderr == ""
    assert gone(pid) and not place.ns.mounts()


@ROOT_ONLY
def test_read_only(place):
    assert place.mount("ro").returncode == 0
    assert "ro" in place.ns.mounts()[0][1].split(",")
    with pytest.raises(OSError) as caught:
        place.path("containers/ada/x").write_text("x")
    assert caught.value.errno == errno.EROFS


@ROOT_ONLY
@pytest.mark.parametrize("option, status, words", [
    ("contaner=x", 1, "'container'"), ("remount", 1, "again"), ("umask=9", 1, "octal"), ("uid=no-such-user", 1, "user"),
    ("config=/nowhere/adafs.conf", 1, "/nowhere"), ("container=Up", 1, "a-z")])
def test_exit_status_of_bad_options(one_place, option, status, words):
    done = one_place.mount(option)
    assert done.returncode == status and words in done.stderr, done.stderr
    assert not one_place.ns.mounts()


@ROOT_ONLY
@pytest.mark.parametrize("kind, words", [("missing", "mkdir"), ("file", "no directory"), ("full", "nonempty")])
def test_mount_points_that_will_not_do(one_place, kind, words):
    one_place.mnt.rmdir()
    if kind == "file":
        one_place.mnt.touch()
    elif kind == "full":
        one_place.mnt.mkdir()
        (one_place.mnt / "hidden").touch()
    done = one_place.mount()
    # mount(8) looks at the directory itself before it calls anybody.
    assert done.returncode == 32 and (words in done.stderr or "mount point" in done.stderr), done.stderr
    if kind == "full":
        assert one_place.mount("nonempty").returncode == 0
        assert not one_place.path("hidden").exists()


@ROOT_ONLY
def test_a_service_that_refuses_is_status_32(one_place):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        text = one_place.config.read_text()
        endpoint = text.split("BlobEndpoint=http://")[1].split("/")[0]
        one_place.config.write_text(text.replace(endpoint, f"127.0.0.1:{s.getsockname()[1]}"))
        done = one_place.mount("io_timeout=2")
    assert done.returncode == 32 and "127.0.0.1" in done.stderr, done.stderr
    assert not one_place.ns.mounts()


@ROOT_ONLY
def test_a_fake_mount_mounts_nothing(one_place):
    done = one_place.ns.run("mount", "-f", "-t", "fuse.adafs", "-o", f"config={one_place.config}", "x", str(one_place.mnt))
    assert done.returncode == 0 and not one_place.ns.mounts()


@ROOT_ONLY
def test_umount_waits_for_who_writes(one_place):
    assert one_place.mount().returncode == 0
    pid, writer = one_place.pid(), one_place.writer("slow", 1)
    done = one_place.ns.run("umount", str(one_place.mnt))
    assert done.returncode == 0 and "containers/ada/slow" in done.stderr and f"pid {writer.pid}" in done.stderr
    assert writer.wait(10) == 0 and gone(pid)
    assert one_place.mount().returncode == 0
    assert one_place.path("containers/ada/slow").read_text() == "done\n"


@ROOT_ONLY
def test_umount_names_who_keeps_it_busy(one_place):
    assert one_place.mount().returncode == 0
    one_place.path("containers/ada/open").write_text("x")
    stands = one_place.ns.popen("sh", "-c", f"cd {one_place.mnt}/jobs; echo; exec sleep 60", stdout=subprocess.PIPE)
    reads = one_place.ns.popen("sh", "-c", f"exec 5< {one_place.mnt}/containers/ada/open; echo; exec sleep 60",
                               stdout=subprocess.PIPE)
    assert stands.stdout and reads.stdout and stands.stdout.readline() + reads.stdout.readline() == "\n\n"
    begun = time.monotonic()
    done = one_place.ns.run("umount", str(one_place.mnt))
    assert done.returncode == 32 and time.monotonic() - begun < 10
    assert f"sleep (pid {stands.pid}, stands in jobs)" in done.stderr, done.stderr
    assert f"sleep (pid {reads.pid}, has open containers/ada/open)" in done.stderr, done.stderr
    assert one_place.path("jobs").is_dir()
    stands.kill()
    reads.kill()
    stands.wait()
    reads.wait()
    assert one_place.ns.run("umount", str(one_place.mnt)).returncode == 0


@ROOT_ONLY
def test_umount_has_a_deadline(one_place):
    assert one_place.mount().returncode == 0
    writer = one_place.writer("never", 60)
    done = one_place.ns.run("adafs", "umount", "-w", "0.5", str(one_place.mnt))
    assert done.returncode == 32 and "writes containers/ada/never" in done.stderr
    assert one_place.ns.run("adafs", "umount", "-l", str(one_place.mnt)).returncode == 0
    assert not one_place.ns.mounts()
    writer.kill()
    writer.wait()
    done = one_place.ns.run("adafs", "umount", str(one_place.mnt))
    assert done.returncode == 32 and "no adafs is mounted" in done.stderr


@ROOT_ONLY
def test_a_dead_mount_is_mounted_again(one_place):
    for _ in range(2):
        done = one_place.mount()
        assert done.returncode == 0, done.stderr
        assert "inbox" in os.listdir(one_place.path(""))
        pid = one_place.pid()
        os.kill(pid, signal.SIGKILL)
        wait_for("the process is gone", lambda: gone(pid), 20)
        with pytest.raises(OSError) as caught:
            os.listdir(one_place.path(""))
        assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    assert one_place.mount().returncode == 0
    assert len(one_place.ns.mounts()) == 1 and "inbox" in os.listdir(one_place.path(""))


@pytest.fixture
def user_dir():
    """A directory that user nobody may use."""
    path = Path(tempfile.mkdtemp(prefix="adafs-test-"))
    shutil.chown(path, 65534, 65534)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@ROOT_ONLY
def test_mount_and_umount_as_a_user(emulator, user_dir):
    mnt = user_dir / "mnt"
    mnt.mkdir()
    shutil.chown(mnt, 65534, 65534)
    env = emulator.environment() | {f"XDG_{what}_HOME": str(user_dir / what) for what in ("CONFIG", "DATA", "CACHE")}
    binary = shutil.copy(program(), user_dir / "adafs")
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    done = subprocess.run([*user, binary, "-o", "pool=asleep", str(mnt)], env=env, capture_output=True, text=True, timeout=60)
    if done.returncode and ("fusermount3" in done.stderr or "/dev/fuse: Permission denied" in done.stderr):
        pytest.skip("users may not mount here: " + done.stderr)
    assert done.returncode == 0, done.stderr
    try:
        with pytest.raises(PermissionError):
            os.listdir(mnt)
        done = subprocess.run([*user, "sh", "-c", f"cd {mnt}; {binary} umount {mnt}"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 32 and "stands in ." in done.stderr, done.stderr
        done = subprocess.run([*user, binary, "umount", str(mnt)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["umount", "-i", "-l", str(mnt)], capture_output=True)


def test_sigterm_lets_writers_end(make_mount, emulator):
    m = make_mount("pool=asleep", env=emulator.settings).start()
    with open(m.path / "containers/ada/late", "w") as late:
        late.write("not yet")
        m.process.send_signal(signal.SIGTERM)

        def refused():
            try:
                (m.path / "containers/ada/more").write_text("x")
            except OSError as e:
                return e.errno == errno.ESHUTDOWN
        wait_for("files are no more opened for writing", refused, 20)
        assert m.alive() and (m.path / "jobs").is_dir()
        late.write(", now")
    assert m.process_ends_within(20) and m.process.returncode == 0
    assert not os.path.ismount(m.path)
    m.start()
    assert (m.path / "containers/ada/late").read_text() == "not yet, now"


def test_a_second_signal_waits_for_nobody(make_mount, emulator):
    m = make_mount("pool=asleep", env=emulator.settings).start()
    fd = os.open(m.path / "containers/ada/never", os.O_WRONLY | os.O_CREAT)
    try:
        m.process.send_signal(signal.SIGTERM)
        assert not m.process_ends_within(1)
        m.process.send_signal(signal.SIGTERM)
        assert m.process_ends_within(20) and not os.path.ismount(m.path)
    finally:
        with pytest.raises(OSError):
            os.close(fd)


def test_who_stands_inside_does_not_keep_a_signal_from_ending_it(make_mount, emulator):
    m = make_mount("pool=asleep", env=emulator.settings).start()
    fd = os.open(m.path / "jobs", os.O_RDONLY | os.O_DIRECTORY)
    m.process.send_signal(signal.SIGTERM)
    assert m.process_ends_within(20) and m.process.returncode == 0 and not os.path.ismount(m.path)
    # Another one there is not taken away by the end of the first.
    m.start()
    os.close(fd)
    assert m.ready()


def test_hangup_of_a_daemon_reads_settings_again(make_mount, emulator):
    m = make_mount("pool=asleep", env=emulator.settings).start()
    m.process.send_signal(signal.SIGHUP)
    wait_for("the log says it", lambda: "SIGHUP: log_level is debug" in m.log.read_text(), 20)
    assert m.ready() and m.alive()
    conf = m.directory / "config/adafs/adafs.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text("poool=x\n")
    m.process.send_signal(signal.SIGHUP)
    wait_for("the log says it", lambda: "stay as they are" in m.log.read_text(), 20)
    assert m.ready()
    conf.unlink()


def test_systemd_is_told(make_mount, emulator, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(20)
        m = make_mount("pool=asleep", env=emulator.settings).start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert s.recv(100) == b"READY=1"
        m.unmount()
        assert s.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_mount_leaves_nothing(tmp_path, emulator, sig):
    """The Blob service takes connections and says nothing."""
    mnt = tmp_path / "mnt"
    mnt.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as hole:
        asked = threading.Event()
        held = []

        def take():
            held.append(hole.accept())
            asked.set()
        threading.Thread(target=take, daemon=True).start()
        env = emulator.environment() | {"XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
        parts = env["AZURE_STORAGE_CONNECTION_STRING"]
        endpoint = parts.split("BlobEndpoint=http://")[1].split("/")[0]
        env["AZURE_STORAGE_CONNECTION_STRING"] = parts.replace(endpoint, f"127.0.0.1:{hole.getsockname()[1]}")
        p = subprocess.Popen([*INTERRUPTIBLE, program(), "-o", "pool=asleep", str(mnt)], env=env, stderr=subprocess.PIPE,
                             text=True)
        assert asked.wait(20)
        p.send_signal(sig)
        assert p.wait(10) == 8 and p.stderr and "nothing is mounted" in p.stderr.read()
        assert not os.path.ismount(mnt)
        held[0][0].settimeout(10)
        while held[0][0].recv(65536):  # the child's end of it is closed: it is gone
            pass

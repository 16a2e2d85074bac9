"""An event of pairs, some of which go wrong, while adafs is killed again and again: the end is always the same.

The commands are the shell's, the shape is that of tests/mount/test_flood.py: branches side by side, a result, a merge;
a pair that is empty, one that fails until its cause is removed, one half that waits for a partner that was refused. Each
step says in a file when it begins and when it succeeds, so that nothing can run twice unseen."""
import errno
import hashlib
import json
import os
import random
import shutil
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness import ROOT, batch_get, trap, wait_for

sys.path.insert(0, str(ROOT / "tests" / "mount"))
from gateway import Gate  # noqa: E402
from images import gate, tiff  # noqa: E402
from site_of_blobs import Blobs  # noqa: E402

EMPTY, CORRUPT, FAILING = "s04", "s07", "s09"
WHOLE = [f"s{k:02}" for k in range(13)]
SMALL = ["s00", EMPTY, CORRUPT, "s08", FAILING]
STEPS = ["look", "left", "right", "tell"]
ROLES = ("pre", "post")
ENDED = {"completed", "failed", "cancelled", "empty"}
N_KILLS = int(os.environ.get("ADAFS_TEST_KILLS", "30"))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


class Flood:
    """The event flood and the older flood2, one name a prefix of the other, their pipeline, and what a user does."""

    def __init__(self, folder: Path, scenes: list[str]):
        self.folder, self.scenes = folder, scenes
        self.good = [s for s in scenes if s not in (EMPTY, CORRUPT, FAILING)]
        self.log, self.mended, self.open = folder / "log", folder / "mended", folder / "open"
        self.sources = {"flood": scenes, "flood2": ["s00"]}
        for n, (event, names) in enumerate(self.sources.items()):
            for r, role in enumerate(ROLES):
                (folder / event / role).mkdir(parents=True)
                for k, name in enumerate(names):
                    self.source(event, role, name).write_bytes(tiff(1000 * n + 100 * r + k))
        broken = self.source("flood", "post", CORRUPT)
        broken.write_bytes(broken.read_bytes()[:-20])
        self.open.touch()
        self.log.touch()
        self.pipeline = self.write_pipeline()

    def source(self, event, role, name) -> Path:
        return self.folder / event / role / f"{name}.tif"

    def write_pipeline(self) -> Path:
        def step(name, command, outputs, **more):
            said = f"$ADAFS_JOB {name}\" >> {self.log}"
            return {"name": name, "command": f"echo \"begin {said}; {command} && echo \"done {said}",
                    "outputs": {"o": outputs}, **more}
        name = "$(basename {pre} .tif)"
        steps = [
            step("look", f"{gate(self.open)}; case {{pre}} in *{EMPTY}*) "
                 f"echo \"done $ADAFS_JOB look\" >> {self.log}; exit 64;; esac; echo {name} > look.txt", "look.txt", stop_on=[64]),
            step("left", "md5sum < {pre} > left.txt; cat {look.o} >> left.txt", "left.txt"),
            step("right", f"case {{pre}} in *{FAILING}*) [ -e {self.mended} ] || exit 9;; esac; "
                 "md5sum < {post} > right.txt; cat {look.o} >> right.txt", "right.txt"),
            step("tell", "echo $(cat {left.o} {right.o}) > report.txt", "report.txt", result=True)]
        path = self.folder / "pairs.json"
        path.write_text(json.dumps({
            "name": "pairs", "defaults": {"retries": 0}, "inputs": {role: {"match": role + "/*"} for role in ROLES},
            "steps": steps, "merge": {"command": "cat {parts}/*/report.txt > all.txt", "outputs": {"all": "all.txt"},
                                      "when_empty": {"all": ""}}}))
        return path

    def line(self, event, name) -> str:
        """What the map must say of a scene: of its own images, and of both."""
        pre, post = (md5(self.source(event, role, name)) for role in ROLES)
        return f"{pre} - {name} {post} - {name}"

    def runs(self, said) -> Counter:
        """How often each step of each job has said so."""
        return Counter(tuple(words[1:]) for line in self.log.read_text().splitlines() if (words := line.split())[0] == said)


class Site:
    """The mount as it is now: after a kill the same again, or one of a machine that knows nothing but the account."""

    def __init__(self, make_mount, emulator, flood, options=()):
        self.make_mount, self.emulator, self.flood, self.options = make_mount, emulator, flood, options
        self.n_machines = 0
        self.mount = self.machine()

    def machine(self):
        self.n_machines += 1
        return self.make_mount(f"pipeline={self.flood.pipeline}", "pool=local", "poll=0.1", "attr_timeout=0.5",
                               *self.options, name=f"m{self.n_machines}", env=self.emulator.settings)

    @property
    def path(self) -> Path:
        return self.mount.path

    def start(self, elsewhere=False, **env):
        if elsewhere:
            mount = self.machine().start(**env)
            self.mount.unmount()  # only the dead mount is taken away
            self.mount = mount
        else:
            self.mount.start(**env)


# --- what a patient user does, whatever dies meanwhile -----------------------------------------------------------


class Stopped(Exception):
    pass


class User(threading.Thread):
    """Copies the event, removes the cause of the failure once all jobs have ended, and retries."""

    def __init__(self, site: Site, flood: Flood):
        super().__init__(daemon=True)
        self.site, self.flood = site, flood
        self.stop, self.copied = threading.Event(), threading.Event()
        self.done = False
        self.trouble: BaseException | None = None

    def patiently(self, act):
        """Until it succeeds: a mount that was killed fails with ENOTCONN, one that starts shows an empty directory."""
        while True:
            if self.stop.is_set():
                raise Stopped
            try:
                if (value := act()):
                    return value
            except OSError as e:
                if e.errno == errno.EBADMSG:
                    return e
            self.stop.wait(0.05)

    def copy(self, event, role, name):
        def act():
            inbox = self.site.path / "inbox"
            for folder in (inbox / event, inbox / event / role):
                try:
                    folder.mkdir()
                except FileExistsError:
                    pass
            shutil.copyfile(self.flood.source(event, role, name), inbox / event / role / f"{name}.tif")
            return True
        refused = self.patiently(act) is not True
        assert refused == ((event, role, name) == ("flood", "post", CORRUPT)), (event, role, name)
        # Its bytes are kept when close(2) has answered already: who finds none after a crash copies it again.
        while refused and not self.is_kept(f"rejected/{event}/{role}/{name}.tif"):
            self.patiently(act)

    def is_kept(self, name, seconds=1.0):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.stop.is_set():
            try:
                if {Path(name).name, Path(name).name + ".reason"} <= set(os.listdir((self.site.path / name).parent)):
                    return True
            except OSError:
                pass
            self.stop.wait(0.05)
        return False

    def copy_event(self, event):
        """Partners come in the other order, so that jobs do not begin in that of their names."""
        names = self.flood.sources[event]
        for name in names:
            self.copy(event, "pre", name)
        for name in reversed(names):
            self.copy(event, "post", name)

    def failed_job(self) -> Path:
        for job, name in scene_of(self.site.path).items():
            if name == f"flood/{FAILING}":
                return self.site.path / "jobs" / job
        raise FileNotFoundError("a mount that has just begun does not know its jobs")

    def retry(self):
        job = self.failed_job()
        if (job / "state").read_text() == "failed\n":
            (job / "ctl").write_text("retry\n")
        return (job / "state").read_text() != "failed\n"

    def have_ended(self):
        states = {job: state for job, state in self.site.mount.jobs().items() if not is_merge(job)}
        # The refused one has none, and flood2 has one.
        return len(states) == len(self.flood.scenes) and set(states.values()) <= ENDED

    def act(self):
        self.copy_event("flood")
        self.copied.set()
        self.patiently(self.have_ended)
        self.flood.mended.touch()
        # The first write may have been lost with the mount that took it: look again after a while.
        self.patiently(self.retry)
        self.patiently(lambda: self.retry() and (self.failed_job() / "state").read_text() == "completed\n")
        self.done = True

    def run(self):
        try:
            self.act()
        except Stopped:
            pass
        except BaseException as e:
            self.trouble = e

    def finish(self):
        wait_for("the user has done everything", lambda: self.done or self.trouble, 60)
        if self.trouble:
            raise self.trouble
        self.join()


# --- what must be so at the end ------------------------------------------------------------------------------------


def is_merge(job: str) -> bool:
    """Whether it has no pair of its own."""
    return job.startswith(("flood-merge-", "flood2-merge-"))


def scene_of(path) -> dict[str, str]:
    """Event and name of each job's pair."""
    found = {}
    for job in (path / "jobs").iterdir():
        if is_merge(job.name):
            continue
        parts = (job / "image/pre").readlink().parts
        found[job.name] = f"{parts[-3]}/{Path(parts[-1]).stem}"
    return found


def blobs_below(blobs, prefix) -> list[str]:
    with blobs.call("GET", f"ada?restype=container&comp=list&prefix={prefix}") as reply:
        return [n.text for n in ElementTree.fromstring(reply.read()).iter("Name")]


def maps_of(blobs, event) -> list[str]:
    """The folders of the whole maps of an event, the newest last."""
    folders = {name.rsplit("/", 1)[0] for name in blobs_below(blobs, f"merged/{event}/") if name.endswith("/summary.json")}
    return sorted(folders, key=lambda f: int(f.rsplit("/", 1)[1].split("-")[0]))


def newest_map(blobs, event) -> tuple[list[str], list[int]]:
    """The lines of the map in the container, and the numbers of its summary."""
    folder = maps_of(blobs, event)[-1]
    summary = json.loads(blobs.get(f"ada/{folder}/summary.json"))
    return (sorted(blobs.get(f"ada/{folder}/all.txt").decode().splitlines()),
            [summary[k] for k in ("expected", "done", "empty", "failed", "skipped", "unassessed")])


def check_flood2(flood, blobs, older):
    """Its one map is what it was: no merge of the other event has touched it, and none was made anew."""
    assert maps_of(blobs, "flood2") == older
    assert newest_map(blobs, "flood2") == ([flood.line("flood2", "s00")], [1, 1, 0, 0, 0, 0])


def check_batch(emulator, scenes, n_failed):
    """Every job is there once and has ended, with every task; n_failed: how often the failing one may have failed."""
    jobs = {j["id"]: j for j in batch_get(emulator.settings, "/jobs")}
    assert {j["state"] for j in jobs.values()} == {"completed"}, {k: j["state"] for k, j in jobs.items()}
    (failing,) = [j for j, name in scenes.items() if name == f"flood/{FAILING}"]
    expected = set(scenes) | {f"{failing}-r{n + 2}" for n in range(n_failed)}
    assert set(jobs) == expected
    for job in jobs:
        tasks = batch_get(emulator.settings, f"/jobs/{job}/tasks")
        assert {t["state"] for t in tasks} == {"completed"}, job
        steps = sorted(t["id"].split("-", 1)[1] for t in tasks)
        assert steps == (["merge", "right", "tell"] if "-r" in job else sorted([*STEPS, "merge"])), job


def check_runs(flood, scenes, mended):
    """No step that succeeded ran twice, and none that failed more often than its job was run."""
    begun, done = flood.runs("begin"), flood.runs("done")
    expected = {}
    for job, name in scenes.items():
        steps = STEPS
        if name == f"flood/{EMPTY}":
            steps = ["look"]
        elif name == f"flood/{FAILING}" and not mended:
            steps = ["look", "left"]
        expected |= {(job, step): 1 for step in steps}
    assert dict(done) == expected
    tried = {key: n for key, n in begun.items() if n != expected.get(key)}
    assert {(scenes[job], step) for job, step in tried} <= {(f"flood/{FAILING}", "right")}, tried
    return next(iter(tried.values()), 1) - (1 if mended else 0)


def check_end(site, flood, older):
    """After the retry: the states, the map, its summary, Batch and the runs of every step."""
    path, blobs = site.path, Blobs(site.emulator)
    n = len(flood.good)
    wait_for("the whole map", lambda: newest_map(blobs, "flood")[1] == [n + 2, n + 1, 1, 0, 0, 0], 20)
    whole = sorted(flood.line("flood", name) for name in [*flood.good, FAILING])
    assert newest_map(blobs, "flood")[0] == whole
    wait_for("the mount shows it", lambda: sorted((path / "results/flood/all.txt").read_text().splitlines()) == whole, 10)
    scenes = scene_of(path)
    states = {name: (path / "jobs" / job / "state").read_text().strip() for job, name in scenes.items()}
    assert states == {**{f"flood/{name}": "completed" for name in [*flood.good, FAILING]}, f"flood/{EMPTY}": "empty",
                      "flood2/s00": "completed"} and len(scenes) == len(states)
    n_failed = check_runs(flood, scenes, mended=True)
    if "grouping=event" in site.options:
        assert {j["state"] for j in batch_get(site.emulator.settings, "/jobs")} == {"completed"}
    else:
        check_batch(site.emulator, scenes, n_failed)
    check_flood2(flood, blobs, older)
    check_waiting(path)


def check_waiting(path):
    half = path / f"inbox/flood/pre/{CORRUPT}.tif"
    wait_for("the half says what it waits for", lambda: os.getxattr(half, "user.adafs.waiting_for").decode() ==
             f"waiting for the post partner of {CORRUPT}.tif: copy it to inbox/flood/post/{CORRUPT}.tif", 10)
    assert "copy the whole image again" in (path / f"rejected/flood/post/{CORRUPT}.tif.reason").read_text()


# --- the tests -------------------------------------------------------------------------------------------------------


@pytest.fixture
def make_flood(make_mount, emulator, tmp_path):
    """The site with flood2 assessed, the event, and its user; the names of flood2's maps."""
    users = []

    def make(scenes, *options, **env):
        flood = Flood(tmp_path / "event", scenes)
        site = Site(make_mount, emulator, flood, options)
        user = User(site, flood)
        users.append(user)
        site.start(**env)
        user.copy_event("flood2")
        assert set(site.mount.wait_jobs(1, 20).values()) == {"completed"}
        older = maps_of(Blobs(emulator), "flood2")
        assert len(older) == 1
        return site, flood, user, older
    yield make
    for user in users:
        user.stop.set()
        if user.ident:
            user.join(20)


# Of each moment the one of the event's second job: flood2 has had its own before.
POINTS = ["after-commit:4", "after-snapshot:3", "after-job:3", "after-half-tasks:3", "before-patch:3", "after-patch:3",
          "before-manifest:3", "after-retry"]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["again", "elsewhere"])
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_a_named_point(make_flood, point, elsewhere):
    site, flood, user, older = make_flood(SMALL, ADAFS_CRASH_AT=point)
    user.start()
    wait_for("adafs kills itself", lambda: not site.mount.alive(), 40)
    site.start(elsewhere)
    user.finish()
    check_end(site, flood, older)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["again", "elsewhere"])
def test_a_crash_after_a_job_was_admitted(make_flood, emulator, elsewhere):
    trap(emulator, job_quota=1)
    site, flood, user, older = make_flood(SMALL, ADAFS_CRASH_AT="after-admission")
    user.start()
    wait_for("adafs kills itself", lambda: not site.mount.alive(), 40)
    site.start(elsewhere)
    user.finish()
    check_end(site, flood, older)


def test_a_job_without_tasks_takes_the_place_that_others_wait_for(make_flood, emulator):
    """Killed when it was made and empty: others, which come before it by name, must not wait for its end."""
    door = Gate(emulator.settings["AZURE_BATCH_ENDPOINT"])
    through = emulator.settings["AZURE_BATCH_ENDPOINT"].replace(door.service, f"127.0.0.1:{door.server_port}")
    site, flood, user, older = make_flood(SMALL, AZURE_BATCH_ENDPOINT=through)
    trap(emulator, job_quota=1)
    door.held = ("POST", "/addtaskcollection")
    user.start()
    wait_for("all is copied", user.copied.is_set, 20)
    wait_for("the first job is made", lambda: door.n_held, 20)
    site.mount.kill()
    door.let_go.set()
    door.shutdown()
    door.server_close()
    (empty,) = [j["id"] for j in batch_get(emulator.settings, "/jobs") if j["state"] == "active"]
    assert empty.startswith(f"flood-{FAILING}-") and batch_get(emulator.settings, f"/jobs/{empty}/tasks") == []
    site.start(True)
    user.finish()
    check_end(site, flood, older)


@pytest.mark.parametrize("options", [(), ("grouping=event", "settle=0.5")], ids=["image", "event"])
def test_kills_at_random_moments_of_the_whole_day(make_flood, options):
    """Every other time the mount comes back on a machine that knows nothing but the account."""
    site, flood, user, older = make_flood(WHOLE, *options)
    seed = random.randrange(1 << 32)
    print("seed", seed)
    moments = random.Random(seed)
    user.start()
    for n in range(N_KILLS):
        assert not site.mount.process_ends_within(moments.uniform(0.02, 0.6)), "adafs ended by itself"
        site.mount.kill()
        site.start(elsewhere=n % 2 == 1)
    user.finish()
    check_end(site, flood, older)


def test_killed_after_the_last_submission_and_never_started_again(make_flood, emulator):
    """All that is left to do is in Batch: the jobs end there, and the container holds the map and its summary."""
    site, flood, user, older = make_flood(WHOLE)
    blobs = Blobs(emulator)
    flood.open.unlink()  # no step of the event ends before adafs is gone
    user.start()
    n = len(flood.good) + 2
    wait_for("the last manifest", lambda: sum(b.startswith("jobs/flood-") for b in blobs_below(blobs, "jobs/")) == n, 40)
    scenes = scene_of(site.path)
    site.mount.kill()
    user.stop.set()
    flood.open.touch()
    wait_for("all jobs end in Batch",
             lambda: {j["state"] for j in batch_get(emulator.settings, "/jobs")} == {"completed"}, 60)
    assert newest_map(blobs, "flood") == (sorted(flood.line("flood", s) for s in flood.good), [n, n - 2, 1, 1, 0, 0])
    assert check_runs(flood, scenes, mended=False) == 1
    check_batch(emulator, scenes, 0)
    check_flood2(flood, blobs, older)

"""The twelve causes of waiting: each shows its sentence within one poll, and goes when the cause does."""
import base64
import os
import re
import shlex
import signal
import time
import urllib.error
import urllib.parse
from types import SimpleNamespace

import pytest

from gateway import Gate
from harness import Emulator, Mount, batch_call, batch_get, trap, wait_for
from images import tiff, write_pipeline
from test_events import write_pairs

POLL = 0.5
# A reader's look, a loaded machine; of a failure the first attempt and the try after it.
MARGIN = 0.8
HELD = "held by the user: nothing more starts until 'release' is written to ctl"
QUEUED_AGAIN = r"queued again, its node was taken from it 1 time \(preempted, rebooted or removed\); "
EXPIRED = 40 * 86400  # seconds, longer than any access of a task lives


def make_pool(emulator, nodes=0, **machine):
    batch_call(emulator.settings, "POST", "/pools", {
        "id": "work", "vmSize": "standard_d2s_v3", "targetDedicatedNodes": nodes, "taskSlotsPerNode": 4,
        "virtualMachineConfiguration": {"nodeAgentSKUId": "batch.node.debian 12", **machine,
                                        "imageReference": {"publisher": "debian", "offer": "debian-12", "sku": "12"}}})


def pool(s) -> dict:
    return batch_call(s.emulator.settings, "GET", "/pools/work")


def resize(s, nodes):
    """As a user does it; the service may still be at the last resize."""
    def done():
        try:
            (s.m.path / "pool/ctl").write_text(f"resize {nodes}\n")
        except OSError:
            return False
        return True
    wait_for("the resize is taken", done, 10)


def settle(s, nodes):
    """The pool has so many nodes, all able to work."""
    if pool(s)["currentDedicatedNodes"] != nodes:
        resize(s, nodes)
    wait_for("the pool is steady", lambda: (p := pool(s))["allocationState"] == "steady"
             and p["currentDedicatedNodes"] == nodes, 10)


def copy(s, event, name="a.tif", seed=1):
    """The directory of the job of a new image."""
    folder = s.m.path / "inbox" / event
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(tiff(seed))
    start = f"{event}-{name.split('.')[0]}-"
    return wait_for("the job", lambda: [j for j in (s.m.path / "jobs").iterdir() if j.name.startswith(start)], 10)[0]


def open_gate(s, event):
    (s.folder / f"open-{event}").touch()


def sentence(path) -> str:
    return (path / "waiting_for").read_text().removesuffix("\n")


def shows(path, wanted: str, since: float, within: float = POLL + MARGIN) -> str:
    """The sentence, a regular expression of all of it, stands there no later than so long after `since`."""
    seen = []

    def probe():
        if not seen or seen[-1] != sentence(path):
            seen.append(sentence(path))
        return re.fullmatch(wanted, seen[-1])
    deadline = since + 20
    while not probe():
        assert time.monotonic() < deadline, f"it never said\n  {wanted}\nbut\n  " + "\n  ".join(seen)
        time.sleep(0.02)
    took = time.monotonic() - since
    assert took < within, f"{took:.2f} s until: {seen}"
    return seen[-1]


def ends(job, state="completed"):
    wait_for(f"{job.name} is {state}; it says: {sentence(job)}", lambda: (job / "state").read_text() == state + "\n", 30)
    return job


def begins(job):
    wait_for("the first step runs", lambda: (job / "steps/look/stdout.txt").read_text() == "waiting\n", 20)
    return job


def tasks(s, job) -> dict[str, dict]:
    try:
        return {t["id"]: t for t in batch_get(s.emulator.settings, f"/jobs/{job.name}/tasks")}
    except urllib.error.HTTPError as e:  # an image has its job here before it is in Batch
        assert e.code == 404
        return {}


def now_at_service(what, probe) -> float:
    """The moment at which the service shows the cause."""
    wait_for(what, probe, 20)
    return time.monotonic()


def gated(folder):
    """A pipeline whose first step waits until its event's file is there."""
    gate = f"{shlex.quote(str(folder))}/open-${{AZ_BATCH_JOB_ID%%-*}}"
    return f"echo waiting; while [ ! -e {gate} ]; do sleep 0.05; done"


@pytest.fixture(scope="module")
def emulators(tmp_path_factory):
    made = []

    def make(*options):
        made.append(Emulator(tmp_path_factory.mktemp("emulator"), "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0", *options))
        return made[-1].start()
    yield make
    for e in made:
        e.stop()


@pytest.fixture(scope="module")
def mounts(emulators, tmp_path_factory):
    """A function: a mount on an emulator, and the folder of its gates."""
    made = []

    def make(emulator, *options, pipeline=None, **settings):
        folder = tmp_path_factory.mktemp("mount")
        pipeline = pipeline or write_pipeline(folder / "gated.json", gated(folder))
        m = Mount(folder, f"pipeline={pipeline}", "pool=work", f"poll={POLL:g}", *options, env={**emulator.settings, **settings})
        made.append(m)
        return SimpleNamespace(emulator=emulator, m=m.start(), folder=folder)
    yield make
    for m in made:
        m.unmount()
    for m in made:
        m.check_logs()


@pytest.fixture(scope="module")
def shared(emulators, mounts):
    e = emulators()
    make_pool(e)
    return mounts(e)


@pytest.fixture
def s(shared):
    """The mount that most tests share; its faults are taken back afterwards."""
    yield shared
    trap(shared.emulator)


def test_nodes_that_start(s):
    settle(s, 0)
    job = copy(s, "starting")
    shows(job, "waits for a node: pool 'work' has none; resize it", time.monotonic())
    trap(s.emulator, allocation_delay=2.5)
    resize(s, 1)
    since = now_at_service("it resizes", lambda: pool(s)["allocationState"] == "resizing")
    shows(job, "waits for the nodes of pool 'work' to start", since)
    open_gate(s, "starting")
    ends(job)


def test_no_quota_of_cores(s):
    settle(s, 0)
    job = copy(s, "cores")
    trap(s.emulator, core_quota=1)  # the node of the pool that every emulator has takes it
    resize(s, 1)
    since = now_at_service("it is refused", lambda: pool(s).get("resizeErrors"))
    words = ("AccountCoreQuotaReached: the Batch account's quota of dedicated cores is used up: ask for more under Quotas of "
             "the account in the Azure portal, or free other pools")
    shows(job, f"waits for a node of pool 'work': {words}", since)
    assert f"trouble {words}" in (s.m.path / "pool/state").read_text().splitlines()
    trap(s.emulator)
    resize(s, 1)
    since = now_at_service("there is a node", lambda: pool(s)["currentDedicatedNodes"] == 1)
    shows(job, r"running: .*", since)
    open_gate(s, "cores")
    ends(job)


def test_no_quota_of_jobs(s):
    settle(s, 1)
    first = begins(copy(s, "jobs"))
    trap(s.emulator, job_quota=1)
    account = s.emulator.settings["AZURE_BATCH_ACCOUNT"]
    words = (f"waits: Batch account '{account}' has as many active jobs as it may \\(ActiveJobAndScheduleQuotaReached\\); it goes "
             "on when others end: end stale ones, or ask for quota in the portal")
    waiting = []
    for k in (2, 3):  # the second one is not even tried
        waiting.append(copy(s, "jobs", f"{k}.tif", k))
        shows(waiting[-1], words, time.monotonic())
    open_gate(s, "jobs")
    for job in [first, *waiting]:
        ends(job)


def test_a_dependency(s):
    settle(s, 1)
    job = copy(s, "order")
    since = now_at_service("it runs", lambda: tasks(s, job).get("01-look", {}).get("state") == "running")
    shows(job / "steps/tell", "waits for 01-look", since)
    shows(job / "steps/merge", "waits for 01-look and 02-tell", since)
    shows(job, r"running: 01-look \(0 of 3 steps ended\)", since)
    open_gate(s, "order")
    ends(job)


def test_held_by_the_user(s):
    settle(s, 1)
    job = begins(copy(s, "user"))
    (job / "ctl").write_text("hold\n")
    shows(job, HELD + r"; running: 01-look \(0 of 3 steps ended\)", time.monotonic())
    open_gate(s, "user")
    since = now_at_service("it has ended", lambda: tasks(s, job)["01-look"]["state"] == "completed")
    shows(job, HELD + r" \(1 of 3 steps ended\)", since)
    shows(job / "steps/tell", HELD, since)
    (job / "ctl").write_text("release\n")
    ends(job)


def test_preempted_and_queued_again(s):
    settle(s, 1)
    trap(s.emulator, preempt_every=1, allocation_delay=2)
    job = copy(s, "spot")
    since = now_at_service("it is queued again", lambda: (t := tasks(s, job).get("01-look")) and t["state"] == "active"
                           and t["executionInfo"]["requeueCount"] == 1)
    trap(s.emulator, preempt_every=0)
    shows(job, QUEUED_AGAIN + "waits for the nodes of pool 'work' to come back: 1 preempted, Azure returns them when it has "
          "capacity; dedicated nodes are not taken", since)
    open_gate(s, "spot")
    ends(job)


def test_throttled(s):
    settle(s, 1)
    job = begins(copy(s, "busy"))
    trap(s.emulator, busy_rate=1)
    since = time.monotonic()
    shows(job, r"jobs cannot be followed now: [\w ]+ '/\S+' with the key of '\w+': (503 ServerBusy|429 TooManyRequests): the service "
          r"throttles this account; there is nothing to do: it is tried again, more slowly \(last known: running: 01-look .*\)", since)
    trap(s.emulator)
    shows(job, r"running: 01-look \(0 of 3 steps ended\)", time.monotonic(), 10)
    open_gate(s, "busy")
    ends(job)


def test_throttled_before_it_is_submitted(s, mounts):
    settle(s, 1)
    gate = Gate(s.emulator.settings["AZURE_BATCH_ENDPOINT"])
    to = s.emulator.settings["AZURE_BATCH_ENDPOINT"].replace(gate.service, f"127.0.0.1:{gate.server_port}")
    behind = mounts(s.emulator, "container=behind", AZURE_BATCH_ENDPOINT=to)
    gate.refused, gate.refusal = ("POST", "/jobs?"), (503, "ServerBusy")
    jobs = [copy(behind, "early", f"{k}.tif", k) for k in (1, 2)]
    since = time.monotonic()
    for job in jobs:
        shows(job, r"not submitted yet, is being tried again: add job '/jobs' with the key of '\w+': 503 ServerBusy: the service "
              "throttles this account; there is nothing to do: it is tried again, more slowly", since)
    gate.refused = None
    open_gate(behind, "early")
    for job in jobs:
        ends(job)
    behind.m.unmount()
    gate.shutdown()
    gate.server_close()


def test_uploads_that_fail_after_a_good_computation(s):
    settle(s, 1)
    job = begins(copy(s, "upload"))
    trap(s.emulator, sas_clock=EXPIRED)
    open_gate(s, "upload")
    since = now_at_service("it has failed", lambda: "failureInfo" in tasks(s, job)["01-look"]["executionInfo"])
    assert tasks(s, job)["01-look"]["executionInfo"]["exitCode"] == 0
    words = (r"failed: FileUploadAccessDenied: computed, but the node may not write its outputs: its access has ended, or a "
             r"storage firewall keeps it out \(.*\)")
    said = shows(job / "steps/look", words, since)
    assert "sig=" not in said
    since = now_at_service("all have ended", lambda: {t["state"] for t in tasks(s, job).values()} == {"completed"})
    shows(job, f"01-look {words}; mend that and write 'retry' to ctl", since)
    trap(s.emulator)
    wait_for("its end is written down", lambda: "retry" in (job / "ctl").read_text(), 10)
    (job / "ctl").write_text("retry\n")
    ends(job)


def test_unpaired(s, mounts):
    settle(s, 1)
    pairs = mounts(s.emulator, "container=pairs", pipeline=write_pairs(s.folder / "pairs.json"))
    for role in ("pre", "post"):
        (pairs.m.path / "inbox/storm" / role).mkdir(parents=True)
    post = pairs.m.path / "inbox/storm/post/x.tif"
    post.write_bytes(tiff(1))
    words = "waiting for the pre partner of x.tif: copy it to inbox/storm/pre/x.tif"
    event = pairs.m.path / "inbox/storm"
    shows(event, f"post/x.tif: {words}", time.monotonic())
    assert os.getxattr(post, "user.adafs.waiting_for").decode() == words
    (pairs.m.path / "inbox/storm/pre/x.tif").write_bytes(tiff(2))
    shows(event, "", time.monotonic())
    assert set(pairs.m.wait_jobs(1, 30).values()) == {"completed"}


def test_the_image_of_a_container(emulators, mounts, tmp_path, monkeypatch):
    """An engine that pulls for as long as a registry may take, and then runs the command without a container."""
    (tmp_path / "bin").mkdir()
    podman = tmp_path / "bin/podman"
    podman.write_text(f"""#!/bin/sh
case $1 in
image) exec test -e {tmp_path}/pulled ;;
pull) while [ ! -e {tmp_path}/registry ]; do sleep 0.05; done; touch {tmp_path}/pulled; exit 0 ;;
run) ;;
*) exit 0 ;;
esac
while [ "$1" != one.azurecr.io/tools:1 ]; do
    case $1 in
    --cidfile=*) echo 0123456789abcdef >"${{1#*=}}" ;;
    --workdir=*) cd "${{1#*=}}" || exit 125 ;;
    esac
    shift
done
shift
exec "$@"
""")
    podman.chmod(0o755)
    monkeypatch.setenv("PATH", f"{podman.parent}:{os.environ['PATH']}")
    e = emulators("--containers")
    make_pool(e, 1, containerConfiguration={"type": "dockerCompatible"})
    path = write_pipeline(tmp_path / "boxed.json", gated(tmp_path))
    path.write_text(path.read_text().replace('{"name": "tiny",', '{"name": "tiny", "container": {"image": "one.azurecr.io/tools:1"},'))
    s = mounts(e, pipeline=path)
    job = copy(s, "box")
    since = now_at_service("it runs", lambda: tasks(s, job).get("01-look", {}).get("state") == "running")
    words = r"node \S+ fetches container image 'one.azurecr.io/tools:1' and the inputs, then the command runs"
    shows(job, f"running: 01-look: {words} \\(0 of 3 steps ended\\)", since)
    shows(job / "steps/look", words, since)
    (tmp_path / "registry").touch()
    since = now_at_service("its container runs", lambda: tasks(s, job)["01-look"]["executionInfo"].get("containerInfo"))
    shows(job, r"running: 01-look \(0 of 3 steps ended\)", since)
    shows(job / "steps/look", r"runs on node \S+", since)
    (tmp_path / "open-box").touch()
    ends(job)


@pytest.fixture(scope="module")
def alone(emulators, mounts):
    """An emulator of its own to be stopped, and a job whose last known sentence is `last`."""
    e = emulators()
    make_pool(e)
    s = mounts(e)
    s.job, s.last = copy(s, "line"), "waits for a node: pool 'work' has none; resize it"
    s.known = rf" \(last known: {s.last}\)"
    shows(s.job, s.last, time.monotonic())
    return s


def test_the_line_is_down(alone):
    e, account = alone.emulator, alone.emulator.settings["AZURE_BATCH_ACCOUNT"]
    port = urllib.parse.urlsplit(e.settings["AZURE_BATCH_ENDPOINT"]).port
    e.process.send_signal(signal.SIGSTOP)
    # A reply may take its second; silence is known after that.
    shows(alone.job, f"jobs cannot be followed now: Batch account '{account}' does not answer; check the network and its firewall"
          + alone.known, time.monotonic(), POLL + 1 + MARGIN)
    e.process.send_signal(signal.SIGCONT)
    shows(alone.job, alone.last, time.monotonic())
    e.kill()
    shows(alone.job, rf"jobs cannot be followed now: [\w ]+: .*127.0.0.1 port {port}.*; check the endpoint, the network and its "
          rf"firewall{alone.known}", time.monotonic())
    e.options = ()  # on the ports that it had
    e.start()
    shows(alone.job, alone.last, time.monotonic(), 10)


def test_credentials_that_are_refused(alone):
    e, account = alone.emulator, alone.emulator.settings["AZURE_BATCH_ACCOUNT"]
    key = e.settings["AZURE_BATCH_ACCESS_KEY"]
    e.stop()
    e.options = ("--key", base64.b64encode(b"another key of thirty-two bytes.").decode())  # somebody has made a new one
    e.start()
    refused = (rf"jobs cannot be followed now: [\w ]+ '/\S+' with the key of '{account}': 403 AuthenticationFailed: the credential "
               r"was refused: a wrong key, .*; run 'adafs check'; it compares the clocks and names the credential in use")
    shows(alone.job, refused + alone.known, time.monotonic())
    e.stop()
    e.options = ("--key", key)
    e.start()
    shows(alone.job, alone.last, time.monotonic(), 10)
    resize(alone, 1)
    open_gate(alone, "line")
    ends(alone.job)

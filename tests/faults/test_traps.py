"""The emulator's traps: under each the main job still completes once, or says what it waits for."""
import subprocess
import urllib.request
from pathlib import Path

import pytest

from harness import Emulator, batch_get, png, wait_for

TINY = Path(__file__).parent / "tiny.json"


@pytest.fixture
def trapped(tmp_path, make_mount):
    """A function: a mount on an emulator of its own with these traps set."""
    made: list[Emulator] = []

    def start(*traps: str, options: tuple[str, ...] = (), emulator_options: tuple[str, ...] = ()):
        given = [word for trap in traps for word in ("--trap", trap)]
        e = Emulator(tmp_path / "emulator", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0", "--slots", "4",
                     *given, *emulator_options).start()
        made.append(e)
        m = make_mount(f"pipeline={TINY}", "pool=local", *options, env=e.settings)
        m.emulator = e
        return m.start()

    yield start
    for e in made:
        e.stop()


def copy_images(mount, tmp_path, n):
    (mount.path / "inbox" / "flood").mkdir()
    sources = [png(tmp_path / f"i{i:02}.png", i) for i in range(n)]
    subprocess.run(["cp", *map(str, sources), str(mount.path / "inbox" / "flood")], check=True, timeout=120)
    return [s.name for s in sources]


def reset_traps(emulator):
    host = "/".join(emulator.blob_endpoint().split("/")[:3])
    request = urllib.request.Request(host + "/adafs/traps/reset", data=b"", method="POST")
    urllib.request.urlopen(request, timeout=10).close()


def check_each_ran_once(mount, names, seconds=180):
    jobs = mount.wait_jobs(len(names), seconds)
    reset_traps(mount.emulator)
    assert set(jobs.values()) == {"completed"}, {j: (mount.path / "jobs" / j / "waiting_for").read_text()
                                                  for j, s in jobs.items() if s != "completed"}
    images = sorted((mount.path / "jobs" / job / "image").readlink().name for job in jobs)
    assert images == sorted(names)
    in_batch = batch_get(mount.emulator.settings, "/jobs")
    assert sorted(j["id"] for j in in_batch) == sorted(jobs), "Batch has other jobs than the mount shows"
    for job in jobs:
        tasks = [t["id"] for t in batch_get(mount.emulator.settings, f"/jobs/{job}/tasks")]
        assert len(tasks) == len(set(tasks)) == 3, tasks
    # The map comes to hold each image, none twice; results/ may be shown some seconds old.
    shown = mount.path / "results" / "flood" / "all.txt"
    wait_for("the map is whole", lambda: shown.exists() and len(shown.read_text().split()) >= len(names), 30)
    assert len(shown.read_text().split()) == len(names)


def test_a_quota_of_three_jobs_and_fifty_images(trapped, tmp_path):
    m = trapped("job_quota=3")
    names = copy_images(m, tmp_path, 50)

    def held():
        return [j for j in (m.path / "jobs").iterdir()
                if "ActiveJobAndScheduleQuotaReached" in (j / "waiting_for").read_text()]
    assert wait_for("a job says that it waits for quota", held, 30)
    check_each_ran_once(m, names, 240)
    # Waiting jobs do not ask each for itself.
    assert m.emulator.counters()["AddJob"] < 50 * 8


@pytest.mark.parametrize("retry_after", [0, 1])
def test_a_fifth_of_all_requests_throttled(trapped, tmp_path, retry_after):
    m = trapped("busy_rate=0.2", f"retry_after={retry_after}")
    check_each_ran_once(m, copy_images(m, tmp_path, 5 if retry_after else 10))


def test_lost_replies_double_nothing(trapped, tmp_path):
    m = trapped("lost_reply_rate=0.05")
    check_each_ran_once(m, copy_images(m, tmp_path, 20))


def test_cut_transfers(trapped, tmp_path):
    m = trapped("cut_rate=0.1")
    check_each_ran_once(m, copy_images(m, tmp_path, 10))


def test_slow_transfers(trapped, tmp_path):
    m = trapped("slow_bytes=200000")
    check_each_ran_once(m, copy_images(m, tmp_path, 3))


def test_every_third_task_loses_its_node(trapped, tmp_path):
    m = trapped("preempt_every=3", "allocation_delay=0.2")
    check_each_ran_once(m, copy_images(m, tmp_path, 10))


def test_stale_counts_show_no_wrong_state(trapped, tmp_path):
    m = trapped("stale_counts=60")
    check_each_ran_once(m, copy_images(m, tmp_path, 5))


def test_a_policy_that_takes_effect_late(trapped, tmp_path):
    m = trapped("policy_delay=3")
    check_each_ran_once(m, copy_images(m, tmp_path, 2))


def test_an_access_that_would_end_while_the_job_waits_is_extended(trapped, tmp_path):
    # The policy lives 12 s when the task is submitted, and no node is there for 16 s.
    m = trapped("allocation_delay=16", options=("sas_life=12",))
    check_each_ran_once(m, copy_images(m, tmp_path, 1))

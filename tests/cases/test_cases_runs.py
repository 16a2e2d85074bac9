"""Cases 34 to 40: steps that fail, merges, ends of a mount, results in use, and trouble of the local engine."""
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from acts import ends, in_batch, map_of, need, one_job, run
from harness import ROOT, batch_get, program, wait_for
from images import gate, tiff, write_pipeline
from site_of_blobs import errno_of

MIB = 1 << 20
# Only small images pass the first step.
SMALL_ONLY = '[ "$(wc -c < {image})" -lt 1000 ] || '


def put(m, name, seed, side=16, event="flood"):
    path = m.path / "inbox" / event / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(tiff(seed, side))


def changed(path: Path, **first) -> Path:
    """The small pipeline with other members of its first step."""
    pipeline = json.loads(write_pipeline(path).read_text())
    pipeline["steps"][0].update(first)
    path.write_text(json.dumps(pipeline))
    return path


def start(make_mount, pipeline: Path, *options):
    return make_mount(f"pipeline={pipeline}", "poll=0.1", "attr_timeout=1", *options).start()


def summary(m, event="flood") -> dict:
    try:
        return json.loads((m.path / "results" / event / "summary.json").read_text())
    except FileNotFoundError:
        return {}


# --- 34, 35: steps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command, code, words", [
    ("{ echo no such layer >&2; exit 1; }", "1", "stderr.txt"), ("kill -9 $$", "137", "out of memory"),
    ("kill -11 $$", "139", "crashed"), ("exec sleep 60", "124", "time limit")], ids=["exit", "memory", "signal", "hang"])
def test_case_34_a_step_that_fails(make_mount, tmp_path, command, code, words):
    """34: exit 1, 137, a signal, a hang: failed with code and meaning; what depends on it is skipped, others go on."""
    m = start(make_mount, changed(tmp_path / "p.json", time_limit="PT2S", command=SMALL_ONLY + command + "; wc -c < {image} > size.txt"))
    put(m, "good.tif", 1)
    put(m, "bad.tif", 2, 64)
    bad = ends(one_job(m, "flood-bad"), "failed")
    ends(one_job(m, "flood-good"), "completed")
    look = bad / "steps/look"
    assert (look / "exit_code").read_text() == code + "\n" and words in (look / "failure").read_text()
    assert "01-look failed" in (bad / "waiting_for").read_text()
    if code == "1":
        assert "no such layer" in (look / "stderr.txt").read_text()
    assert sorted(os.listdir(bad / "steps")) == ["01-look.failed", "02-tell.skipped", "03-merge.completed"]
    wait_for("the map of what could be done", lambda: map_of(m) == [str(len(tiff(1)))], 20)
    assert os.listdir(m.path / "inbox/flood") == ["bad.tif"]


@pytest.mark.parametrize("command", ["true", "mkdir size.txt"], ids=["nothing", "a folder"])
def test_case_35_a_step_without_its_output(make_mount, tmp_path, command):
    """35: exit 0 without the declared output: failed with that reason, and nothing runs on what is not there."""
    m = start(make_mount, changed(tmp_path / "p.json", command=command))
    put(m, "a.tif", 1)
    job = ends(one_job(m, "flood-a"), "failed")
    assert (job / "steps/look/exit_code").read_text() == "66\n"
    assert "declared output is missing" in (job / "steps/look/failure").read_text()
    assert "size.txt" in (job / "steps/look/stderr.txt").read_text()
    assert "02-tell.skipped" in os.listdir(job / "steps")


def test_case_35_an_output_that_is_malformed(tmp_path):
    """35: a layer of the pipeline that ships is no JSON: the merge fails and names whose it is."""
    (tmp_path / "parts/a-tile").mkdir(parents=True)
    (tmp_path / "parts/a-tile/buildings.geojson").write_text('{"type": "FeatureColl')
    done = run("/usr/bin/python3", "-B", ROOT / "scripts/quicklook/merge.py", "--dir", tmp_path / "parts", "--dest",
               tmp_path / "map.geojson", want=65)
    assert "a-tile/buildings.geojson" in done.stderr and not (tmp_path / "map.geojson").exists()


# --- 36: merges -------------------------------------------------------------------------------------------


def test_case_36_nothing_was_found_anywhere(make_mount, tmp_path):
    """36: all images are empty: the map is there, valid and empty, and the summary counts them."""
    m = start(make_mount, changed(tmp_path / "p.json", command="exit 9; wc -c < {image} > size.txt", stop_on=[9]))
    for i in range(2):
        put(m, f"i{i}.tif", i)
    assert set(m.wait_jobs(2).values()) == {"empty"}
    wait_for("the summary counts both", lambda: summary(m).get("empty") == 2, 20)
    assert (m.path / "results/flood/all.txt").read_text() == ""
    assert summary(m)["expected"] == 2 and summary(m)["failed"] == 0


def test_case_36_one_image_of_three_failed(make_mount, tmp_path):
    """36: one tile failed: the map has the others, the summary counts what is missing."""
    m = start(make_mount, changed(tmp_path / "p.json", command=SMALL_ONLY + "exit 1; wc -c < {image} > size.txt"))
    put(m, "bad.tif", 1, 64)
    for i in range(2):
        put(m, f"i{i}.tif", i)
    assert sorted(m.wait_jobs(3).values()) == ["completed", "completed", "failed"]
    wait_for("the summary counts all", lambda: (s := summary(m)).get("done") == 2 and s["failed"] == 1, 20)
    assert summary(m)["expected"] == 3 and map_of(m) == [str(len(tiff(0)))] * 2


def house(x, **properties):
    ring = [[x, 0], [x + 1e-4, 0], [x + 1e-4, 1e-4], [x, 1e-4], [x, 0]]
    return {"type": "Feature", "properties": {"area_m2": 100, "confidence": 0.8, **properties},
            "geometry": {"type": "Polygon", "coordinates": [ring]}}


def merged_layer(tmp_path, want=0, **parts):
    """What the merge that ships makes of the layers of these jobs; want=None: whatever it returns."""
    for name, (features, more) in parts.items():
        (tmp_path / "parts" / name).mkdir(parents=True)
        (tmp_path / "parts" / name / "buildings.geojson").write_text(
            json.dumps({"type": "FeatureCollection", **more, "features": features}))
    done = run("/usr/bin/python3", "-B", ROOT / "scripts/quicklook/merge.py", "--dir", tmp_path / "parts", "--dest",
               tmp_path / "map.geojson", want=want)
    return done, tmp_path / "map.geojson"


def test_case_36_a_building_on_the_border_of_two_tiles(tmp_path):
    """36: the merge that ships: a building that two tiles found is one, and the assessed one of both is kept."""
    _, path = merged_layer(tmp_path, a=([house(1, damage="unassessed", score=None), house(2)], {}),
                           b=([house(1.00001, damage="destroyed", score=0.7), house(3)], {}))
    features = json.loads(path.read_text())["features"]
    assert len(features) == 3 and [f["properties"]["damage"] for f in features if "damage" in f["properties"]] == ["destroyed"]


def test_case_36_a_damage_that_is_no_number(tmp_path):
    """36: NaN among the damage scores becomes null: the map is valid JSON."""
    _, path = merged_layer(tmp_path, a=([house(1, damage="damaged", score=float("nan"))], {}))
    [feature] = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["features"]
    assert feature["properties"]["score"] is None


def test_case_36_layers_of_two_coordinate_systems(tmp_path):
    """36: a layer in UTM among those in degrees: reprojected, or refused by name."""
    utm = {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}}
    done, path = merged_layer(tmp_path, None, a=([house(1)], {}), b=([house(500_000)], utm))
    if done.returncode == 0:
        assert all(abs(f["geometry"]["coordinates"][0][0][0]) <= 180 for f in json.loads(path.read_text())["features"])
    else:
        assert "b/buildings.geojson" in done.stderr


# --- 37, 38: ends of a mount --------------------------------------------------------------------------------


def test_case_37_unmount_while_somebody_stands_inside(make_mount, tmp_path):
    """37: umount of a mount with a shell inside: status 32 names the process, and the mount stays."""
    m = start(make_mount, write_pipeline(tmp_path / "p.json"))
    shell = subprocess.Popen(["sh", "-c", f"cd '{m.path}/jobs'; echo; exec sleep 60"], stdout=subprocess.PIPE)
    try:
        assert shell.stdout.readline() == b"\n"
        done = run(program(), "umount", m.path, want=32)
        assert f"pid {shell.pid}, stands in jobs" in done.stderr and m.ready()
    finally:
        shell.kill()
        shell.wait()
    run(program(), "umount", m.path)
    assert m.process_ends_within(20) and not os.path.ismount(m.path)


def cannot_write(m) -> bool:
    try:
        (m.path / "containers/ada/more").write_bytes(b"more")
    except OSError as e:
        return e.errno == errno.ESHUTDOWN
    return False


@pytest.mark.parametrize("how", ["umount", "SIGTERM"])
def test_case_37_an_end_while_a_file_is_written(make_mount, tmp_path, how):
    """37: umount and SIGTERM wait for who writes; what was closed is submitted, and runs without the mount."""
    m = start(make_mount, write_pipeline(tmp_path / "p.json", gate(tmp_path / "open")))
    put(m, "closed.tif", 1)
    fd = os.open(m.path / "inbox/flood/late.tif", os.O_CREAT | os.O_WRONLY)
    os.write(fd, tiff(2)[:100])
    asked = subprocess.Popen([program(), "umount", str(m.path)], stderr=subprocess.PIPE, text=True) if how == "umount" else None
    if asked:
        assert "inbox/flood/late.tif" in asked.stderr.readline()
    else:
        m.process.send_signal(signal.SIGTERM)
        wait_for("no file is opened for writing any more", lambda: cannot_write(m), 20)
    assert m.alive() and os.path.ismount(m.path)
    os.write(fd, tiff(2)[100:])
    os.close(fd)
    assert m.process_ends_within(30) and m.process.returncode == 0 and not os.path.ismount(m.path)
    if asked:
        assert asked.wait(20) == 0
        asked.stderr.close()
    assert len(in_batch(m)) == 2, "both were submitted before the end"
    (tmp_path / "open").touch()
    m.start()
    assert set(m.wait_jobs(2).values()) == {"completed"}


def test_case_38_killed_during_an_upload(make_mount, tmp_path):
    """38: SIGKILL while a file goes up: no half file, and what was closed before is there; cp again succeeds."""
    m = start(make_mount, write_pipeline(tmp_path / "p.json"), "block_size=256K")
    put(m, "done.tif", 1)
    data = tiff(2, 2000)
    fd = os.open(m.path / "inbox/flood/half.tif", os.O_CREAT | os.O_WRONLY)
    os.write(fd, data[:2 * MIB])
    m.kill()
    with pytest.raises(OSError):
        os.close(fd)
    m.start()
    ends(one_job(m, "flood-done"), "completed")
    assert not (m.path / "inbox/flood/half.tif").exists() and os.listdir(m.path / "rejected") == []
    (m.path / "inbox/flood/half.tif").write_bytes(data)
    assert (ends(one_job(m, "flood-half"), "completed") / "image").read_bytes() == data and len(in_batch(m)) == 2


@pytest.mark.parametrize("point", ["after-commit", "after-job", "before-manifest"])
def test_case_38_killed_between_upload_and_submission(make_mount, tmp_path, point):
    """38: SIGKILL after the commit, amid the submission, before the manifest: exactly one job, which completes."""
    m = make_mount(f"pipeline={write_pipeline(tmp_path / 'p.json')}", "poll=0.1").start(ADAFS_CRASH_AT=point)
    put(m, "a.tif", 1)
    wait_for("it kills itself", lambda: not m.alive(), 30)
    m.start()
    job = ends(one_job(m, "flood-a"), "completed")
    assert in_batch(m) == [job.name]


def test_case_38_killed_during_a_merge(make_mount, tmp_path):
    """38: SIGKILL while the merge runs: it ends with no client alive, and another mount shows the whole map."""
    pipeline = json.loads(write_pipeline(tmp_path / "p.json").read_text())
    pipeline["merge"]["command"] = f"{gate(tmp_path / 'open')}; " + pipeline["merge"]["command"]
    (tmp_path / "p.json").write_text(json.dumps(pipeline))
    m = start(make_mount, tmp_path / "p.json")
    put(m, "a.tif", 1)
    job = one_job(m, "flood-a")
    wait_for("the merge runs", lambda: (job / "steps/merge/stdout.txt").read_text() == "waiting\n", 30)
    m.kill()
    (tmp_path / "open").touch()
    settings = {**m.env, **m.engine_settings()}
    wait_for("the job ends", lambda: [j["state"] for j in batch_get(settings, "/jobs")] == ["completed"], 30)
    m.start()
    ends(one_job(m, "flood-a"), "completed")
    wait_for("the map", lambda: map_of(m) == [str(len(tiff(1)))], 20)


# --- 39: results in use ----------------------------------------------------------------------------------------


@pytest.fixture
def layered(make_mount, tmp_path):
    """A mount whose map is a GeoPackage and a text."""
    need("ogr2ogr")
    pipeline = json.loads(write_pipeline(tmp_path / "p.json").read_text())
    pipeline["merge"]["command"] += (
        """; printf '{"type":"Feature","properties":{"n":%d},"geometry":{"type":"Point","coordinates":[1,2]}}' $(wc -l < all.txt)"""
        " > point.json; ogr2ogr -f GPKG map.gpkg point.json -nln map")
    pipeline["merge"]["outputs"]["map"] = "map.gpkg"
    (tmp_path / "p.json").write_text(json.dumps(pipeline))
    m = start(make_mount, tmp_path / "p.json")
    put(m, "a.tif", 1)
    ends(one_job(m, "flood-a"), "completed")
    wait_for("the map", lambda: map_of(m), 20)
    return m


def test_case_39_a_map_that_is_open_while_it_is_merged_again(layered):
    """39: who has a result open reads the old map to its end, a new open sees the new one."""
    event = layered.path / "results/flood"
    old = (event / "map.gpkg").read_bytes()
    with open(event / "map.gpkg", "rb", buffering=0) as f:
        head = f.read(100)
        put(layered, "b.tif", 2, 32)
        ends(one_job(layered, "flood-b"), "completed")
        wait_for("the new map", lambda: len(map_of(layered)) == 2, 20)
        assert head + f.read() == old
    assert "n (Integer) = 2" in run("ogrinfo", "-ro", "-al", event / "map.gpkg").stdout


def test_case_39_a_geopackage_is_opened_where_nothing_can_be_written(layered):
    """39: ogrinfo and SQLite open a .gpkg of results/ although no journal can be made beside it."""
    path = layered.path / "results/flood/map.gpkg"
    assert "Feature Count: 1" in run("ogrinfo", "-so", "-al", path).stdout
    assert run(need("sqlite3"), f"file:{path}?mode=ro", "select count(*) from map").stdout == "1\n"
    assert [name for name in os.listdir(path.parent) if name.startswith("map.")] == ["map.gpkg"], "no journal beside it"


def test_case_39_nobody_changes_results_and_jobs(layered):
    """39: vi on a result, cp and rm in results/ and jobs/: an error, and nothing is changed."""
    event, job = layered.path / "results/flood", one_job(layered, "flood-a")
    before = (event / "all.txt").read_bytes()
    vim = shutil.which("vim.tiny") or need("vim")
    done = run(vim, "-N", "-u", "NONE", "-i", "NONE", "-n", "-es", "-c", "s/./x/", "-c", "w!", "-c", "qa!", event / "all.txt", want=None)
    assert done.returncode != 0 and (event / "all.txt").read_bytes() == before
    for command in (["cp", "/etc/hostname", event / "all.txt"], ["rm", "-f", event / "all.txt"], ["touch", event / "new"],
                    ["mv", job, job.with_name("other")], ["rm", "-rf", job / "steps"], ["cp", "/etc/hostname", job / "state"]):
        run(*command, want=1)
    assert errno_of(lambda: open(event / "all.txt", "w")) == errno.EROFS
    assert errno_of(lambda: open(job / "state", "w")) in (errno.EROFS, errno.EPERM)
    assert (event / "all.txt").read_bytes() == before and (job / "state").read_text() == "completed\n"


# --- 40: the engine of this machine -----------------------------------------------------------------------------


def test_case_40_a_missing_interpreter(make_mount, tmp_path):
    """40: the program of a step is not installed: the step's failure says so, its stderr names it."""
    m = start(make_mount, changed(tmp_path / "p.json", command="no-such-interpreter {image} > size.txt"))
    put(m, "a.tif", 1)
    look = ends(one_job(m, "flood-a"), "failed") / "steps/look"
    assert "command was not found" in (look / "failure").read_text() and "no-such-interpreter" in (look / "stderr.txt").read_text()


def test_case_40_a_step_that_leaves_children(make_mount, tmp_path):
    """40: what a step starts in the background ends with it."""
    pid = tmp_path / "pid"
    m = start(make_mount, changed(tmp_path / "p.json", command=f"sleep 600 & echo $! > {pid}; wc -c < {{image}} > size.txt"))
    put(m, "a.tif", 1)
    ends(one_job(m, "flood-a"), "completed")

    def ended():
        try:
            return ") Z " in Path(f"/proc/{int(pid.read_text())}/stat").read_text()
        except FileNotFoundError:
            return True
    wait_for("the child has ended", ended, 20)


def test_case_40_the_machine_goes_down_and_comes_back(make_mount, tmp_path):
    """40: mount, engine and tasks are killed at once: the next mount starts the engine, and the job runs to its end."""
    m = start(make_mount, write_pipeline(tmp_path / "p.json", gate(tmp_path / "open")))
    put(m, "a.tif", 1)
    job = one_job(m, "flood-a")
    wait_for("its first step runs", lambda: (job / "steps/look/stdout.txt").read_text() == "waiting\n", 30)
    engine = int(m.engine_settings()["ADAFS_EMULATOR_PID"])
    m.process.send_signal(signal.SIGSTOP)  # so that it starts no other engine before it is killed itself
    os.kill(engine, signal.SIGKILL)
    m.kill()
    (tmp_path / "open").touch()
    m.start()
    assert in_batch(m) == [ends(one_job(m, "flood-a"), "completed").name]
    wait_for("the map", lambda: map_of(m) == [str(len(tiff(1)))], 20)


def emulator_ends(directory, *options) -> str:
    done = subprocess.run([program(), "emulator", "--dir", str(directory), *options], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    return done.stderr


def test_case_40_a_port_that_is_taken(tmp_path):
    """40: another program has the port: the engine ends and names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port) in emulator_ends(tmp_path / "e", "--blob", f"127.0.0.1:{port}", "--batch", "127.0.0.1:0")


def test_case_40_a_second_engine_on_one_directory(emulator):
    """40: a directory has one engine; the second is refused and the first goes on."""
    said = emulator_ends(emulator.directory, "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0")
    assert str(emulator.directory) in said and emulator.counters() is not None


def test_case_40_a_step_that_floods_its_log(make_mount, tmp_path):
    """40: 40 MB of stdout: the job completes, and the log is read to its end without filling the mount's memory."""
    m = start(make_mount, changed(tmp_path / "p.json", command="yes 0123456789abcde | head -c 40000000; wc -c < {image} > size.txt"))
    put(m, "a.tif", 1)
    log = ends(one_job(m, "flood-a"), "completed") / "steps/look/stdout.txt"
    assert log.stat().st_size == 40_000_000
    assert int(run("tail", "-c", 16, log).stdout.strip(), 16) == 0x0123456789abcde
    status = Path(f"/proc/{m.process.pid}/status").read_text()
    if "san" not in os.environ.get("ADAFS_BIN", ""):
        assert int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) < 200 * 1024

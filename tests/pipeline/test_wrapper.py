"""The step wrapper, run for real by /bin/sh in private directories."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

WRAPPER = pathlib.Path(__file__).resolve().parents[2] / "batch" / "pipeline" / "wrapper.sh"
STAGE = ".adafs/stage/"


class Task:
    """A task's directory as a node would have prepared it."""

    def __init__(self, root, shell="/bin/sh"):
        self.wd = root / "wd"
        self.shell = shell
        (self.wd / ".adafs").mkdir(parents=True)
        (self.wd / ".adafs" / "wrapper.sh").write_bytes(WRAPPER.read_bytes())
        self.env = {
            "PATH": os.environ["PATH"],
            "AZ_BATCH_TASK_WORKING_DIR": str(self.wd),
            "ADAFS_MODE": "step",
            "ADAFS_STEP": "02-tile",
            "ADAFS_JOB": "flood-a-00000001",
            "ADAFS_RUN": "1",
            "ADAFS_TIME_LIMIT": "60",
            "ADAFS_RETRIES": "0",
            "ADAFS_SHELL": "/bin/sh\n-c",
        }

    def put(self, path, text=""):
        file = self.wd / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def start(self, command, inputs=(), outputs=(), **env):
        full = dict(self.env, ADAFS_COMMAND=command)
        full["ADAFS_INPUTS"] = "".join("\t".join(i) + "\n" for i in inputs)
        full["ADAFS_OUTPUTS"] = "".join("\t".join(o) + "\n" for o in outputs)
        full.update({"ADAFS_" + k.upper(): str(v) for k, v in env.items()})
        return subprocess.Popen(
            [self.shell, ".adafs/wrapper.sh"], cwd=self.wd, env=full, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True)

    def run(self, command, inputs=(), outputs=(), **env):
        with self.start(command, inputs, outputs, **env) as p:
            self.out, self.err = p.communicate(timeout=50)
        return p.returncode

    @property
    def end(self):
        return json.loads((self.wd / ".adafs/end.json").read_text())

    @property
    def part(self):
        return json.loads((self.wd / ".adafs/part/part.json").read_text())


@pytest.fixture(params=["/bin/dash", "/bin/bash"])
def task(request, tmp_path):
    if not os.path.exists(request.param):
        pytest.skip(request.param + " is not installed")
    return Task(tmp_path, request.param)


def end_json(task, prefix, result, cause=""):
    task.put(STAGE + prefix + "end.json",
             '{\n"step": "01-cover",\n"result": "%s",\n"cause": "%s",\n"x": 1\n}\n' % (result, cause))


def wait_for(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


# --- results and exit codes ------------------------------------------------------------------

def test_completed(task):
    task.put(".adafs/in/image/a.tif", "12345")
    rc = task.run("echo hello; echo oops >&2; cat in/image/a.tif in/image/a.tif >out.txt",
                  [("must", "file", ".adafs/in/image/a.tif", "in/image/a.tif", "-")],
                  [("text", "must", "file", "out.txt")])
    assert rc == 0, task.err
    assert task.out == "hello\n" and task.err == "oops\n"
    end = task.end
    assert end["result"] == "completed" and end["exit_code"] == 0 and end["attempts"] == 1
    assert end["cause"] == "" and end["step"] == "02-tile"
    assert end["inputs"] == [{"path": "in/image/a.tif", "files": 1, "bytes": 5}]
    assert end["outputs"] == [{"name": "text", "path": "out.txt", "files": 1, "bytes": 10}]
    assert end["started"] <= end["finished"]


@pytest.mark.parametrize("code,expected", [(1, 1), (3, 3), (64, 1), (66, 1), (77, 1), (97, 1),
                                           (126, 126)])
def test_failed(task, code, expected):
    assert task.run(f"exit {code}") == expected
    end = task.end
    assert (end["result"], end["exit_code"], end["cause"]) == ("failed", code, "exit code")


def test_stop_code_is_empty(task):
    assert task.run("exit 64", stop_on="3 64", retries=3) == 64
    assert task.end["result"] == "empty" and task.end["attempts"] == 1
    assert task.run("exit 3", stop_on="3 64") == 64
    assert task.end["exit_code"] == 3
    assert task.run("exit 6", stop_on="3 64") == 6


def test_output_missing(task):
    rc = task.run("touch a.txt", (), [("a", "must", "file", "a.txt"), ("b", "must", "file", "b.txt"),
                                      ("c", "may", "file", "c.txt")])
    assert rc == 66
    assert task.end["result"] == "failed" and "b.txt" in task.end["message"]
    assert "c.txt" not in task.end["message"] and "a.txt" not in task.end["message"]


def test_folder_output(task):
    command = "mkdir -p o/x/y o/.hidden; touch o/1.tif o/x/2.tif o/x/y/3.png; printf abc >o/x/y/4.tif"
    rc = task.run(command, (), [("all", "must", "dir", "o/**/*.tif"), ("one", "must", "dir", "o/x/*.tif"),
                                ("q", "must", "dir", "o/?.tif"), ("set", "must", "dir", "o/*/y/[34].*")])
    assert rc == 0, task.err
    assert [(o["files"], o["bytes"]) for o in task.end["outputs"]] == [(3, 3), (1, 0), (1, 0), (2, 3)]
    assert task.run(command, (), [("no", "must", "dir", "o/**/*.gif")]) == 66


def test_many_files(task):
    command = "mkdir o; i=0; while [ $i -lt 1100 ]; do printf x >o/$i.t; i=$((i+1)); done"
    assert task.run(command, (), [("o", "must", "dir", "o/**/*.t")]) == 0
    assert task.end["outputs"][0]["files"] == task.end["outputs"][0]["bytes"] == 1100


def test_odd_names_in_outputs(task):
    command = "mkdir o; touch 'o/a b.t' 'o/$(x).t' 'o/q\"uote.t' 'o/-n.t' 'o/[x].t' \"$(printf 'o/l\\nf.t')\""
    assert task.run(command, (), [("o", "must", "dir", "o/**/*.t")]) == 0
    assert task.end["outputs"][0]["files"] == 6


# --- inputs ---------------------------------------------------------------------------------

def test_skipped_by_cause(task):
    inputs = [("must", "file", STAGE + "work/j/01-cover/1/out/csv/c.csv", "in/cover.csv/c.csv",
               "work/j/01-cover/1/end.json", "x")]
    for result, cause, expected in [("empty", "", "empty"), ("failed", "exit code", "failed"),
                                    ("skipped", "empty", "empty"), ("skipped", "failed", "failed"),
                                    ("completed", "", "failed")]:
        end_json(task, "work/j/01-cover/1/", result, cause)
        assert task.run("echo ran", inputs) == 97
        assert task.out == ""
        assert (task.end["result"], task.end["cause"]) == ("skipped", expected)
        assert task.end["exit_code"] is None
        assert "01-cover" in task.end["message"]


def test_skipped_without_word(task):
    assert task.run("echo ran", [("must", "dir", STAGE + "work/j/01-a/1/out/x", "in/a.x",
                                  "work/j/01-a/1/end.json", "x")]) == 97
    assert task.end["cause"] == "failed" and "01-a" in task.end["message"]


def test_folder_that_arrived_in_part(task):
    work = "work/j/01-tile/1/"
    task.put(STAGE + work + "out/images/1.tif")
    task.put(STAGE + work + "out/images/2.tif")
    row = [("must", "dir", STAGE + work + "out/images", "in/tile.images", work + "end.json",
            "images")]
    for count, expected in ((2, 0), (3, 97)):
        task.put(STAGE + work + "end.json",
                 '{\n"step": "01-tile",\n"result": "completed",\n"cause": "",\n"outputs": [\n'
                 '{"name": "other", "path": "x", "files": 9, "bytes": 0},\n'
                 '{"name": "images", "path": "i/*", "files": %d, "bytes": 0}\n]\n}\n' % count)
        assert task.run("true", row) == expected
    assert task.end["cause"] == "failed" and "did not arrive" in task.end["message"]


def test_failure_outranks_empty(task):
    end_json(task, "work/j/01-a/1/", "empty")
    end_json(task, "work/j/02-b/1/", "failed")
    rows = [("must", "file", STAGE + f"work/j/{s}/1/out/x/x", f"in/{s}.x/x", f"work/j/{s}/1/end.json", "x")
            for s in ("01-a", "02-b")]
    for inputs in (rows, rows[::-1]):
        assert task.run("true", inputs) == 97
        assert task.end["cause"] == "failed"


def tile_end(task, shares, result="completed"):
    """The end.json of a step whose output `images` is read in shares: files by share."""
    total = sum(shares.values())
    lines = ['{"name": "images", "path": "i/**/*", "files": %d, "bytes": 0}' % total]
    lines += ['{"name": "images/%s", "path": "i/%s/**/*", "files": %d, "bytes": 0}' % (k, k, n)
              for k, n in shares.items()]
    task.put(STAGE + "work/j/02-tile/1/end.json",
             '{\n"step": "02-tile",\n"result": "%s",\n"cause": "",\n"outputs": [\n%s\n]\n}\n'
             % (result, ",\n".join(lines)))


def share_of(k):
    return [("share", "dir", STAGE + f"work/j/02-tile/1/out/images/{k}", "in/tile.images",
             "work/j/02-tile/1/end.json", f"images/{k}")]


def test_a_shard_sees_its_share(task):
    tile_end(task, {"0": 2, "1": 1})
    for name in ("0/a.tif", "0/b.tif", "1/c.tif"):
        task.put(STAGE + "work/j/02-tile/1/out/images/" + name)
    assert task.run("ls in/tile.images", share_of(0), shard=0, shards=3) == 0
    assert task.out == "a.tif\nb.tif\n"
    assert task.run("ls in/tile.images", share_of(1)) == 0 and task.out == "c.tif\n"


def test_a_shard_without_a_share_has_nothing_to_do(task):
    tile_end(task, {"0": 2, "1": 1})
    assert task.run("echo ran", share_of(2), [("masks", "must", "dir", "m/*", "0")]) == 0
    assert task.out == "" and "no share" in task.err
    assert task.end["result"] == "completed" and task.end["outputs"] == []


def test_a_share_that_did_not_arrive_is_no_idle_shard(task):
    tile_end(task, {"0": 2, "1": 1})
    assert task.run("echo ran", share_of(1)) == 97
    task.put(STAGE + "work/j/02-tile/1/out/images/0/a.tif")
    assert task.run("echo ran", share_of(0)) == 97
    assert task.end["cause"] == "failed"
    tile_end(task, {}, "empty")
    assert task.run("echo ran", share_of(1)) == 97 and task.end["cause"] == "empty"


def test_what_shards_left_comes_together(task):
    rows = [("some", "dir", STAGE + f"work/j/03-predict/1/out/masks/{k}", "in/predict.masks",
             f"work/j/03-predict/1/end/{k}.json", "masks") for k in (0, 1)]
    for k in (0, 1):
        task.put(STAGE + f"work/j/03-predict/1/end/{k}.json",
                 '{\n"step": "03-predict-%d",\n"result": "completed",\n"cause": "",\n"outputs": [\n%s]\n}\n'
                 % (k, '{"name": "masks", "path": "m/*", "files": 1, "bytes": 0}\n' if k == 0 else ""))
    task.put(STAGE + "work/j/03-predict/1/out/masks/0/a.png")
    assert task.run("ls in/predict.masks", rows) == 0 and task.out == "a.png\n"
    task.put(STAGE + "work/j/03-predict/1/end/1.json",
             '{\n"step": "03-predict-1",\n"result": "failed",\n"cause": "exit code"\n}\n')
    assert task.run("echo ran", rows) == 97
    assert task.end["cause"] == "failed" and "03-predict-1" in task.end["message"]


def test_shares_are_counted(task):
    out = [("images", "must", "dir", "i/**/*.tif", "3")]
    make = "mkdir -p i/0/x i/1; touch i/0/a.tif i/0/x/b.tif i/1/c.tif i/1/no.txt"
    assert task.run(make, (), out) == 0
    assert [(o["name"], o["files"]) for o in task.end["outputs"]] == [
        ("images", 3), ("images/0", 2), ("images/1", 1)]
    assert task.run(make + "; touch i/d.tif", (), out) == 66
    assert "outside" in task.end["message"] and "images" in task.end["message"]
    assert task.run("mkdir -p 0/t 2/t; touch 0/t/a 2/t/b", (), [("o", "must", "dir", "*/t/*", "3")]) == 0
    assert [o["name"] for o in task.end["outputs"]] == ["o", "o/0", "o/2"]


def test_optional_input(task):
    row = [("may", "file", STAGE + "work/j/01-a/1/out/x/x", "in/a.x/x", "work/j/01-a/1/end.json", "x")]
    end_json(task, "work/j/01-a/1/", "completed")
    assert task.run("[ ! -e in/a.x/x ]", row) == 0
    end_json(task, "work/j/01-a/1/", "failed")
    assert task.run("true", row) == 97
    assert task.run("true", [("may", "file", STAGE + "assets/a b.gpkg", "in/water/a_b.gpkg", "-")]) == 0
    task.put(STAGE + "assets/a b.gpkg", "x")
    assert task.run("cat in/water/a_b.gpkg", [("may", "file", STAGE + "assets/a b.gpkg",
                                               "in/water/a_b.gpkg", "-")]) == 0
    assert task.out == "x"


def test_placements(task):
    work = STAGE + "work/j/01-tile/1/out/"
    task.put(work + "images/17/1/a.tif", "a")
    task.put(work + "images/17/b.tif", "b")
    task.put(work + "post/merged.tif", "m")
    task.put(".adafs/in/pre/001-x.tif", "x")
    inputs = [("must", "dir", work + "images", "set/images", "work/j/01-tile/1/end.json", "x"),
              ("must", "file", work + "post/merged.tif", "raw/post-event/merged.tif", "work/j/01-tile/1/end.json", "x"),
              ("must", "dir", ".adafs/in/pre", "data/pre-event/", "-"),
              ("must", "dir", work + "images", "data/pre-event/", "-")]
    assert task.run("find set raw data -type f | sort", inputs) == 0, task.err
    assert task.out.split() == ["data/pre-event/001-x.tif", "data/pre-event/17/1/a.tif",
                                "data/pre-event/17/b.tif", "raw/post-event/merged.tif",
                                "set/images/17/1/a.tif", "set/images/17/b.tif"]


# --- attempts ---------------------------------------------------------------------------------

def test_retry_starts_clean(task):
    task.put(".adafs/in/image/a.tif", "x")
    inputs = [("must", "file", ".adafs/in/image/a.tif", "in/image/a.tif", "-")]
    command = ("[ ! -e left ] || exit 9; rm in/image/a.tif; touch left .left out.txt; "
               "echo x >>.adafs/n; [ $(wc -l <.adafs/n) -eq 3 ] || exit 5")
    assert task.run(command, inputs, [("o", "must", "file", "out.txt")], retries=2) == 0, task.err
    assert task.end["attempts"] == 3
    assert "once more" in task.err


def test_retries_used_up(task):
    assert task.run("echo x >>.adafs/n; exit 7", retries=2) == 7
    assert len((task.wd / ".adafs/n").read_text().split()) == 3
    assert task.end["attempts"] == 3


def test_old_outputs_are_cleared(task):
    task.put("out.txt", "old")
    assert task.run("true", (), [("o", "must", "file", "out.txt")]) == 66
    assert not (task.wd / "out.txt").exists()


def test_refuses_a_foreign_folder(tmp_path):
    keep = tmp_path / "keep"
    keep.write_text("x")
    for env in ({}, {"AZ_BATCH_TASK_WORKING_DIR": str(tmp_path)},
                {"AZ_BATCH_TASK_WORKING_DIR": str(tmp_path / "none")}):
        p = subprocess.run(["/bin/sh", str(WRAPPER)], cwd=tmp_path, env={"PATH": os.environ["PATH"], **env},
                           capture_output=True, text=True, timeout=20)
        assert p.returncode == 1 and "Batch task" in p.stderr
        assert list(tmp_path.iterdir()) == [keep]


def test_time_limit_kills_the_group(task):
    rc = task.run("trap '' TERM; sleep 300 & echo $! >.adafs/child; wait; sleep 300 & wait; exit 0",
                  time_limit=1, retries=5, grace=1)
    # The command ignores TERM, so it ends by KILL or by its own exit.
    assert rc == 124, task.err
    assert task.end["cause"] == "time limit" and task.end["attempts"] == 1
    child = int((task.wd / ".adafs/child").read_text())
    wait_for(lambda: not alive(child), "a child outlived the time limit")


def test_background_children_do_not_outlive_the_step(task):
    assert task.run("(trap '' TERM HUP; sleep 300) >/dev/null 2>&1 & echo $! >.adafs/child") == 0
    child = int((task.wd / ".adafs/child").read_text())
    wait_for(lambda: not alive(child), "a background child outlived the step")


def processes_in(folder):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd").startswith(str(folder)) and alive(entry.name):
                    found.append(entry.name)
            except OSError:
                pass
    return found


def test_short_steps_leave_no_process(task):
    # The guard must see the end even if it starts after the command has ended.
    for _ in range(25):
        assert task.run("exit 0") == 0
    wait_for(lambda: not processes_in(task.wd), "a process outlived its step")


def test_terminated(task):
    with task.start("echo $$ >.adafs/child; sleep 300") as p:
        wait_for(lambda: (task.wd / ".adafs/child").exists() and
                 (task.wd / ".adafs/child").read_text().strip(), "the command did not start")
        child = int((task.wd / ".adafs/child").read_text())
        p.send_signal(signal.SIGTERM)
        p.communicate(timeout=30)
    assert p.returncode == 143
    assert task.end["cause"] == "terminated"
    wait_for(lambda: not alive(child), "the command outlived its wrapper")


def test_killed_group_takes_the_command_along(task):
    with task.start("echo $$ >.adafs/child; sleep 300") as p:
        wait_for(lambda: (task.wd / ".adafs/child").exists() and
                 (task.wd / ".adafs/child").read_text().strip(), "the command did not start")
        child = int((task.wd / ".adafs/child").read_text())
        os.killpg(p.pid, signal.SIGKILL)
        p.communicate(timeout=30)
    wait_for(lambda: not alive(child), "the command outlived its wrapper")


def test_sas_too_short(task):
    assert task.run("echo ran", time_limit=600, expires=int(time.time()) + 60) == 77
    assert task.out == "" and task.end["cause"] == "sas"
    assert task.run("echo ran", time_limit=600, expires=int(time.time()) + 6000) == 0


def test_shell_and_variables(task):
    assert task.run("echo ${0##*/} a=${HOME:-none} '{x}'", shell="/bin/bash\n-c") == 0
    assert task.out == "bash a=none {x}\n"
    assert task.run("import sys; print('ok')", shell="/usr/bin/python3\n-c") == 0
    assert task.out == "ok\n"


def test_stdout_is_live(task):
    with task.start("echo first; while [ ! -e .adafs/go ]; do sleep 0.05; done; echo second") as p:
        assert p.stdout.readline() == "first\n"
        (task.wd / ".adafs/go").touch()
        assert p.communicate(timeout=30)[0] == "second\n"
    assert p.returncode == 0


# --- the part of a job and the merge ----------------------------------------------------------

IMAGES = '[{"role":"image","blob":"images/fl\\"ood/$(touch x)\\\\ü.tif","snapshot":"2026-01-01T00:00:00.0000000Z"}]'
RESULT = {"result": 1, "part_key": "00ff", "part_order": "2026-01-01T00:00:00.0000000Z",
          "part_images": IMAGES}


def test_part_of_a_result(task):
    outputs = [("b", "must", "file", "o/b.geojson"), ("t", "must", "dir", "o/t/*")]
    assert task.run("mkdir -p o/t; echo x >o/b.geojson; touch o/t/1 o/t/2", (), outputs, **RESULT) == 0
    part = task.part
    assert part["result"] == "completed" and part["job"] == "flood-a-00000001" and part["run"] == 1
    assert part["key"] == "00ff" and part["order"] == RESULT["part_order"]
    assert part["files"] == [{"path": "b.geojson", "files": 1, "bytes": 2}, {"path": "t", "files": 2, "bytes": 0}]
    assert part["images"] == json.loads(IMAGES)
    assert task.run("exit 4", (), outputs, **RESULT) == 4
    assert task.part["result"] == "failed" and task.part["files"] == []
    end_json(task, "work/j/01-a/1/", "empty")
    row = [("must", "file", STAGE + "work/j/01-a/1/out/x/x", "in/a.x/x", "work/j/01-a/1/end.json", "x")]
    assert task.run("true", row, outputs, **RESULT) == 97
    assert (task.part["result"], task.part["cause"]) == ("skipped", "empty")


def test_lineage_is_handed_on(task):
    """Each step tells of itself and of all that made its inputs; what no wrapper wrote is left out."""
    task.env["AZ_BATCH_NODE_ID"] = "tvm-1_2"
    first = ('{"task": "01-cover", "run": 1, "result": "completed", "exit_code": 0, "attempts": 2, '
             '"started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:01:00Z", "node": "a"}')
    shard = first.replace("01-cover", "02-x-%d").replace('"node": "a"', '"node": "b"')
    where = STAGE + "work/flood-a-00000001/"
    for k in range(2):
        lines = ",\n".join([first, shard % k, '{"task": "rm -rf $(x)\\\\"}'])
        task.put(f"{where}02-x/1/end/{k}.json", f'{{\n"step": "02-x-{k}",\n"lineage": [\n{lines}\n]\n}}\n')
    task.put(f"{where}03-y/1/end.json", '{\n"step": "03-y",\n"result": "failed",\n"x": 1\n}\n')
    assert task.run("exit 3", run=2) == 3
    lineage = task.end["lineage"]
    assert [(x["task"], x["run"], x["node"]) for x in lineage] == [
        ("01-cover", 1, "a"), ("02-tile", 2, "tvm-1_2"), ("02-x-0", 1, "b"), ("02-x-1", 1, "b")]
    assert lineage[0] == json.loads(first)
    own = lineage[1]
    assert (own["result"], own["exit_code"], own["attempts"]) == ("failed", 3, 1)
    assert own["started"] == task.end["started"] and own["finished"] == task.end["finished"]


def test_manifest_of_a_result(task):
    where = STAGE + "work/flood-a-00000001/"
    head = {"version": 1, "event": "fl\"ood\n", "images": [{"name": "}\t$(x)ü"}], "wrapper": "ff"}
    pipeline = {"name": "p", "digest": "d", "text": "{\"a\": \"%s\\n\"}\n"}
    task.put(".adafs/pipeline.json", json.dumps(pipeline))
    task.put(f"{where}01-cover/1/end.json", '{\n"lineage": [\n{"task": "01-cover", "run": 1, "result": "completed", '
             '"exit_code": 0, "attempts": 1, "started": "s", "finished": "f", "node": "n"}\n]\n}\n')
    step = '%s\t%d\t{"name":"%s","run":%d,"reused":%s,"key":"k"}\n'
    steps = {"manifest": json.dumps(head), "steps_1": step % ("01-cover", 1, "cover", 1, "true"),
             "steps_2": step % ("02-tile", 2, "tile", 2, "false") + step % ("03-aside", 2, "aside", 2, "false")}
    out = [("b", "must", "file", "b.txt")]
    assert task.run("echo x >b.txt", (), out, run=2, **steps, **RESULT) == 0
    told = json.loads((task.wd / ".adafs/part/manifest.json").read_text())
    assert {k: told[k] for k in head} == head and told["pipeline"] == pipeline
    assert (told["run"], told["result"]) == (2, "completed") and told["written"] == task.end["finished"]
    assert told["files"] == [{"path": "b.txt", "files": 1, "bytes": 2}]
    assert [(s["name"], s["result"], s["node"]) for s in told["steps"]] == [
        ("cover", "completed", "n"), ("tile", "completed", ""), ("aside", None, None)]
    assert told["steps"][0]["reused"] is True and told["steps"][0]["run"] == 1
    # A failed one has one, too; without its pipeline it is still JSON.
    (task.wd / ".adafs/pipeline.json").unlink()
    assert task.run("exit 5", (), out, run=2, **steps, **RESULT) == 5
    told = json.loads((task.wd / ".adafs/part/manifest.json").read_text())
    assert (told["result"], told["pipeline"], told["files"]) == ("failed", None, [])


def test_merge_does_not_see_manifests(task):
    job = add_part(task, 1)
    task.put(f"{PARTS}/{job}/manifest.json", "{}")
    assert merge(task, "mkdir out; ls in/parts/* >out/map.txt") == 0, task.err
    (folder,) = (task.wd / ".adafs/merged").iterdir()
    assert "map.txt" in (folder / "map.txt").read_text() and "manifest" not in (folder / "map.txt").read_text()


PARTS = STAGE + "parts/flood \"1\"/quick"
MERGE_OUT = [("map", "must", "file", "out/map.txt")]
MERGE_IN = [("may", "dir", ".adafs/chosen", "in/parts", "-")]


def add_part(task, number, result="completed", cause="", key=None, order="2026-01-01T00:00:00.0000000Z",
             run=1, text=None, images=IMAGES):
    job = f"flood-a-{number:08x}"
    text = text if text is not None else f"{number}\n"
    files = []
    if result == "completed":
        task.put(f"{PARTS}/{job}/map.txt", text)
        files = ['{"path": "map.txt", "files": 1, "bytes": %d}' % len(text)]
    body = ('{\n"job": "%s",\n"run": %d,\n"key": "%s",\n"order": "%s",\n"result": "%s",\n"cause": "%s",\n'
            '"files": [%s\n],\n"images": %s\n}\n')
    key = key or f"{number:04x}"
    task.put(f"{PARTS}/{job}/part.json",
             body % (job, run, key, order, result, cause, "".join("\n" + f for f in files), images))
    return job


def merge(task, command="mkdir out; cat in/parts/*/map.txt >out/map.txt", **env):
    env = {**{"mode": "merge", "step": "09-merge", "parts": PARTS, "merge_id": "00000001",
              "event_json": '"flood \\"1\\""', "pipeline": "quick", "part_key": "0001",
              "part_order": "2026-01-01T00:00:00.0000000Z", "part_images": IMAGES,
              "empty_1": "{\n\"features\": []}"}, **env}
    return task.run(command, MERGE_IN, MERGE_OUT, **env)


def summary(task, folder):
    return json.loads((task.wd / ".adafs/merged" / folder / "summary.json").read_text())


def test_merge(task):
    add_part(task, 1)
    add_part(task, 2)
    add_part(task, 3, "empty")
    add_part(task, 4, "skipped", "empty")
    add_part(task, 5, "skipped", "failed")
    add_part(task, 6, "failed", "exit code")
    assert merge(task) == 0, task.err
    assert [p.name for p in (task.wd / ".adafs/merged").iterdir()] == ["12-00000001"]
    assert (task.wd / ".adafs/merged/12-00000001/map.txt").read_text() == "1\n2\n"
    s = summary(task, "12-00000001")
    assert s["event"] == 'flood "1"' and s["pipeline"] == "quick" and s["count"] == 12
    assert [s[k] for k in ("expected", "done", "empty", "failed", "skipped", "unassessed")] == [6, 2, 2, 2, 0, 0]
    text = (task.wd / ".adafs/merged/12-00000001/summary.txt").read_bytes()
    assert s["files"] == [{"path": "map.txt", "size": 4}, {"path": "summary.txt", "size": len(text)}]
    assert [i["result"] for i in s["images"]] == ["completed", "completed", "empty", "empty", "failed", "failed"]
    assert s["images"][0]["images"] == json.loads(IMAGES)
    assert not (task.wd / ".adafs/part").exists()
    assert task.end["result"] == "completed"


def test_merge_takes_the_newest_of_an_image(task):
    add_part(task, 1, key="aa", order="2026-01-01T00:00:00.0000000Z")
    add_part(task, 2, key="aa", order="2026-01-03T00:00:00.0000000Z")
    add_part(task, 3, key="aa", order="2026-01-02T00:00:00.0000000Z")
    add_part(task, 4, key="bb", order="2026-01-01T00:00:00.0000000Z")
    add_part(task, 5, "failed", key="bb", order="2026-01-02T00:00:00.0000000Z")
    assert merge(task) == 0, task.err
    assert (task.wd / ".adafs/merged/10-00000001/map.txt").read_text() == "2\n"
    s = summary(task, "10-00000001")
    assert (s["count"], s["expected"], s["done"], s["failed"]) == (10, 2, 1, 1)


def test_merge_of_nothing(task):
    add_part(task, 1, "empty")
    assert merge(task) == 0, task.err
    assert (task.wd / ".adafs/merged/2-00000001/map.txt").read_text() == "{\n\"features\": []}"
    assert summary(task, "2-00000001")["done"] == 0


def test_merge_counts_runs(task):
    add_part(task, 1, run=2)
    add_part(task, 2)
    assert merge(task, run=2, merge_id="00000001r2") == 0
    assert summary(task, "6-00000001r2")["expected"] == 2


def test_merge_notes_a_part_that_never_ran(task):
    add_part(task, 2)
    assert merge(task) == 0, task.err
    assert task.part["result"] == "failed" and task.part["cause"] == "not run"
    s = summary(task, "3-00000001")
    assert (s["expected"], s["done"], s["failed"]) == (2, 1, 1)
    add_part(task, 1)  # what an earlier run left does not count for this one
    assert merge(task, run=2) == 0
    assert summary(task, "5-00000001")["failed"] == 1


def test_merge_leaves_out_a_part_that_is_still_arriving(task):
    add_part(task, 1)
    job = add_part(task, 2)
    task.put(f"{PARTS}/{job}/map.txt", "")
    add_part(task, 3)
    (task.wd / PARTS / "flood-a-00000003" / "map.txt").unlink()
    assert merge(task) == 0, task.err
    s = summary(task, "2-00000001")
    assert (s["done"], s["unassessed"]) == (1, 2)
    assert (task.wd / ".adafs/merged/2-00000001/map.txt").read_text() == "1\n"


def test_the_merge_that_knows_more_has_the_higher_count(task):
    """Two merges see all parts, but one of them a part of which a file is not there yet."""
    job = add_part(task, 1)
    add_part(task, 2)
    assert merge(task, merge_id="0000000b") == 0
    whole = [p.name for p in (task.wd / ".adafs/merged").iterdir()]
    late = add_part(task, 2)
    (task.wd / PARTS / late / "map.txt").unlink()
    assert merge(task, merge_id="0000000c") == 0
    part = [p.name for p in (task.wd / ".adafs/merged").iterdir()]
    assert (whole, part) == (["4-0000000b"], ["2-0000000c"])
    # Its own part will never be whole: it knows that, and nobody else does.
    add_part(task, 2)
    (task.wd / PARTS / job / "map.txt").unlink()
    assert merge(task, merge_id="0000000d") == 0
    assert [p.name for p in (task.wd / ".adafs/merged").iterdir()] == ["3-0000000d"]


def test_merge_that_fails_publishes_nothing(task):
    add_part(task, 1)
    assert merge(task, "mkdir out; touch out/map.txt; exit 8") == 8
    assert not (task.wd / ".adafs/merged").exists()
    assert merge(task, "true") == 66
    assert not (task.wd / ".adafs/merged").exists()


def test_merge_without_a_command_writes_the_summary(task):
    add_part(task, 1)
    assert merge(task, "") == 0
    assert summary(task, "2-00000001")["done"] == 1


def image(name, date=None, role="image"):
    """One image as plan_images.c writes it."""
    one = {"role": role, "blob": "images/flood/" + name, "snapshot": "2026-01-01T00:00:00.0000000Z"}
    return json.dumps({**one, "date": date} if date else one, ensure_ascii=False, separators=(",", ":"))


def published(task):
    (folder,) = (task.wd / ".adafs/merged").iterdir()
    return json.loads((folder / "summary.json").read_text()), (folder / "summary.txt").read_text()


DIGEST = "0123456789abcdef" * 4
IMAGE = "registry.example/ada@sha256:" + "5f" * 32


def test_the_summary_in_words(task):
    add_part(task, 1, images=f'[{image("a.tif", "2026-05-03T10:00:00Z")}]')
    add_part(task, 2, "empty", images=f'[{image("b.tif", "2026-05-03")}]')
    add_part(task, 3, "failed", "exit code", images=f'[{image("c.tif")}]')
    add_part(task, 4, "skipped", "failed", images=f'[{image("d.tif", "2026-05-02T23:59:59Z")}]')
    add_part(task, 5, images=f'[{image("e.tif", "2026-05-04")}]')
    (task.wd / PARTS / "flood-a-00000005" / "map.txt").unlink()
    assert merge(task, pipeline_digest=DIGEST, container=IMAGE, part_images=f'[{image("a.tif")}]') == 0, task.err
    s, text = published(task)
    assert (s["pipeline_digest"], s["container"], s["container_digest"]) == (DIGEST, IMAGE, "sha256:" + "5f" * 32)
    assert s["dates"] == {"first": "2026-05-02T23:59:59Z", "last": "2026-05-04", "unknown": 1}
    assert s["expected"] == s["done"] + s["empty"] + s["failed"] + s["skipped"] + s["unassessed"] == 5
    assert text == f"""\
Event: flood \\"1\\"
Pipeline: quick, digest 0123456789ab
Container: {IMAGE}
Written: {s["written"]} by run 1 of job flood-a-00000001
Images: 5 expected, 1 done, 1 empty, 2 failed, 1 unassessed
Acquired: 2026-05-02T23:59:59Z to 2026-05-04; unknown of 1 of 5 images

Not in the map:
empty: images/flood/b.tif (job flood-a-00000002): nothing was found
failed: images/flood/c.tif (job flood-a-00000003): exit code
failed: images/flood/d.tif (job flood-a-00000004): an earlier step failed
unassessed: images/flood/e.tif (job flood-a-00000005): its files are still on their way
"""


def test_the_summary_when_all_is_done(task):
    add_part(task, 1, images=f'[{image("a.tif", "2026-05-03")}]')
    add_part(task, 2, images=f'[{image("b.tif", "2026-05-03")}]')
    assert merge(task, container='odd "\\\nimage') == 0, task.err
    s, text = published(task)
    assert (s["pipeline_digest"], s["container"], s["container_digest"]) == (None, "odd image", None)
    assert text.splitlines()[1:3] == ["Pipeline: quick", "Container: odd image"]
    assert text.splitlines()[4:] == ["Images: 2 expected, 2 done, 0 empty, 0 failed, 0 unassessed",
                                     "Acquired: 2026-05-03"]


def test_the_summary_of_nothing(task):
    assert merge(task, part_images="[]") == 0, task.err
    s, text = published(task)
    assert s["dates"] == {"first": None, "last": None, "unknown": 0} and s["container"] is None
    assert [s[k] for k in ("expected", "done", "failed")] == [1, 0, 1]
    assert "Container: none\n" in text and "Acquired: unknown\n" in text
    assert text.endswith("failed: an image (job flood-a-00000001): its last step did not run\n")


def test_dates_are_of_the_newest_parts_only(task):
    add_part(task, 1, key="aa", images=f'[{image("a.tif", "2026-01-01")}]')
    add_part(task, 2, key="aa", order="2026-01-02T00:00:00.0000000Z", images=f'[{image("a.tif", "2026-05-03")}]')
    assert merge(task, part_key="aa") == 0, task.err
    assert published(task)[0]["dates"] == {"first": "2026-05-03", "last": "2026-05-03", "unknown": 0}


def test_sets_of_images_in_the_summary(task):
    """Names that look like what is looked for, and dates that are none."""
    odd = ['x","snapshot":"1","date":"1999-01-01.tif', '{"role":"image","blob":"q', "back\\", 'é "date":"1998-01-01"']
    images = [image(name, date, "pre") for name, date in zip(odd, ("2026-05-03", None, "2026-05-01", "$(touch x)"))]
    add_part(task, 1, "failed", "time limit", images="[" + ",".join(images) + "]")
    add_part(task, 2, images=f'[{image("%s%n -e", "May 2026")},{image("b.tif")}]')
    assert merge(task) == 0, task.err
    s, text = published(task)
    assert s["dates"] == {"first": "2026-05-01", "last": "2026-05-03", "unknown": 4}
    assert [i["images"] for i in s["images"]][0] == [json.loads(i) for i in images]
    assert "Sets of images: 2 expected (6 images), 1 done, 0 empty, 1 failed, 0 unassessed\n" in text
    names = [json.dumps("images/flood/" + n, ensure_ascii=False)[1:-1] for n in odd]
    assert text.splitlines()[-1] == f"failed: {', '.join(names[:3])} and 1 more (job flood-a-00000001): time limit"


def test_no_control_character_gets_into_the_text(task):
    add_part(task, 1, "failed", "\033[31m", images=f'[{image("a.tif")}]'.replace("a.tif", "a\x1b[2J\x7f\t.tif"))
    assert merge(task) == 0, task.err
    (folder,) = (task.wd / ".adafs/merged").iterdir()
    text = (folder / "summary.txt").read_text()
    assert all(c == "\n" or c.isprintable() for c in text)
    assert text.endswith("a[2J.tif (job flood-a-00000001): unknown\n")
    assert json.loads((folder / "summary.json").read_text(), strict=False)["files"][-1]["size"] == len(text)


def test_a_long_list_is_cut(task):
    for n in range(2, 208):
        add_part(task, n, "failed", "exit code", images=f'[{image(f"{n}.tif")}]')
    add_part(task, 1)
    assert merge(task) == 0, task.err
    s, text = published(task)
    lines = text.splitlines()
    assert s["failed"] == 206 and lines[7] == "Not in the map:" and len(lines) == 8 + 200 + 1
    assert lines[-2].startswith("failed: images/flood/201.tif") and lines[-1] == "... and 6 more"


def test_a_part_that_was_deleted(task):
    add_part(task, 1)
    add_part(task, 2, key="aa")
    add_part(task, 3, "deleted", key="aa", order="2026-02-01T00:00:00.0000000Z", run=2)
    assert merge(task, part_key="0001", mode="event") == 0, task.err
    (folder,) = (task.wd / ".adafs/merged").iterdir()
    assert folder.name == "8-00000001" and (folder / "map.txt").read_text() == "1\n"
    s, text = published(task)
    assert (s["expected"], s["done"], len(s["images"])) == (1, 1, 1) and "Not in the map" not in text


def test_merge_ignores_rubbish(task):
    add_part(task, 1)
    task.put(f"{PARTS}/flood-b-00000009/part.json", "rubbish\n")
    task.put(f"{PARTS}/flood-c-00000009/map.txt", "9")
    task.put(f"{PARTS}/flood;d/part.json", (task.wd / PARTS / "flood-a-00000001/part.json").read_text())
    assert merge(task) == 0, task.err
    assert summary(task, "2-00000001")["expected"] == 1


# --- a tree of merges -------------------------------------------------------------------------------------------


LEAVES = ".adafs/stage/work/flood-merge-00000009/leaf/1"


def run_tree(task, tmp_path, leaves, missing=(), lost=0, **root):
    """The parts that lie there, merged by leaves of these jobs and a root."""
    shutil.copytree(task.wd / PARTS, tmp_path / "parts")
    for k, jobs in enumerate(leaves):
        shutil.rmtree(task.wd / PARTS)
        (task.wd / PARTS).mkdir()
        for job in jobs:
            if (tmp_path / "parts" / job).exists():
                shutil.copytree(tmp_path / "parts" / job, task.wd / PARTS / job)
        told = "".join(f"{job} {'may' if job in missing else 'must'}\n" for job in jobs)
        assert merge(task, mode="leaf", parts_of=told) == 0, task.err
        shutil.copytree(task.wd / ".adafs/leaf", tmp_path / "leaves" / str(k))
    shutil.rmtree(task.wd / ".adafs/stage")
    shutil.copytree(tmp_path / "leaves", task.wd / LEAVES)
    return merge(task, mode="root", parts=LEAVES, leaves=str(len(leaves) + lost), **root)


def test_a_tree_says_what_a_flat_merge_says(task, tmp_path):
    jobs = [add_part(task, n, images=f'[{image(f"{n}.tif", f"2026-05-{n:02}")}]') for n in range(1, 8)]
    jobs += [add_part(task, 8, "empty", images=f'[{image("8.tif")}]'),
             add_part(task, 9, "failed", "exit code", images=f'[{image("9.tif")}]'),
             add_part(task, 10, "skipped", "failed", images=f'[{image("10.tif")}]')]
    older = add_part(task, 11, key="0001", order="2025-01-01T00:00:00.0000000Z", run=3)
    assert merge(task, mode="event") == 0, task.err
    flat, text = published(task)
    flat_map = (next((task.wd / ".adafs/merged").iterdir()) / "map.txt").read_text()
    shutil.rmtree(task.wd / PARTS / older)  # the plan leaves it out, and tells its runs
    assert run_tree(task, tmp_path, [jobs[:4], jobs[4:8], jobs[8:]], count_base="6") == 0, task.err
    tree, tree_text = published(task)
    tree_map = (next((task.wd / ".adafs/merged").iterdir()) / "map.txt").read_text()
    assert sorted(tree_map.split()) == sorted(flat_map.split())
    assert tree["count"] == flat["count"] == 2 * 13
    by_job = sorted(tree.pop("images"), key=lambda i: i["job"])
    assert by_job == sorted(flat.pop("images"), key=lambda i: i["job"])
    for s in (tree, flat):
        s.pop("written"), s.pop("files")
    assert tree == flat
    assert sorted(tree_text.splitlines()[4:]) == sorted(text.splitlines()[4:])


def test_a_leaf_tells_of_jobs_without_a_part(task, tmp_path):
    jobs = [add_part(task, n) for n in (1, 2)]
    assert run_tree(task, tmp_path, [jobs + ["flood-a-00000003", "flood-a-00000004"]], missing=["flood-a-00000004"]) == 0
    s, text = published(task)
    assert [s[k] for k in ("expected", "done", "failed", "unassessed")] == [3, 2, 1, 0]
    assert "failed: an image (job flood-a-00000003): its last step did not run\n" in text


def test_a_root_without_a_leaf_makes_no_map(task, tmp_path):
    jobs = [add_part(task, n) for n in (1, 2)]
    assert run_tree(task, tmp_path, [jobs], lost=1) == 1
    assert "leaf-1 did not end well" in task.err
    assert not (task.wd / ".adafs/merged").exists()


def test_a_tree_of_nothing_but_failures(task, tmp_path):
    jobs = [add_part(task, n, "failed", "exit code") for n in (1, 2)]
    assert run_tree(task, tmp_path, [jobs[:1], jobs[1:]]) == 0, task.err
    s, _ = published(task)
    assert [s[k] for k in ("expected", "done", "failed")] == [2, 0, 2]
    (folder,) = (task.wd / ".adafs/merged").iterdir()
    assert json.loads((folder / "map.txt").read_text()) == {"features": []}

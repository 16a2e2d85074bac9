"""Files of tasks: read, brought before the command, stored after it."""
import socket
import sys
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from batch_parts import b, out_file, storage  # noqa: E402, F401
from batch_sign import sh  # noqa: E402, F401


def test_files(b, tmp_path):
    go = tmp_path / "go"
    b.job("f")
    b.add("f", sh("t", "echo one; mkdir -p 'sub dir'; echo data > 'sub dir/x y.txt'; "
                  "while ! test -e %s; do sleep 0.02; done; echo two" % go))
    path = "/jobs/f/tasks/t/files/"
    b.wait_task("f", "t", "running")
    b.wait("first line", lambda: b.call("GET", path + "stdout.txt").body == b"one\n")
    r = b.call("HEAD", path + "stdout.txt")
    assert r.status == 200 and r.headers["content-length"] == "4"
    assert r.headers["ocp-batch-file-isdirectory"] == "False"
    assert r.headers["ocp-batch-file-mode"].startswith("0o100")
    assert urllib.parse.unquote(r.headers["ocp-batch-file-url"]) == b.endpoint + path + "stdout.txt"
    assert "last-modified" in r.headers and "etag" not in r.headers
    r = b.call("GET", path + "stdout.txt", headers={"ocp-range": "bytes=4-1000"})
    assert r.status == 416 and r.code == "InvalidRange"
    go.touch()
    b.wait_task("f", "t")
    r = b.call("GET", path + "stdout.txt", headers={"ocp-range": "bytes=4-1000"})
    assert r.status == 200 and r.body == b"two\n" and "content-range" not in r.headers
    assert b.call("GET", path + "stdout.txt", headers={"ocp-range": "bytes=0-2"}).body == b"one"
    for name in ("wd%2Fsub%20dir%2Fx%20y.txt", "wd/sub%20dir/x%20y.txt"):
        assert b.call("GET", path + name).body == b"data\n"
    assert b.call("GET", path + "nothing").code == "FileNotFound"
    assert b.call("GET", path + "wd%2F..%2F..%2F..%2Fsecret").code == "FileNotFound"
    for root in ("", ".", "%2F", "%2F%2F", "%2F.", "wd%2F.."):
        assert b.call("DELETE", path + root, recursive="true").status in (404, 405)
    flat = {f["name"]: f for f in b.list("/jobs/f/tasks/t/files")}
    assert set(flat) == {"stdout.txt", "stderr.txt", "wd"} and "properties" not in flat["wd"]
    assert flat["stdout.txt"]["properties"]["contentLength"] == "8"
    deep = b.list("/jobs/f/tasks/t/files", recursive="true", S_filter="startswith(name, 'wd/')",
                  maxresults=1)
    assert [f["name"] for f in deep] == ["wd/sub dir", "wd/sub dir/x y.txt"]
    assert b.call("DELETE", path + "wd").status == 409
    assert b.call("DELETE", path + "wd%2Fsub%20dir", recursive="true").status == 200
    assert b.call("HEAD", path + "wd%2Fsub%20dir").status == 404
    node = b.task("f", "t")["nodeInfo"]
    r = b.call("GET", "/pools/local/nodes/%s/files/%s/stdout.txt" %
               (node["nodeId"], node["taskRootDirectory"]))
    assert r.body == b"one\ntwo\n"
    b.ok("POST", "/jobs/f/disable", {"disableTasks": "wait"}, 202)
    b.add("f", sh("later", "true"))
    r = b.call("GET", "/jobs/f/tasks/later/files/stdout.txt")
    assert r.status == 409 and r.code == "OperationInvalidForCurrentState"


def test_links_of_a_task_lead_to_no_other_file(b, tmp_path):
    """What a task links to is not read, measured, listed or deleted for a client, unless it is a node's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("not for clients")
    b.job("links")
    b.add("links", sh("t", "echo mine > f; ln -s f near; ln -s ../wd around; ln -s nothing broken; mkfifo pipe; "
                      "ln -s %s dir; ln -s %s/secret file" % (outside, outside)))
    assert b.wait_task("links", "t")["executionInfo"]["result"] == "success"
    path = "/jobs/links/tasks/t/files/wd/"
    node = b.task("links", "t")["nodeInfo"]
    of_node = "/pools/local/nodes/%s/files/%s/wd/" % (node["nodeId"], node["taskRootDirectory"])
    for top in (path, of_node):
        for name in ("near", "around/f"):
            assert b.call("GET", top + name).body == b"mine\n"
        for name in ("file", "dir", "dir/secret", "around/dir/secret", "broken", "pipe"):
            for method in ("GET", "HEAD"):
                r = b.call(method, top + name)
                assert r.status == 404 and b"clients" not in r.body, (method, name)
        for recursive in ("true", "false"):
            assert b.call("DELETE", top + "dir/secret", recursive=recursive).status == 404
    listed = {f["name"]: f for f in b.list("/jobs/links/tasks/t/files", recursive="true")}
    assert listed["wd/near"]["properties"]["contentLength"] == "5" and listed["wd/around"]["isDirectory"]
    assert listed["wd/file"]["properties"]["fileMode"].startswith("0o120") and not listed["wd/dir"]["isDirectory"]
    assert not [name for name in listed if "secret" in name]
    for name in ("dir", "file", "near"):
        assert b.call("DELETE", path + name, recursive="true").status == 200
    assert b.call("GET", path + "f").body == b"mine\n"
    assert (outside / "secret").read_text() == "not for clients"


def test_a_file_name_that_is_no_text_is_listed(b):
    b.job("names")
    b.add("names", sh("t", "printf x > $(printf 'n\\377me')"))
    assert b.wait_task("names", "t")["executionInfo"]["result"] == "success"
    files = b.list("/jobs/names/tasks/t/files", recursive="true")
    url = next(f["url"] for f in files if f["name"] == "wd/n?me")
    assert b.call("GET", url[len(b.endpoint):]).body == b"x"


def test_resource_files(b, storage):
    for name in ("in/a/x.txt", "in/a/deep/y.txt", "in/ab.txt", "other.txt"):
        storage.put("input", name, name.encode())
    storage.put("input", "big", b"0123456789" * 300000)
    b.job("rf")
    b.add("rf", sh("t", "find . -type f | sort; wc -c < single/file.bin; stat -c %a single/file.bin run.sh",
                   resourceFiles=[
                       {"httpUrl": storage.sas("input", "r", "big"), "filePath": "single/file.bin"},
                       {"httpUrl": storage.sas("input", "r", "other.txt"), "filePath": "run.sh",
                        "fileMode": "0755"},
                       {"storageContainerUrl": storage.sas("input", "rl"), "blobPrefix": "in/a/",
                        "filePath": "data"},
                       {"storageContainerUrl": storage.sas("input", "rl"), "blobPrefix": "none/"}]),
          sh("gone", "true", resourceFiles=[{"httpUrl": storage.sas("input", "r", "nothing"),
                                             "filePath": "f"}]),
          sh("denied", "true", constraints={"maxTaskRetryCount": 3}, resourceFiles=[
              {"httpUrl": storage.endpoint + "/input/big", "filePath": "f"}]),
          sh("nolist", "true", resourceFiles=[{"storageContainerUrl": storage.sas("input", "r")}]),
          sh("nocontainer", "true", resourceFiles=[{"storageContainerUrl": storage.sas("none", "rl")}]),
          sh("expired", "true", resourceFiles=[{"httpUrl": storage.sas("input", "r", "big", hours=-1),
                                                "filePath": "f"}]),
          sh("folder", "true", resourceFiles=[{"httpUrl": storage.sas("input", "r", "big"),
                                               "filePath": "f/"}]),
          sh("escape", "true", resourceFiles=[{"httpUrl": storage.sas("input", "r", "big"),
                                               "filePath": "../../f"}]))
    assert b.wait_task("rf", "t")["executionInfo"]["result"] == "success"
    assert b.file("rf", "t", "stdout.txt").split() == [
        "./data/in/a/deep/y.txt", "./data/in/a/x.txt", "./run.sh", "./single/file.bin", "3000000",
        "770", "755"]
    for task, code in (("gone", "BlobNotFound"), ("denied", "BlobAccessDenied"),
                       ("expired", "BlobAccessDenied"), ("nolist", "ResourceContainerAccessDenied"),
                       ("nocontainer", "ResourceContainerNotFound"),
                       ("folder", "ResourceFileCreateFailed"),
                       ("escape", "ResourceFileCreateFailed")):
        info = b.wait_task("rf", task)["executionInfo"]
        assert info["failureInfo"]["code"] == code, (task, info)
        assert "exitCode" not in info and info["retryCount"] == 0
        assert "sig=" not in str(info)


def test_a_source_that_hangs_keeps_nobody(b):
    """Terminate and time limit end a task whose download never comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = "http://127.0.0.1:%d/f" % server.getsockname()[1]
        b.job("hang")
        b.add("hang", sh("t", "true", resourceFiles=[{"httpUrl": url, "filePath": "f"}]),
              sh("limit", "true", resourceFiles=[{"httpUrl": url, "filePath": "f"}],
                 constraints={"maxWallClockTime": "PT1S"}))
        b.wait_task("hang", "t", "running")
        b.ok("POST", "/jobs/hang/tasks/t/terminate", status=204)
        for t in ("t", "limit"):
            info = b.wait_task("hang", t, seconds=10)["executionInfo"]
            assert info["failureInfo"]["code"] == "TaskEnded" and "exitCode" not in info


def test_output_files(b, storage):
    b.job("of", usesTaskDependencies=True)
    make = "mkdir -p out/sub; echo a > out/a.txt; echo b > out/sub/b.txt; echo c > out/.hid; echo said"
    both = [out_file(storage, "out/**/*", "tasksuccess", "r1"),
            out_file(storage, "**/*.txt", "tasksuccess", "r2/"),
            out_file(storage, "out/a.txt", "tasksuccess", "renamed"),
            out_file(storage, "out/**", "tasksuccess", "r3"),
            out_file(storage, "nothing-here", "tasksuccess"),
            out_file(storage, "../std*.txt", "taskcompletion", "logs/$AZ_BATCH_TASK_ID"),
            out_file(storage, "$AZ_BATCH_TASK_DIR/std*.txt", "taskcompletion", "expanded"),
            out_file(storage, "out/a.txt", "taskfailure", "failed")]
    b.add("of", sh("t", make, outputFiles=both))
    b.wait_task("of", "t")
    names = {n: storage.read("output", n) for n in (
        "r1/a.txt", "r1/sub/b.txt", "r2/out/a.txt", "r2/out/sub/b.txt", "renamed",
        "logs/$AZ_BATCH_TASK_ID/stdout.txt", "logs/$AZ_BATCH_TASK_ID/stderr.txt", "expanded/stdout.txt")}
    assert names == {"r1/a.txt": b"a\n", "r1/sub/b.txt": b"b\n", "r2/out/a.txt": b"a\n",
                     "r2/out/sub/b.txt": b"b\n", "renamed": b"a\n",
                     "logs/$AZ_BATCH_TASK_ID/stdout.txt": b"said\n",
                     "logs/$AZ_BATCH_TASK_ID/stderr.txt": b"", "expanded/stdout.txt": b"said\n"}
    for n in ("r1/.hid", "failed", "nothing-here", "r3/a.txt", "r3/sub/b.txt"):
        assert storage.read("output", n) is None, n
    assert "renamed" in b.file("of", "t", "fileuploadout.txt")
    assert b.file("of", "t", "fileuploaderr.txt") == ""
    assert "sig=" not in b.file("of", "t", "fileuploadout.txt")

    bad = [out_file(storage, "f", container="missing"), out_file(storage, "f", path="still")]
    b.add("of", sh("up", "echo x > f", outputFiles=bad),
          sh("child", "true", dependsOn={"taskIds": ["up"]}),
          sh("up2", "echo x > f", outputFiles=[out_file(storage, "f", path="p", sp="r")],
             exitConditions={"fileUploadError": {"dependencyAction": "satisfy"}}),
          sh("child2", "true", dependsOn={"taskIds": ["up2"]}))
    info = b.wait_task("of", "up")["executionInfo"]
    assert info["exitCode"] == 0 and info["result"] == "failure"
    assert info["failureInfo"]["code"] == "FileUploadContainerNotFound"
    assert storage.read("output", "still") == b"x\n"  # one failing file does not stop the others
    assert '"code":"FileUploadContainerNotFound"' in b.file("of", "up", "fileuploaderr.txt")
    assert b.wait_task("of", "up2")["executionInfo"]["failureInfo"]["code"] == "FileUploadAccessDenied"
    b.wait_task("of", "child2")
    assert b.task("of", "child")["state"] == "active"

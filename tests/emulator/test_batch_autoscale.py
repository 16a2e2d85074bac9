"""Autoscale of the emulated Batch service, over HTTP: formulas, their runs, and what they do."""
import json
import os
import urllib.error
import urllib.request

import pytest

from harness import Emulator, batch_call, wait_for

# A nominal minute takes 60 ms: samples each 30 ms, an interval of five minutes 0.3 s.
SPEED = 1000
IMAGE = {"nodeAgentSKUId": "batch.node.debian 12",
         "imageReference": {"publisher": "debian", "offer": "debian-12", "sku": "12"}}


@pytest.fixture
def emulator(tmp_path):
    e = Emulator(tmp_path / "state", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0",
                 "--trap", f"clock_speed={SPEED}").start()
    yield e
    e.stop()


def refused(call) -> tuple[int, str, dict]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        call()
    body = json.loads(caught.value.read())
    return caught.value.code, body["code"], {v["key"]: v["value"] for v in body.get("values", [])}


def add_pool(e: Emulator, pool: str, formula: str, **more) -> None:
    batch_call(e.settings, "POST", "/pools", {
        "id": pool, "vmSize": "standard_d2s_v3", "virtualMachineConfiguration": IMAGE,
        "enableAutoScale": True, "autoScaleFormula": formula,
        "autoScaleEvaluationInterval": "PT5M", **more})


def get_pool(e: Emulator, pool: str) -> dict:
    return batch_call(e.settings, "GET", f"/pools/{pool}")


def test_a_pool_follows_its_tasks_and_goes_to_zero(emulator, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    call = lambda method, path, body=None: batch_call(emulator.settings, method, path, body)
    add_pool(emulator, "p", "n = $PendingTasks.GetSamplePercent(3 * TimeInterval_Minute) < 50 ? 0 :"
             " max($PendingTasks.GetSample(3 * TimeInterval_Minute));\n"
             "$TargetDedicatedNodes = min(2, n);\n$NodeDeallocationOption = taskcompletion;")
    wait_for("the first run", lambda: "autoScaleRun" in get_pool(emulator, "p"), 10)
    assert get_pool(emulator, "p")["currentDedicatedNodes"] == 0
    call("POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}, "usesTaskDependencies": True})
    call("POST", "/jobs/j/addtaskcollection", {"value": [
        {"id": "first", "commandLine": f"/bin/cat {gate}"},
        {"id": "second", "commandLine": "/bin/true"},
        {"id": "later", "commandLine": "/bin/true", "dependsOn": {"taskIds": ["second"]}}]})
    wait_for("two nodes", lambda: get_pool(emulator, "p")["currentDedicatedNodes"] == 2, 20)
    gate.write_bytes(b"")
    wait_for("the tasks end", lambda: call("GET", "/jobs/j/taskcounts")["taskCounts"]["completed"] == 3,
             20)
    pool = wait_for("no nodes", lambda: (p := get_pool(emulator, "p"))["currentDedicatedNodes"] == 0
                    and p["allocationState"] == "steady" and p, 20)
    assert pool["targetDedicatedNodes"] == 0
    assert "$TargetDedicatedNodes=0;" in pool["autoScaleRun"]["results"]
    assert "error" not in pool["autoScaleRun"]


def test_blocked_tasks_are_not_pending(emulator):
    call = lambda method, path, body=None: batch_call(emulator.settings, method, path, body)
    add_pool(emulator, "p", "$TargetDedicatedNodes = 0;")
    call("POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}, "usesTaskDependencies": True})
    call("POST", "/jobs/j/addtaskcollection", {"value": [
        {"id": "first", "commandLine": "/bin/true"},
        {"id": "later", "commandLine": "/bin/true", "dependsOn": {"taskIds": ["first"]}}]})

    def pending() -> str:
        run = call("POST", "/pools/p/evaluateautoscale", {
            "autoScaleFormula": "n = $PendingTasks.GetSample(1)[0]; a = $ActiveTasks.GetSample(1)[0];"})
        return run["results"]
    wait_for("one of two counts", lambda: pending().endswith(";a=1;n=1"), 10)


def test_a_formula_that_fails_says_why_and_changes_nothing(emulator):
    add_pool(emulator, "p", "$TargetDedicatedNodes = 1;")
    wait_for("a node", lambda: get_pool(emulator, "p")["currentDedicatedNodes"] == 1, 10)
    batch_call(emulator.settings, "POST", "/pools/p/enableautoscale", {
        "autoScaleFormula": "$TargetDedicatedNodes = 0 * avg($MemoryBytes.GetSample("
                            "TimeInterval_Minute * 5));"})
    run = wait_for("the error",
                   lambda: get_pool(emulator, "p")["autoScaleRun"].get("error"), 10)
    assert run["code"] == "InsufficientSampleData"
    assert run["values"][0]["name"] == "Message"
    assert "$MemoryBytes wanted 10%, received 0%" in run["values"][0]["value"]
    assert get_pool(emulator, "p")["currentDedicatedNodes"] == 1


def test_evaluate_answers_200_and_changes_nothing(emulator):
    add_pool(emulator, "p", "$TargetDedicatedNodes = 0;")
    call = lambda formula: batch_call(emulator.settings, "POST", "/pools/p/evaluateautoscale",
                                      {"autoScaleFormula": formula})
    run = call("$TargetLowPriorityNodes = 3; cap = 4;")
    assert run["odata.metadata"].endswith("#Microsoft.Azure.Batch.Protocol.Entities.AutoScaleRun")
    assert run["results"] == ("$TargetDedicatedNodes=0;$TargetLowPriorityNodes=3;"
                              "$NodeDeallocationOption=requeue;cap=4")
    assert "error" not in run
    run = call("$something_useless")
    assert run["error"]["code"] == "AutoScalingFormulaEvaluationError"
    assert run["results"].startswith("$TargetDedicatedNodes=0;$TargetLowPriorityNodes=0;")
    assert call("x = ;")["error"]["code"] == "AutoScalingFormulaSyntaxError"
    assert get_pool(emulator, "p")["targetLowPriorityNodes"] == 0


def test_what_is_refused(emulator):
    add = lambda **body: lambda: batch_call(emulator.settings, "POST", "/pools", {
        "id": "q", "vmSize": "standard_d2s_v3", "virtualMachineConfiguration": IMAGE, **body})
    post = lambda path, body=None: lambda: batch_call(emulator.settings, "POST", path, body)
    on = {"enableAutoScale": True, "autoScaleFormula": "$TargetDedicatedNodes = 0;"}
    status, code, values = refused(add(**{**on, "autoScaleFormula": "$TargetDedicatedNodes = (1;"}))
    assert (status, code) == (400, "AutoScalingFormulaSyntaxError") and "Line 1" in values["Message"]
    assert refused(add(**{**on, "autoScaleFormula": "x=1;" + " " * 8192}))[1] == "AutoScalingFormulaTooLong"
    assert refused(add(enableAutoScale=True))[1] == "MissingRequiredProperty"
    assert refused(add(**on, targetDedicatedNodes=1))[1] == "InvalidAutoScalingSettings"
    assert refused(add(targetDedicatedNodes=1, autoScaleFormula="x=1;"))[1] == "InvalidAutoScalingSettings"
    for interval in ("PT4M", "PT169H"):
        assert refused(add(**on, autoScaleEvaluationInterval=interval))[:2] == (400, "InvalidPropertyValue")
    add(**on)()
    assert get_pool(emulator, "q")["autoScaleEvaluationInterval"] == "PT15M"
    assert refused(post("/pools/q/resize", {"targetDedicatedNodes": 1}))[:2] == \
        (409, "OperationInvalidForCurrentState")
    # Not autoscaled: nothing to evaluate or switch off, and a formula is needed to switch it on.
    assert refused(post("/pools/local/evaluateautoscale", {"autoScaleFormula": "x=1;"}))[0] == 409
    assert refused(post("/pools/local/disableautoscale"))[0] == 409
    assert refused(post("/pools/local/enableautoscale", {}))[:2] == (400, "MissingRequiredProperty")


def test_enable_and_disable(tmp_path):
    # Slower, so that the second request falls into the 30 s on a busy machine too.
    e = Emulator(tmp_path / "state", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0",
                 "--trap", "clock_speed=6").start()
    try:
        enable = lambda body: lambda: batch_call(e.settings, "POST", "/pools/local/enableautoscale", body)
        enable({"autoScaleFormula": "$TargetDedicatedNodes = 2;", "autoScaleEvaluationInterval": "PT5M"})()
        assert refused(enable({"autoScaleFormula": "$TargetDedicatedNodes = 3;"}))[:2] == \
            (503, "TooManyEnableAutoScaleRequests")
        wait_for("two nodes", lambda: get_pool(e, "local")["currentDedicatedNodes"] == 2, 10)

        def again():
            try:
                enable({"autoScaleFormula": "$TargetDedicatedNodes = 3;"})()
                return True
            except urllib.error.HTTPError as error:
                assert error.code == 503
                return False
        wait_for("another formula is taken", again, 30)
        wait_for("three nodes", lambda: get_pool(e, "local")["currentDedicatedNodes"] == 3, 10)
        assert get_pool(e, "local")["autoScaleEvaluationInterval"] == "PT5M"
        batch_call(e.settings, "POST", "/pools/local/disableautoscale")
        pool = get_pool(e, "local")
        assert pool["enableAutoScale"] is False and "autoScaleFormula" not in pool
        assert pool["currentDedicatedNodes"] == 3
        batch_call(e.settings, "POST", "/pools/local/resize", {"targetDedicatedNodes": 1})
    finally:
        e.stop()


def test_a_restart_keeps_the_formula(emulator):
    add_pool(emulator, "p", "$TargetDedicatedNodes = 1;")
    wait_for("a node", lambda: get_pool(emulator, "p")["currentDedicatedNodes"] == 1, 10)
    emulator.kill()
    emulator.start()
    pool = get_pool(emulator, "p")
    assert pool["enableAutoScale"] and pool["autoScaleRun"]["results"].startswith("$TargetDedicatedNodes=1;")
    before = pool["autoScaleRun"]["timestamp"]
    wait_for("another run", lambda: get_pool(emulator, "p")["autoScaleRun"]["timestamp"] > before, 10)


def test_the_clock_may_be_set_while_it_runs(tmp_path):
    e = Emulator(tmp_path / "state", "--blob", "127.0.0.1:0", "--batch", "127.0.0.1:0").start()
    try:
        add_pool(e, "p", "$TargetDedicatedNodes = 0; began = time();")
        first = wait_for("the first run", lambda: get_pool(e, "p").get("autoScaleRun"), 10)
        url = "/".join(e.settings["AZURE_BATCH_ENDPOINT"].split("/")[:3]) + "/adafs/traps?clock_speed=3000"
        urllib.request.urlopen(urllib.request.Request(url, data=b"", method="POST"), timeout=10).close()
        second = wait_for("the second run", lambda: (r := get_pool(e, "p")["autoScaleRun"])["timestamp"]
                          > first["timestamp"] and r, 10)
        times = [run["results"].split("began=")[1] for run in (first, second)]
        assert times[0][:10] <= times[1][:10] and times[0] < times[1]
    finally:
        e.stop()

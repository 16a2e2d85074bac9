// Every operation of the official client of Azure Batch against `adafs emulator`, whose settings are in
// the environment. Prints one line a check and exits 1 at the first that fails. At the end, each method
// that the client has must have been called.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { BatchServiceClient, BatchSharedKeyCredentials } from "@azure/batch";

const env = process.env;
const tag = randomBytes(4).toString("hex");
const deadline = Date.now() + 120_000;
const called = new Set();

// A group of operations that remembers which of them were called.
function recorded(name, group) {
  return new Proxy(group, {
    get(target, method) {
      const f = target[method];
      if (typeof f !== "function") return f;
      called.add(`${name}.${method}`);
      return f.bind(target);
    },
  });
}

const credentials = new BatchSharedKeyCredentials(env.AZURE_BATCH_ACCOUNT, env.AZURE_BATCH_ACCESS_KEY);
const plain = new BatchServiceClient(credentials, env.AZURE_BATCH_ENDPOINT);
const groups = ["account", "application", "computeNodeExtension", "computeNode", "file", "job",
                "jobSchedule", "pool", "task"];
const client = Object.fromEntries(groups.map((g) => [g, recorded(g, plain[g])]));

function ok(what) {
  console.log(`ok - ${what}`);
}

async function until(what, probe) {
  for (;;) {
    const value = await probe();
    if (value) return value;
    assert(Date.now() < deadline, `${what}: not within the deadline`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const refused = (promise, status, code) =>
  assert.rejects(promise, (e) => {
    assert.equal(e.statusCode, status, `${e.message}: ${JSON.stringify(e.body)}`);
    if (code) assert.equal(e.body?.code ?? e.code, code);
    return true;
  });

async function all(list, next) {
  const items = [];
  for (let page = list; ; page = await next(page.odatanextLink)) {
    items.push(...page);
    if (!page.odatanextLink) return items;
  }
}

async function text(response) {
  const chunks = [];
  for await (const chunk of response.readableStreamBody) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}

const poolBody = (id, more) => ({
  id, vmSize: "STANDARD_D2S_V3", taskSlotsPerNode: 2,
  virtualMachineConfiguration: {
    imageReference: { publisher: "canonical", offer: "0001-com-ubuntu-server-jammy", sku: "22_04-lts" },
    nodeAgentSKUId: "batch.node.ubuntu 22.04",
  },
  ...more,
});
const steady = (id) => until(`${id} is steady`, async () => {
  const p = await client.pool.get(id);
  return p.allocationState === "steady" && p;
});

async function pools() {
  const id = `p-${tag}`;
  const added = await client.pool.add(poolBody(id, { targetDedicatedNodes: 2, metadata: [{ name: "a", value: "b" }] }));
  assert(added.eTag && added.dataServiceId.endsWith(`/pools/${id}`));
  await refused(client.pool.add(poolBody(id, { targetDedicatedNodes: 1 })), 409, "PoolExists");
  assert.equal((await client.pool.exists(id)).body, true);
  assert.equal((await client.pool.exists("none")).body, false);
  const p = await steady(id);
  assert.equal(p.currentDedicatedNodes, 2);
  assert.deepEqual(p.metadata, [{ name: "a", value: "b" }]);
  assert(p.creationTime instanceof Date);
  assert((await client.pool.get(id, { poolGetOptions: { expand: "stats" } })).stats.url);
  await refused(client.pool.get(id, { poolGetOptions: { ifMatch: "0x1" } }), 304);
  const mine = await client.pool.list({ poolListOptions: { filter: `startswith(id,'p-${tag}')`, maxResults: 1 } });
  assert.deepEqual((await all(mine, client.pool.listNext)).map((x) => x.id), [id]);
  ok("pool: add, exists, get, list");

  await client.pool.patch(id, { startTask: { commandLine: "/bin/true" } });
  assert.equal((await client.pool.get(id)).startTask.maxTaskRetryCount, 0);
  await client.pool.updateProperties(id, { certificateReferences: [], applicationPackageReferences: [], metadata: [] });
  assert.equal((await client.pool.get(id)).startTask, undefined);
  await client.pool.resize(id, { targetDedicatedNodes: 3, targetLowPriorityNodes: 1 });
  await steady(id);
  await refused(client.pool.stopResize(id), 409);
  const nodes = await client.computeNode.list(id);
  assert.equal(nodes.length, 4);
  await client.pool.removeNodes(id, { nodeList: [nodes.find((n) => !n.isDedicated).id] });
  assert.equal((await steady(id)).currentLowPriorityNodes, 0);
  ok("pool: patch, updateProperties, resize, stopResize, removeNodes");

  await refused(client.pool.evaluateAutoScale(id, "$TargetDedicatedNodes=1;"), 409);
  await client.pool.enableAutoScale(id, { autoScaleFormula: "$TargetDedicatedNodes=2;", autoScaleEvaluationInterval: "PT5M" });
  assert.match((await client.pool.evaluateAutoScale(id, "$TargetDedicatedNodes=7;")).results, /\$TargetDedicatedNodes=7/);
  assert((await client.pool.evaluateAutoScale(id, "$TargetDedicatedNodes=;")).error.code);
  await until("the formula is obeyed", async () => (await client.pool.get(id)).currentDedicatedNodes === 2);
  await refused(client.pool.resize(id, { targetDedicatedNodes: 1 }), 409);
  await client.pool.disableAutoScale(id);
  assert.equal((await steady(id)).enableAutoScale, false);
  ok("pool: enableAutoScale, evaluateAutoScale, disableAutoScale");
  return id;
}

async function account(pool) {
  const images = await client.account.listSupportedImages({ accountListSupportedImagesOptions: { filter: "osType eq 'linux'", maxResults: 1 } });
  assert((await all(images, client.account.listSupportedImagesNext)).some((i) => i.nodeAgentSKUId === "batch.node.ubuntu 22.04"));
  const counts = await client.account.listPoolNodeCounts({ accountListPoolNodeCountsOptions: { filter: `poolId eq '${pool}'` } });
  assert.equal(counts[0].dedicated.total, 2);
  const paged = await client.account.listPoolNodeCounts({ accountListPoolNodeCountsOptions: { maxResults: 1 } });
  assert((await all(paged, client.account.listPoolNodeCountsNext)).length >= 2);
  ok("account: images and node counts");
}

async function nodes(pool) {
  const ops = client.computeNode;
  const list = await all(await ops.list(pool, { computeNodeListOptions: { maxResults: 1, filter: "state eq 'idle'" } }), ops.listNext);
  assert.equal(list.length, 2);
  const id = list[0].id;
  const node = await ops.get(pool, id);
  assert.equal(node.schedulingState, "enabled");
  assert.equal(node.virtualMachineInfo.imageReference.sku, "22_04-lts");
  assert(node.nodeAgentInfo.version && node.allocationTime instanceof Date);
  await refused(ops.get(pool, "none"), 404, "NodeNotFound");
  await ops.disableScheduling(pool, id, { nodeDisableSchedulingOption: "taskcompletion" });
  await refused(ops.disableScheduling(pool, id), 409, "NodeAlreadyInTargetSchedulingState");
  assert.equal((await ops.get(pool, id)).schedulingState, "disabled");
  await ops.enableScheduling(pool, id);
  await ops.addUser(pool, id, { name: "user", isAdmin: true, password: "not-shown-1A", expiryTime: new Date(Date.now() + 3600_000) });
  await refused(ops.addUser(pool, id, { name: "user" }), 409, "NodeUserExists");
  await ops.updateUser(pool, id, "user", { password: "not-shown-2B" });
  await ops.deleteUser(pool, id, "user");
  await refused(ops.deleteUser(pool, id, "user"), 404, "NodeUserNotFound");
  const login = await ops.getRemoteLoginSettings(pool, id);
  assert(login.remoteLoginIPAddress && login.remoteLoginPort);
  await refused(ops.getRemoteDesktop(pool, id), 404);
  const logs = await ops.uploadBatchServiceLogs(pool, id, { containerUrl: "https://account.blob.core.windows.net/logs?sv=x", startTime: new Date() });
  assert.equal(logs.numberOfFilesUploaded, 0);
  assert.equal((await client.computeNodeExtension.list(pool, id)).length, 0);
  await refused(client.computeNodeExtension.get(pool, id, "none"), 404);
  ok("nodes: list, get, scheduling, users, login, logs, extensions");
  const idle = () => until("the node is idle again", async () => (await ops.get(pool, id)).state === "idle");
  await ops.reboot(pool, id, { nodeRebootOption: "requeue" });
  await idle();
  await ops.reimage(pool, id, { nodeReimageOption: "terminate" });
  await idle();
  ok("nodes: reboot and reimage");
}

async function jobs(pool) {
  const id = `j-${tag}`;
  await client.job.add({
    id, poolInfo: { poolId: pool }, priority: 3, metadata: [{ name: "a", value: "b" }], usesTaskDependencies: true,
    constraints: { maxWallClockTime: "PT1H", maxTaskRetryCount: 1 },
    jobPreparationTask: { commandLine: "/bin/true" }, jobReleaseTask: { commandLine: "/bin/true" },
  });
  await refused(client.job.add({ id, poolInfo: { poolId: pool } }), 409, "JobExists");
  const j = await client.job.get(id, { jobGetOptions: { expand: "stats" } });
  assert.deepEqual([j.priority, j.jobPreparationTask.id, j.jobReleaseTask.id], [3, "jobpreparation", "jobrelease"]);
  assert.equal(Number(j.stats.numFailedTasks), 0);
  await client.job.patch(id, { priority: 5 }, { jobPatchOptions: { ifMatch: j.eTag } });
  await refused(client.job.patch(id, { priority: 6 }, { jobPatchOptions: { ifMatch: j.eTag } }), 412, "ConditionNotMet");
  await client.job.update(id, { poolInfo: { poolId: pool } });
  const reset = await client.job.get(id);
  assert.deepEqual([reset.priority, reset.metadata], [0, undefined]);
  await client.job.disable(id, "requeue");
  await until("the job is disabled", async () => (await client.job.get(id)).state === "disabled");
  await client.job.enable(id);
  const list = await client.job.list({ jobListOptions: { filter: "state ne 'completed'", select: "id,state", maxResults: 1 } });
  assert((await all(list, client.job.listNext)).some((x) => x.id === id));
  ok("job: add, get, patch, update, disable, enable, list");
  return id;
}

async function tasks(job) {
  await client.task.add(job, { id: "one", commandLine: "/bin/sh -c 'echo one; mkdir d; echo x > d/f'" });
  await refused(client.task.add(job, { id: "one", commandLine: "/bin/true" }), 409, "TaskExists");
  const result = await client.task.addCollection(job, [
    { id: "fails", commandLine: "/bin/sh -c 'exit 3'", constraints: { maxTaskRetryCount: 0 } },
    { id: "waits", commandLine: "/bin/true", dependsOn: { taskIds: ["never"] } },
    { id: "one", commandLine: "/bin/true" },
  ]);
  assert.deepEqual(result.value.map((r) => r.status.toLowerCase()), ["success", "success", "clienterror"]);
  const done = (id) => until(`${id} is completed`, async () => {
    const t = await client.task.get(job, id);
    return t.state === "completed" && t;
  });
  assert.equal((await done("one")).executionInfo.result, "success");
  const failed = await done("fails");
  assert.deepEqual([failed.executionInfo.exitCode, failed.executionInfo.failureInfo.code], [3, "FailureExitCode"]);
  const list = await client.task.list(job, { taskListOptions: { filter: "state eq 'completed'", select: "id,state", maxResults: 1 } });
  assert.deepEqual((await all(list, client.task.listNext)).map((t) => t.id), ["fails", "one"]);
  await client.task.update(job, "waits", { constraints: { maxWallClockTime: "PT5M" } });
  assert.equal((await client.task.get(job, "waits")).constraints.maxTaskRetryCount, 0);
  assert.deepEqual((await client.task.listSubtasks(job, "one")).value, []);
  await refused(client.task.reactivate(job, "one"), 409, "TaskSucceeded");
  await refused(client.task.reactivate(job, "waits"), 409, "TaskNotCompleted");
  await client.task.reactivate(job, "fails");
  await done("fails");
  await client.task.terminate(job, "waits");
  assert.equal((await done("waits")).executionInfo.failureInfo.code, "TaskEnded");
  await refused(client.task.terminate(job, "waits"), 409, "TaskCompleted");
  const counts = await client.job.getTaskCounts(job);
  assert.deepEqual([counts.taskCounts.succeeded, counts.taskCounts.failed, counts.taskCounts.completed], [1, 2, 3]);
  await client.task.deleteMethod(job, "waits");
  await refused(client.task.get(job, "waits"), 404, "TaskNotFound");
  ok("task: add, addCollection, get, list, update, listSubtasks, reactivate, terminate, counts, delete");
}

async function files(job) {
  const f = client.file;
  const listed = await f.listFromTask(job, "one", { recursive: true, fileListFromTaskOptions: { maxResults: 2 } });
  const names = (await all(listed, f.listFromTaskNext)).map((x) => x.name);
  assert(names.includes("stdout.txt") && names.includes("wd/d/f"), names);
  const part = { fileGetFromTaskOptions: { ocpRange: "bytes=1-2" } };
  assert.equal(await text(await f.getFromTask(job, "one", "stdout.txt")), "one\n");
  assert.equal(await text(await f.getFromTask(job, "one", "stdout.txt", part)), "ne");
  const head = await f.getPropertiesFromTask(job, "one", "wd/d/f");
  assert.deepEqual([Number(head.contentLength), String(head.ocpBatchFileIsdirectory).toLowerCase(), head.ocpBatchFileMode.slice(0, 5)], [2, "false", "0o100"]);
  assert(decodeURIComponent(head.ocpBatchFileUrl).includes("/files/wd"));
  await f.deleteFromTask(job, "one", "wd/d/f");
  await refused(f.getFromTask(job, "one", "wd/d/f"), 404);
  await refused(f.getPropertiesFromTask(job, "one", "none"), 404);
  const info = (await client.task.get(job, "one")).nodeInfo;
  const path = `${info.taskRootDirectory}/stdout.txt`;
  const there = await f.listFromComputeNode(info.poolId, info.nodeId, { recursive: true, fileListFromComputeNodeOptions: { maxResults: 3 } });
  assert((await all(there, f.listFromComputeNodeNext)).some((x) => x.name === path));
  assert.equal(await text(await f.getFromComputeNode(info.poolId, info.nodeId, path)), "one\n");
  assert.equal(Number((await f.getPropertiesFromComputeNode(info.poolId, info.nodeId, path)).contentLength), 4);
  await f.deleteFromComputeNode(info.poolId, info.nodeId, path);
  await refused(f.getFromComputeNode(info.poolId, info.nodeId, path), 404);
  ok("file: list, get, properties and delete, of tasks and of nodes");
}

async function ends(job, pool) {
  const status = await client.job.listPreparationAndReleaseTaskStatus(job, { jobListPreparationAndReleaseTaskStatusOptions: { maxResults: 1 } });
  const ran = await all(status, client.job.listPreparationAndReleaseTaskStatusNext);
  assert(ran.length >= 1);
  for (const s of ran) {
    assert.equal(s.poolId, pool);
    assert(s.nodeUrl.endsWith(s.nodeId) && s.jobPreparationTaskExecutionInfo.taskRootDirectoryUrl.startsWith(s.nodeUrl));
    assert.equal(s.jobPreparationTaskExecutionInfo.state, "completed");
    assert.equal(s.jobPreparationTaskExecutionInfo.exitCode, 0);
  }
  await client.job.terminate(job, { terminateReason: "enough" });
  const ended = await until("the job ends", async () => {
    const j = await client.job.get(job);
    return j.state === "completed" && j;
  });
  assert.equal(ended.executionInfo.terminateReason, "enough");
  const released = await client.job.listPreparationAndReleaseTaskStatus(job, {
    jobListPreparationAndReleaseTaskStatusOptions: { filter: "jobReleaseTaskExecutionInfo/state eq 'completed'", select: "nodeId,jobReleaseTaskExecutionInfo" },
  });
  assert.equal(released.length, ran.length);
  assert.deepEqual([released[0].jobReleaseTaskExecutionInfo.exitCode, released[0].jobReleaseTaskExecutionInfo.result], [0, "success"]);
  ok("job: preparation and release status, terminate");
  await client.job.deleteMethod(job);
  await until("the job is gone", () => client.job.get(job).then(() => false, (e) => e.statusCode === 404));
  await client.pool.deleteMethod(pool);
  await until("the pool is gone", async () => !(await client.pool.exists(pool)).body);
  ok("job and pool: delete");
}

async function named() {
  const s = client.jobSchedule;
  assert.equal((await s.list()).length, 0);
  assert.equal((await s.exists("none")).body, false);
  for (const call of [() => s.get("none"), () => s.deleteMethod("none"), () => s.disable("none"), () => s.enable("none"),
                      () => s.terminate("none"), () => s.patch("none", {}), () => client.job.listFromJobSchedule("none"),
                      () => s.update("none", { schedule: {}, jobSpecification: { poolInfo: { poolId: "x" } } })]) {
    await refused(call(), 404, "JobScheduleNotFound");
  }
  await refused(s.add({ id: "s", schedule: {}, jobSpecification: { poolInfo: { poolId: "x" } } }), 404);
  assert.equal((await client.application.list()).length, 0);
  await refused(client.application.get("none"), 404, "ApplicationNotFound");
  assert.equal((await client.pool.listUsageMetrics()).length, 0);
  await refused(client.pool.getAllLifetimeStatistics(), 404);
  await refused(client.job.getAllLifetimeStatistics(), 404);
  ok("what the emulator never has: empty lists and 404");
}

await named();
const pool = await pools();
await account(pool);
await nodes(pool);
const job = await jobs(pool);
await tasks(job);
await files(job);
await ends(job, pool);

const methods = groups.flatMap((g) => Object.getOwnPropertyNames(Object.getPrototypeOf(plain[g]))
  .filter((m) => m !== "constructor" && !m.endsWith("Next")).map((m) => `${g}.${m}`));
assert.deepEqual(methods.filter((m) => !called.has(m)), []);
ok(`all ${methods.length} methods of the client were called`);

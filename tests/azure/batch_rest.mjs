// The table of operations of Azure Batch through Azure's REST client for JavaScript, which is what
// @azure-rest/batch consists of: its core, the paths of the service and a policy that signs. Settings are
// in the environment. Prints one line a check and exits 1 at the first that fails.
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { getClient } from "@azure-rest/core-client";

const env = process.env;
const tag = randomBytes(4).toString("hex");
const deadline = Date.now() + 120_000;
const contentType = "application/json; odata=minimalmetadata";

const signing = {
  name: "batchSharedKey",
  sendRequest(request, next) {
    const url = new URL(request.url), { headers } = request;
    headers.set("ocp-date", new Date().toUTCString());
    const length = request.body ? Buffer.byteLength(request.body) : request.method === "POST" ? 0 : "";
    if (length !== "") headers.set("content-length", String(length));
    const lines = [request.method, "content-encoding", "content-language", String(length), "content-md5", "content-type", "",
                   "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"];
    let text = lines.map((l, i) => (i === 0 || i === 3 || l === "" ? l : headers.get(l) ?? "") + "\n").join("");
    const ocp = [...headers].filter(([name]) => name.toLowerCase().startsWith("ocp-")).sort();
    text += ocp.map(([name, value]) => `${name.toLowerCase()}:${value}\n`).join("");
    text += `/${env.AZURE_BATCH_ACCOUNT}${url.pathname}`;
    text += [...url.searchParams].sort(([a], [b]) => (a < b ? -1 : 1)).map(([n, v]) => `\n${n}:${v}`).join("");
    const mac = createHmac("sha256", Buffer.from(env.AZURE_BATCH_ACCESS_KEY, "base64")).update(text).digest("base64");
    headers.set("authorization", `SharedKey ${env.AZURE_BATCH_ACCOUNT}:${mac}`);
    return next(request);
  },
};
const client = getClient(env.AZURE_BATCH_ENDPOINT, {
  apiVersion: "2024-02-01.19.0", allowInsecureConnection: true, additionalPolicies: [{ policy: signing, position: "perRetry" }],
  telemetryOptions: { clientRequestIdHeaderName: "client-request-id" },
});

function ok(what) {
  console.log(`ok - ${what}`);
}

const used = new Set();

// One operation of the table: the answer, whose status must be this one.
async function call(method, path, status, args = [], options = {}) {
  used.add(`${method} ${path}`);
  const more = options.body === undefined ? {} : { contentType };
  const r = await client.path(path, ...args)[method]({ ...more, ...options });
  assert.equal(Number(r.status), status, `${method} ${path} ${args}: ${JSON.stringify(r.body)}`);
  return r;
}

const get = async (path, args, options) => (await call("get", path, 200, args, options)).body;

async function list(path, args, queryParameters) {
  const items = [];
  let body = await get(path, args, { queryParameters: { maxresults: 2, ...queryParameters } });
  for (;;) {
    items.push(...body.value);
    if (!body["odata.nextLink"]) return items;
    const r = await client.pathUnchecked(body["odata.nextLink"]).get();
    assert.equal(r.status, "200");
    body = r.body;
  }
}

async function until(what, probe) {
  for (;;) {
    const value = await probe();
    if (value) return value;
    assert(Date.now() < deadline, `${what}: not within the deadline`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const P = "/pools/{poolId}", N = `${P}/nodes/{nodeId}`, J = "/jobs/{jobId}", T = `${J}/tasks/{taskId}`;
const pool = `p-${tag}`, job = `j-${tag}`;
const steady = () => until("the pool is steady", async () => (await get(P, [pool])).allocationState === "steady");

async function pools() {
  const body = {
    id: pool, vmSize: "STANDARD_D2S_V3", targetDedicatedNodes: 3, taskSlotsPerNode: 2,
    taskSchedulingPolicy: { nodeFillType: "spread", jobDefaultOrder: "none" },
    upgradePolicy: { mode: "automatic" },
    virtualMachineConfiguration: {
      imageReference: { publisher: "canonical", offer: "0001-com-ubuntu-server-jammy", sku: "22_04-lts" },
      nodeAgentSKUId: "batch.node.ubuntu 22.04", securityProfile: { encryptionAtHost: true },
    },
  };
  const added = await call("post", "/pools", 201, [], { body });
  assert.equal(added.headers.location, `${env.AZURE_BATCH_ENDPOINT}/pools/${pool}`);
  const again = await call("post", "/pools", 409, [], { body });
  assert.equal(again.body.code, "PoolExists");
  await call("head", P, 200, [pool]);
  await call("head", P, 404, ["none"]);
  await steady();
  assert((await list("/pools")).some((p) => p.id === pool));
  const { eTag } = await get(P, [pool], { queryParameters: { $expand: "stats" } });
  await call("patch", P, 412, [pool], { body: { metadata: [] }, headers: { "if-match": "0x1" } });
  await call("patch", P, 200, [pool], { body: { metadata: [{ name: "a", value: "b" }] }, headers: { "if-match": eTag } });
  await call("post", `${P}/updateproperties`, 204, [pool],
             { body: { metadata: [], applicationPackageReferences: [], certificateReferences: [], targetNodeCommunicationMode: "simplified" } });
  await call("post", `${P}/resize`, 202, [pool], { body: { targetDedicatedNodes: 4 } });
  await steady();
  await call("post", `${P}/stopresize`, 409, [pool]);
  const nodes = await list(`${P}/nodes`, [pool]);
  await call("post", `${P}/removenodes`, 202, [pool], { body: { nodeList: [nodes[3].id, nodes[2].id] } });
  await steady();
  await call("post", `${P}/enableautoscale`, 200, [pool], { body: { autoScaleFormula: "$TargetDedicatedNodes=2;" } });
  const run = await call("post", `${P}/evaluateautoscale`, 200, [pool], { body: { autoScaleFormula: "$TargetDedicatedNodes=5;" } });
  assert.match(run.body.results, /\$TargetDedicatedNodes=5/);
  await call("post", `${P}/disableautoscale`, 200, [pool]);
  assert((await list("/nodecounts", [], { maxresults: 1 })).some((c) => c.poolId === pool));
  assert((await list("/supportedimages")).length > 1);
  ok("pools, counts and images");
}

async function nodes() {
  const node = (await list(`${P}/nodes`, [pool], { $filter: "state eq 'idle'", $select: "id,state" }))[0].id;
  const at = [pool, node];
  assert.equal((await get(N, at)).id, node);
  await call("post", `${N}/disablescheduling`, 200, at, { body: { nodeDisableSchedulingOption: "requeue" } });
  await call("post", `${N}/enablescheduling`, 200, at);
  await call("post", `${N}/users`, 201, at, { body: { name: "user", password: "not-shown-1A" } });
  await call("put", `${N}/users/{userName}`, 200, [...at, "user"], { body: { password: "not-shown-2B" } });
  await call("delete", `${N}/users/{userName}`, 200, [...at, "user"]);
  assert((await get(`${N}/remoteloginsettings`, at)).remoteLoginPort);
  await call("post", `${N}/uploadbatchservicelogs`, 200, at,
             { body: { containerUrl: "https://account.blob.core.windows.net/logs", startTime: "2026-01-01T00:00:00Z" } });
  const idle = () => until("the node is idle", async () => (await get(N, at)).state === "idle");
  await call("post", `${N}/reboot`, 202, at, { body: { nodeRebootOption: "requeue" } });
  await idle();
  await call("post", `${N}/reimage`, 202, at, { body: { nodeReimageOption: "requeue" } });
  await idle();
  assert.deepEqual(await list(`${N}/extensions`, at), []);
  ok("nodes");
}

async function jobs() {
  await call("post", "/jobs", 201, [], { body: { id: job, poolInfo: { poolId: pool }, metadata: [{ name: "a", value: "b" }] } });
  const body = await get(J, [job]);
  assert.equal(body.onAllTasksComplete, "noaction");
  await call("patch", J, 200, [job], { body: { priority: 4 } });
  // The client's update puts back the whole job.
  await call("put", J, 200, [job], { body: { ...body, priority: 5 } });
  assert.equal((await get(J, [job])).priority, 5);
  await call("post", `${J}/disable`, 202, [job], { body: { disableTasks: "wait" } });
  await until("disabled", async () => (await get(J, [job])).state === "disabled");
  await call("post", `${J}/enable`, 202, [job]);
  assert((await list("/jobs", [], { $filter: "state eq 'active'" })).some((j) => j.id === job));
  await call("get", `${J}/jobpreparationandreleasetaskstatus`, 409, [job]);
  ok("jobs");
}

async function tasks() {
  await call("post", `${J}/tasks`, 201, [job], { body: { id: "one", commandLine: "/bin/sh -c 'echo one'" } });
  const many = { value: [0, 1, 2].map((i) => ({ id: `t${i}`, commandLine: `/bin/sh -c 'exit ${i}'` })) };
  const added = await call("post", `${J}/addtaskcollection`, 200, [job], { body: many });
  assert(added.body.value.every((r) => r.status.toLowerCase() === "success"));
  const done = await until("tasks", async () => {
    const t = await list(`${J}/tasks`, [job], { $filter: "state eq 'completed'" });
    return t.length === 4 && t;
  });
  assert.deepEqual(done.map((t) => t.executionInfo.exitCode), [0, 0, 1, 2]);
  await call("get", T, 304, [job, "t1"], { headers: { "if-none-match": done[2].eTag } });
  await call("post", `${T}/reactivate`, 204, [job, "t1"]);
  await until("again", async () => (await get(T, [job, "t1"])).state === "completed");
  await call("post", `${T}/terminate`, 409, [job, "t1"]);
  await call("put", T, 409, [job, "t1"], { body: { constraints: { maxTaskRetryCount: 1 } } });
  assert.deepEqual((await get(`${T}/subtasksinfo`, [job, "one"])).value, []);
  assert.equal((await get(`${J}/taskcounts`, [job])).taskCounts.failed, 2);
  await call("delete", T, 200, [job, "t0"]);
  ok("tasks");

  assert((await list(`${T}/files`, [job, "one"], { recursive: true })).some((f) => f.name === "stdout.txt"));
  const file = [job, "one", "stdout.txt"];
  const got = await call("get", `${T}/files/{filePath}`, 200, file, { headers: { accept: "application/octet-stream", "ocp-range": "bytes=0-1" } });
  assert.equal(String(got.body), "on");
  const head = await call("head", `${T}/files/{filePath}`, 200, file);
  assert.deepEqual([head.headers["content-length"], head.headers["ocp-batch-file-isdirectory"]], ["4", "False"]);
  await call("delete", `${T}/files/{filePath}`, 200, file);
  const info = (await get(T, [job, "t2"])).nodeInfo;
  const there = [info.poolId, info.nodeId, `${info.taskRootDirectory}/stderr.txt`];
  assert((await list(`${N}/files`, there.slice(0, 2), { recursive: true })).length > 3);
  await call("get", `${N}/files/{filePath}`, 200, there, { headers: { accept: "application/octet-stream" } });
  await call("head", `${N}/files/{filePath}`, 200, there);
  await call("delete", `${N}/files/{filePath}`, 200, there);
  ok("files");
}

async function ends() {
  await call("post", `${J}/terminate`, 202, [job], { body: { terminateReason: "enough" }, queryParameters: { force: true } });
  await until("ended", async () => (await get(J, [job])).state === "completed");
  await call("delete", J, 202, [job], { queryParameters: { force: true } });
  await call("delete", P, 202, [pool]);
  await until("gone", async () => (await client.path(P, pool).head()).status === "404");
  assert.deepEqual(await list("/jobschedules"), []);
  await call("head", "/jobschedules/{jobScheduleId}", 404, ["none"]);
  assert.deepEqual(await list("/applications"), []);
  assert.deepEqual(await list("/poolusagemetrics"), []);
  ok("ends");
}

await pools();
await nodes();
await jobs();
await tasks();
await ends();
ok(`${used.size} operations were used`);

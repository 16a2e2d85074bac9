// The everyday work of the two official clients against `adafs emulator`, whose settings are in
// the environment. Prints one line a check and exits 1 at the first that fails.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import {
  BlobServiceClient, BlobSASPermissions, ContainerSASPermissions, StorageSharedKeyCredential, BlobClient,
  ContainerClient, generateBlobSASQueryParameters,
} from "@azure/storage-blob";
import { BatchServiceClient, BatchSharedKeyCredentials } from "@azure/batch";

const env = process.env;
const tag = randomBytes(4).toString("hex");
const deadline = Date.now() + 120_000;

function ok(what) {
  console.log(`ok - ${what}`);
}

async function until(what, probe) {
  for (;;) {
    const value = await probe();
    if (value) return value;
    assert(Date.now() < deadline, `${what}: not within the deadline`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function blobs() {
  const service = BlobServiceClient.fromConnectionString(env.AZURE_STORAGE_CONNECTION_STRING);
  const container = service.getContainerClient(`sdk-${tag}`);
  await container.create();
  await assert.rejects(container.create(), { statusCode: 409, code: "ContainerAlreadyExists" });
  ok("a container is created, and only once");

  const small = container.getBlockBlobClient("dir/small ü+%.txt");
  const put = await small.upload("hello", 5, { metadata: { mtime: "1700000000" } });
  assert(put.etag);
  const got = await small.downloadToBuffer();
  assert.equal(got.toString(), "hello");
  const props = await small.getProperties();
  assert.equal(props.contentLength, 5);
  assert.equal(props.metadata.mtime, "1700000000");
  ok("a small blob goes up and comes back with its metadata");

  const bytes = randomBytes(9 * 1024 * 1024 + 17);
  const large = container.getBlockBlobClient("dir/large.bin");
  await large.uploadData(bytes, { blockSize: 1024 * 1024, maxSingleShotSize: 1024 * 1024, concurrency: 4 });
  const back = await large.downloadToBuffer(0, undefined, { blockSize: 1024 * 1024, concurrency: 4 });
  assert.equal(createHash("sha256").update(back).digest("hex"), createHash("sha256").update(bytes).digest("hex"));
  assert.equal((await large.getBlockList("committed")).committedBlocks.length, 10);
  ok("a blob of blocks comes back byte for byte");

  await container.getBlockBlobClient("top.txt").upload("x", 1);
  const names = [], prefixes = [];
  for await (const item of container.listBlobsByHierarchy("/", { prefix: "" })) {
    (item.kind === "prefix" ? prefixes : names).push(item.name);
  }
  assert.deepEqual([names, prefixes], [["top.txt"], ["dir/"]]);
  const pages = [];
  for await (const page of container.listBlobsFlat({ prefix: "dir/" }).byPage({ maxPageSize: 1 })) {
    pages.push(page.segment.blobItems.map((b) => b.name));
  }
  assert.deepEqual(pages.flat(), ["dir/large.bin", "dir/small ü+%.txt"]);
  ok("lists by prefix, delimiter and page");

  const url = await small.generateSasUrl({
    permissions: BlobSASPermissions.parse("r"), expiresOn: new Date(Date.now() + 3600_000),
  });
  assert.equal((await new BlobClient(url).downloadToBuffer()).toString(), "hello");
  await assert.rejects(new BlobClient(url).delete(), { statusCode: 403, code: "AuthorizationPermissionMismatch" });
  await assert.rejects(new BlobClient(url.replace(/sig=./, "sig=X")).downloadToBuffer(), { statusCode: 403 });
  ok("a SAS URL reads, does not delete, and does not stand a change");

  await container.setAccessPolicy(undefined, [{
    id: "reader", accessPolicy: { permissions: "rl", startsOn: new Date(Date.now() - 3600_000), expiresOn: new Date(Date.now() + 3600_000) },
  }]);
  const key = new StorageSharedKeyCredential(service.accountName, /AccountKey=([^;]+)/.exec(env.AZURE_STORAGE_CONNECTION_STRING)[1]);
  const query = generateBlobSASQueryParameters({ containerName: container.containerName, identifier: "reader" }, key);
  const byPolicy = new ContainerClient(`${container.url}?${query}`);
  let n = 0;
  for await (const item of byPolicy.listBlobsFlat()) n += item.name ? 1 : 0;
  assert.equal(n, 3);
  await container.setAccessPolicy();
  await assert.rejects(byPolicy.listBlobsFlat().next(), { statusCode: 403 });
  ok("a stored access policy lets in, and its end shuts out");

  const taken = await small.createSnapshot();
  await small.upload("changed", 7);
  assert.equal((await small.withSnapshot(taken.snapshot).downloadToBuffer()).toString(), "hello");
  await assert.rejects(small.delete(), { statusCode: 409, code: "SnapshotsPresent" });
  const copy = container.getBlobClient("copy.bin");
  const poller = await copy.beginCopyFromURL(large.url);
  assert.equal((await poller.pollUntilDone()).copyStatus, "success");
  assert.equal((await copy.getProperties()).contentLength, bytes.length);
  await assert.rejects(small.upload("late", 4, { conditions: { ifNoneMatch: "*" } }), { statusCode: 409, code: "BlobAlreadyExists" });
  await assert.rejects(small.upload("late", 4, { conditions: { ifMatch: put.etag } }), { statusCode: 412, code: "ConditionNotMet" });
  ok("snapshots, copies and conditions");
  await container.delete();
  assert.equal(await container.exists(), false);
  ok("the container is deleted");
}

async function readText(response) {
  const chunks = [];
  for await (const chunk of response.readableStreamBody) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}

async function batch() {
  const credentials = new BatchSharedKeyCredentials(env.AZURE_BATCH_ACCOUNT, env.AZURE_BATCH_ACCESS_KEY);
  const client = new BatchServiceClient(credentials, env.AZURE_BATCH_ENDPOINT);
  const pool = `pool-${tag}`, job = `job-${tag}`;
  await client.pool.add({
    id: pool, vmSize: "STANDARD_D2S_V3", targetDedicatedNodes: 2, taskSlotsPerNode: 4,
    virtualMachineConfiguration: {
      imageReference: { publisher: "canonical", offer: "0001-com-ubuntu-server-jammy", sku: "22_04-lts" },
      nodeAgentSKUId: "batch.node.ubuntu 22.04",
    },
  });
  assert.equal((await client.pool.exists(pool)).body, true);
  await until("the pool is steady", async () => (await client.pool.get(pool)).allocationState === "steady");
  ok("a pool is made and gets steady");

  await client.job.add({ id: job, poolInfo: { poolId: pool }, usesTaskDependencies: true });
  await assert.rejects(client.job.add({ id: job, poolInfo: { poolId: pool } }), (e) => e.statusCode === 409 && e.body?.code === "JobExists");
  const tasks = [];
  for (let i = 0; i < 149; i++) {
    tasks.push({ id: `t${i}`, commandLine: `/bin/sh -c 'echo hello from ${i}'` });
  }
  tasks.push({ id: "last", commandLine: "/bin/sh -c 'echo all done'", dependsOn: { taskIds: tasks.map((t) => t.id) } });
  for (const part of [tasks.slice(0, 100), tasks.slice(100)]) {
    const result = await client.task.addCollection(job, part);
    assert(result.value.every((r) => r.status.toLowerCase() === "success"));
  }
  const again = await client.task.addCollection(job, [tasks[0]]);
  assert.equal(again.value[0].error.code, "TaskExists");
  ok("150 tasks are added by collections, and only once");

  await client.job.patch(job, { onAllTasksComplete: "terminatejob" });
  const ended = await until("the job ends", async () => {
    const j = await client.job.get(job);
    return j.state === "completed" && j;
  });
  assert.equal(ended.executionInfo.terminateReason, "AllTasksComplete");
  const ids = [];
  let page = await client.task.list(job, { taskListOptions: { filter: "state eq 'completed'", select: "id,state,executionInfo", maxResults: 40 } });
  for (;;) {
    for (const t of page) {
      assert.equal(t.executionInfo.result, "success");
      ids.push(t.id);
    }
    if (!page.odatanextLink) break;
    page = await client.task.listNext(page.odatanextLink);
  }
  assert.equal(new Set(ids).size, 150);
  const last = await client.task.get(job, "last"), first = await client.task.get(job, "t0");
  assert(last.executionInfo.startTime >= first.executionInfo.endTime);
  ok("all of them run, the dependent one last, and the job ends by itself");

  assert.equal(await readText(await client.file.getFromTask(job, "t7", "stdout.txt")), "hello from 7\n");
  const part = await client.file.getFromTask(job, "t7", "stdout.txt", { fileGetFromTaskOptions: { ocpRange: "bytes=6-9" } });
  assert.equal(await readText(part), "from");
  const head = await client.file.getPropertiesFromTask(job, "t7", "stdout.txt");
  assert.equal(Number(head.contentLength ?? head._response.headers.get("content-length")), 13);
  const files = await client.file.listFromTask(job, "t7", { recursive: true });
  assert(files.some((f) => f.name === "stdout.txt") && files.some((f) => f.name === "stderr.txt"));
  ok("stdout.txt is read whole and in part, and files are listed");

  await assert.rejects(client.task.get(job, "none"), (e) => e.statusCode === 404 && e.body?.code === "TaskNotFound");
  await client.task.deleteMethod(job, "t1");
  await client.job.deleteMethod(job);
  await until("the job is gone", async () => {
    try {
      await client.job.get(job);
      return false;
    } catch (e) {
      return e.statusCode === 404;
    }
  });
  await client.pool.deleteMethod(pool);
  await until("the pool is gone", async () => !(await client.pool.exists(pool)).body);
  ok("task, job and pool are deleted");
}

await blobs();
await batch();

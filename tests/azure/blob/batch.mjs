// Many blobs deleted or moved to a tier by one request.
import { all, assert, check, key, newContainer, put, service } from "./parts.mjs";

const c = await newContainer();
const many = async (prefix, n) => Promise.all(Array.from({ length: n }, (_, i) => put(c, `${prefix}/ü ${i}`)));

await check("delete", async () => {
  const blobs = await many("del", 10);
  const r = await service.getBlobBatchClient().deleteBlobs(blobs);
  assert.deepEqual([r.subResponsesSucceededCount, r.subResponsesFailedCount, r.subResponses.length], [10, 0, 10]);
  assert(r.subResponses.every((s) => s.status === 202));
  assert.deepEqual(await all(c.listBlobsFlat({ prefix: "del/" })), []);
});
await check("delete 256", async () => {
  const blobs = await many("max", 256);
  const r = await service.getBlobBatchClient().deleteBlobs(blobs);
  assert.equal(r.subResponsesSucceededCount, 256);
});
await check("one that is not there", async () => {
  const [one] = await many("mixed", 1);
  const r = await service.getBlobBatchClient().deleteBlobs([c.getBlobClient("none"), one]);
  assert.deepEqual([r.subResponsesSucceededCount, r.subResponsesFailedCount], [1, 1]);
  assert.deepEqual([r.subResponses[0].status, r.subResponses[0].errorCode, r.subResponses[1].status], [404, "BlobNotFound", 202]);
});
await check("with snapshots", async () => {
  const [one] = await many("snap", 1);
  await one.createSnapshot();
  const plain = await service.getBlobBatchClient().deleteBlobs([one]);
  assert.deepEqual([plain.subResponses[0].status, plain.subResponses[0].errorCode], [409, "SnapshotsPresent"]);
  const r = await service.getBlobBatchClient().deleteBlobs([one], { deleteSnapshots: "include" });
  assert.equal(r.subResponsesSucceededCount, 1);
});
await check("set tier", async () => {
  const blobs = await many("tier", 3);
  const r = await service.getBlobBatchClient().setBlobsAccessTier(blobs, "Cool");
  assert.equal(r.subResponsesSucceededCount, 3);
  assert.equal((await blobs[2].getProperties()).accessTier, "Cool");
});
await check("of a container", async () => {
  const blobs = await many("box", 3);
  const r = await c.getBlobBatchClient().deleteBlobs(blobs.map((b) => b.url), key);
  assert.equal(r.subResponsesSucceededCount, 3);
});
await check("a container's batch stays inside", async () => {
  const other = await put(await newContainer("other"), "x");
  const r = await c.getBlobBatchClient().deleteBlobs([other]).catch((e) => e);
  assert.notEqual(r.subResponsesSucceededCount, 1);
  assert.equal(await other.exists(), true);
});
await check("none at all", async () => {
  await assert.rejects(service.getBlobBatchClient().submitBatch(service.getBlobBatchClient().createBatch()));
});
await check("subrequests under leases", async () => {
  const [one] = await many("lease", 1), lease = one.getBlobLeaseClient();
  await lease.acquireLease(15);
  const r = await service.getBlobBatchClient().deleteBlobs([one]);
  assert.deepEqual([r.subResponses[0].status, r.subResponses[0].errorCode], [412, "LeaseIdMissing"]);
});

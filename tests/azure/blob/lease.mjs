// Leases of blobs and of containers.
import { randomUUID } from "node:crypto";
import { assert, check, newContainer, put, refused } from "./parts.mjs";

const c = await newContainer();

await check("acquire, renew, change, release", async () => {
  const b = await put(c, "a"), l = b.getBlobLeaseClient();
  const got = await l.acquireLease(15);
  assert.equal(got._response.status, 201);
  assert.equal(got.leaseId, l.leaseId);
  const p = await b.getProperties();
  assert.deepEqual([p.leaseState, p.leaseStatus, p.leaseDuration], ["leased", "locked", "fixed"]);
  assert.equal((await l.renewLease())._response.status, 200);
  const next = randomUUID();
  assert.equal((await l.changeLease(next)).leaseId, next);
  await l.releaseLease();
  assert.equal((await b.getProperties()).leaseState, "available");
});
await check("a lease keeps out writers without it", async () => {
  const b = await put(c, "kept", "x"), l = b.getBlobLeaseClient();
  await l.acquireLease(-1);
  assert.equal((await b.getProperties()).leaseDuration, "infinite");
  for (const call of [() => b.upload("y", 1), () => b.delete(), () => b.setMetadata({ a: "b" }), () => b.setHTTPHeaders({}),
                      () => b.stageBlock("AAAA", "x", 1)]) {
    await refused(call(), 412, "LeaseIdMissing");
  }
  await refused(b.upload("y", 1, { conditions: { leaseId: randomUUID() } }), 412, "LeaseIdMismatchWithBlobOperation");
  await b.upload("y", 1, { conditions: { leaseId: l.leaseId } });
  assert.equal((await b.getProperties()).leaseState, "leased");
  assert.equal((await b.downloadToBuffer()).toString(), "y");
  await b.delete({ conditions: { leaseId: l.leaseId } });
});
await check("a lease id without a lease", async () => {
  const b = await put(c, "free");
  await refused(b.upload("y", 1, { conditions: { leaseId: randomUUID() } }), 412, "LeaseNotPresentWithBlobOperation");
});
await check("two at once", async () => {
  const b = await put(c, "two"), l = b.getBlobLeaseClient();
  await l.acquireLease(30);
  await refused(b.getBlobLeaseClient().acquireLease(30), 409, "LeaseAlreadyPresent");
  assert.equal((await b.getBlobLeaseClient(l.leaseId).acquireLease(60)).leaseId, l.leaseId);
  await refused(b.getBlobLeaseClient(randomUUID()).renewLease(), 409, "LeaseIdMismatchWithLeaseOperation");
  await refused(b.getBlobLeaseClient(randomUUID()).releaseLease(), 409, "LeaseIdMismatchWithLeaseOperation");
});
await check("break", async () => {
  const b = await put(c, "broken"), l = b.getBlobLeaseClient();
  await l.acquireLease(60);
  const r = await l.breakLease(20);
  assert.deepEqual([r._response.status, r.leaseTime > 15 && r.leaseTime <= 20], [202, true]);
  assert.equal((await b.getProperties()).leaseState, "breaking");
  await refused(b.getBlobLeaseClient().acquireLease(15), 409, "LeaseIsBreakingAndCannotBeAcquired", "LeaseAlreadyPresent");
  assert.equal((await l.breakLease(0)).leaseTime, 0);
  assert.deepEqual([(await b.getProperties()).leaseState, (await b.getProperties()).leaseStatus], ["broken", "unlocked"]);
  await b.upload("z", 1);
  await b.getBlobLeaseClient().acquireLease(15);
});
await check("a broken lease is not renewed", async () => {
  const b = await put(c, "broken2"), l = b.getBlobLeaseClient();
  await l.acquireLease(60);
  await l.breakLease(0);
  await refused(l.renewLease(), 409, "LeaseIsBrokenAndCannotBeRenewed");
});
await check("durations that are not", async () => {
  const b = await put(c, "durations");
  for (const n of [14, 61, 0]) await refused(b.getBlobLeaseClient().acquireLease(n), 400, "InvalidHeaderValue");
});
await check("of a container", async () => {
  const box = await newContainer("leased"), l = box.getBlobLeaseClient();
  await l.acquireLease(-1);
  const p = await box.getProperties();
  assert.deepEqual([p.leaseState, p.leaseStatus, p.leaseDuration], ["leased", "locked", "infinite"]);
  await put(box, "writes go on");
  await refused(box.delete(), 412, "LeaseIdMissing");
  await refused(box.delete({ conditions: { leaseId: randomUUID() } }), 412, "LeaseIdMismatchWithContainerOperation");
  await l.breakLease(0);
  await box.delete();
});
await check("what is not there", async () => {
  await refused(c.getBlobClient("none").getBlobLeaseClient().acquireLease(15), 404, "BlobNotFound");
});

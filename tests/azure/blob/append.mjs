// Append blobs.
import { assert, check, content, newContainer, put, refused } from "./parts.mjs";

const c = await newContainer();

await check("create and append", async () => {
  const b = c.getAppendBlobClient("log");
  await b.create({ metadata: { a: "1" } });
  const one = await b.appendBlock("hello ", 6), two = await b.appendBlock("world", 5);
  assert.deepEqual([one.blobAppendOffset, two.blobAppendOffset, two.blobCommittedBlockCount], ["0", "6", 2]);
  assert.notEqual(one.etag, two.etag);
  const p = await b.getProperties();
  assert.deepEqual([p.blobType, p.contentLength, p.blobCommittedBlockCount, p.metadata.a], ["AppendBlob", 11, 2, "1"]);
  assert.equal(await content(b), "hello world");
});
await check("positions and sizes", async () => {
  const b = c.getAppendBlobClient("pos");
  await b.create();
  await b.appendBlock("12345", 5, { conditions: { appendPosition: 0 } });
  await refused(b.appendBlock("x", 1, { conditions: { appendPosition: 4 } }), 412, "AppendPositionConditionNotMet");
  await refused(b.appendBlock("xx", 2, { conditions: { maxSize: 6 } }), 412, "MaxBlobSizeConditionNotMet");
  await b.appendBlock("6", 1, { conditions: { maxSize: 6, appendPosition: 5 } });
  assert.equal(await content(b), "123456");
});
await check("created anew it is empty", async () => {
  const b = c.getAppendBlobClient("log");
  await b.create();
  assert.equal((await b.getProperties()).contentLength, 0);
  assert.equal((await b.createIfNotExists()).succeeded, false);
});
await check("kinds are not mixed", async () => {
  await put(c, "block");
  await refused(c.getAppendBlobClient("block").appendBlock("x", 1), 409, "InvalidBlobType");
  await refused(c.getBlockBlobClient("log").stageBlock("AAAA", "x", 1), 409, "InvalidBlobType");
});
await check("what is not there", async () => {
  await refused(c.getAppendBlobClient("none").appendBlock("x", 1), 404, "BlobNotFound");
});
await check("under a lease", async () => {
  const b = c.getAppendBlobClient("leased"), l = b.getBlobLeaseClient();
  await b.create();
  await l.acquireLease(15);
  await refused(b.appendBlock("x", 1), 412, "LeaseIdMissing");
  await b.appendBlock("x", 1, { conditions: { leaseId: l.leaseId } });
});
await check("sealed", async () => {
  const b = c.getAppendBlobClient("sealed");
  await b.create();
  await b.appendBlock("x", 1);
  await b.seal();
  assert.equal((await b.getProperties()).isSealed, true);
  await refused(b.appendBlock("y", 1), 409, "BlobIsSealed");
});

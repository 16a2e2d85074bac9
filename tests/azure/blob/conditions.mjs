// Conditional requests.
import { assert, check, content, inSeconds, newContainer, put, refused } from "./parts.mjs";

const c = await newContainer();
const b = await put(c, "b");
let { etag } = await b.getProperties();
const OLD = '"0x8D0000000000000"', past = inSeconds(-3600), future = inSeconds(3600);
const status = async (call) => (await call.catch((e) => e)).statusCode;

await check("reads by ETag", async () => {
  assert.equal((await b.download(0, undefined, { conditions: { ifMatch: etag } })).etag, etag);
  await b.getProperties({ conditions: { ifMatch: "*" } });
  await refused(b.download(0, undefined, { conditions: { ifMatch: OLD } }), 412, "ConditionNotMet");
  const e = await refused(b.getProperties({ conditions: { ifMatch: OLD } }), 412);
  assert.equal(e.response.headers.get("x-ms-error-code"), "ConditionNotMet");
});
await check("reads of what is not modified", async () => {
  assert.equal(await status(b.download(0, undefined, { conditions: { ifNoneMatch: etag } })), 304);
  assert.equal(await status(b.getProperties({ conditions: { ifModifiedSince: future } })), 304);
  await b.download(0, undefined, { conditions: { ifNoneMatch: OLD } });
  await b.getProperties({ conditions: { ifModifiedSince: past } });
});
await check("reads by time", async () => {
  await refused(b.download(0, undefined, { conditions: { ifUnmodifiedSince: past } }), 412, "ConditionNotMet");
  await b.download(0, undefined, { conditions: { ifUnmodifiedSince: future } });
});
await check("If-None-Match or If-Modified-Since", async () => {
  await b.download(0, undefined, { conditions: { ifNoneMatch: OLD, ifModifiedSince: future } });
  await b.download(0, undefined, { conditions: { ifNoneMatch: etag, ifModifiedSince: past } });
});
await check("a read if nothing is there", async () => {
  await refused(b.download(0, undefined, { conditions: { ifNoneMatch: "*" } }), 400, "UnsatisfiableCondition");
});
await check("a write of a new blob only", async () => {
  await put(c, "fresh", "1", { conditions: { ifNoneMatch: "*" } });
  await refused(put(c, "fresh", "2", { conditions: { ifNoneMatch: "*" } }), 409, "BlobAlreadyExists");
  assert.equal(await content(c.getBlobClient("fresh")), "1");
});
await check("a block list of a new blob only", async () => {
  const x = c.getBlockBlobClient("fresh");
  await x.stageBlock("AAAA", "x", 1);
  await refused(x.commitBlockList(["AAAA"], { conditions: { ifNoneMatch: "*" } }), 409, "BlobAlreadyExists");
});
await check("a write of what is known only", async () => {
  const x = await put(c, "x", "1"), first = (await x.getProperties()).etag;
  const second = (await x.upload("2", 1, { conditions: { ifMatch: first } })).etag;
  assert.notEqual(first, second);
  await refused(x.upload("3", 1, { conditions: { ifMatch: first } }), 412, "ConditionNotMet");
  await refused(x.commitBlockList([], { conditions: { ifMatch: first } }), 412, "ConditionNotMet");
  await refused(x.upload("3", 1, { conditions: { ifNoneMatch: second } }), 412, "ConditionNotMet");
  await refused(x.upload("3", 1, { conditions: { ifUnmodifiedSince: past } }), 412, "ConditionNotMet");
  await refused(x.upload("3", 1, { conditions: { ifModifiedSince: future } }), 412, "ConditionNotMet");
  assert.equal(await content(x), "2");
});
await check("metadata, properties, snapshots, deletes", async () => {
  for (const call of [(o) => b.setMetadata({}, o), (o) => b.setHTTPHeaders({}, o), (o) => b.createSnapshot(o), (o) => b.delete(o)]) {
    await refused(call({ conditions: { ifMatch: OLD } }), 412, "ConditionNotMet");
  }
  ({ etag } = await b.getProperties());
  await b.setMetadata({ a: "b" }, { conditions: { ifMatch: etag } });
});
await check("If-Match of what is not there", async () => {
  await refused(c.getBlobClient("none").delete({ conditions: { ifMatch: OLD } }), 404, "BlobNotFound");
  await refused(c.getBlobClient("none").download(0, 1, { conditions: { ifMatch: OLD } }), 404, "BlobNotFound");
});
await check("tags", async () => {
  const x = await put(c, "tagged", "x", { tags: { k: "v" } });
  await x.download(0, undefined, { conditions: { tagConditions: "\"k\" = 'v'" } });
  await refused(x.download(0, undefined, { conditions: { tagConditions: "\"k\" = 'w'" } }), 412, "ConditionNotMet");
});

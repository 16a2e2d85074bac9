// Copies, and uploads from a URL.
import { BlobSASPermissions } from "@azure/storage-blob";
import { assert, check, content, inSeconds, MiB, newContainer, put, randomBytes, refused } from "./parts.mjs";

const c = await newContainer(), d = await newContainer("other");
const options = { blobHTTPHeaders: { blobContentType: "a/b" }, metadata: { from: "source" } };
const source = await put(c, "dir/source ü", "0123456789", options);
const sas = (blob) => blob.generateSasUrl({ permissions: BlobSASPermissions.parse("r"), expiresOn: inSeconds(600) });
const id = (n) => Buffer.from(String(n).padStart(6, "0")).toString("base64");

await check("asynchronous, in the account", async () => {
  const b = d.getBlobClient("async");
  const r = await (await b.beginCopyFromURL(source.url)).pollUntilDone();
  assert.deepEqual([r.copyStatus, typeof r.copyId], ["success", "string"]);
  const p = await b.getProperties();
  assert.deepEqual([p.copyStatus, p.copyId, p.copyProgress, p.contentType, p.metadata.from], ["success", r.copyId, "10/10", "a/b", "source"]);
  assert(p.copySource.includes("/dir/source") && p.copyCompletedOn);
  assert.equal(await content(b), "0123456789");
});
await check("own metadata replaces the source's", async () => {
  const b = d.getBlobClient("meta");
  await (await b.beginCopyFromURL(source.url, { metadata: { own: "1" } })).pollUntilDone();
  assert.deepEqual((await b.getProperties()).metadata, { own: "1" });
});
await check("a copy onto itself replaces the metadata", async () => {
  const b = await put(c, "self", "x", { metadata: { a: "1" } });
  await (await b.beginCopyFromURL(b.url, { metadata: { b: "2" } })).pollUntilDone();
  assert.deepEqual((await b.getProperties()).metadata, { b: "2" });
});
await check("synchronous, with a SAS", async () => {
  const b = d.getBlobClient("sync");
  const r = await b.syncCopyFromURL(await sas(source));
  assert.equal(r.copyStatus, "success");
  assert.equal(await content(b), "0123456789");
});
await check("of a snapshot", async () => {
  const b = await put(c, "snapped", "old");
  const { snapshot } = await b.createSnapshot();
  await put(c, "snapped", "new");
  const to = d.getBlobClient("of-snapshot");
  await (await to.beginCopyFromURL(b.withSnapshot(snapshot).url)).pollUntilDone();
  assert.equal(await content(to), "old");
});
await check("blocks come along", async () => {
  const bytes = randomBytes(2 * MiB + 1), big = c.getBlockBlobClient("big");
  await big.uploadData(bytes, { blockSize: MiB, maxSingleShotSize: 1 });
  const b = d.getBlockBlobClient("big");
  await (await b.beginCopyFromURL(big.url)).pollUntilDone();
  assert(bytes.equals(await b.downloadToBuffer()));
  assert.equal((await b.getBlockList("committed")).committedBlocks.length, 3);
});
await check("a source that is not there", async () => {
  await refused(d.getBlobClient("x").beginCopyFromURL(c.getBlobClient("none").url), 404);
});
await check("a source with a bad SAS", async () => {
  await refused(d.getBlobClient("x").syncCopyFromURL((await sas(source)).replace(/sig=.../, "sig=AAA")), 403);
});
await check("conditions of the source and of the target", async () => {
  const b = await put(d, "there");
  await refused(b.syncCopyFromURL(await sas(source), { sourceConditions: { ifMatch: '"0x0"' } }), 412, "SourceConditionNotMet");
  await refused(b.beginCopyFromURL(source.url, { sourceConditions: { ifMatch: '"0x0"' } }), 412, "SourceConditionNotMet");
  await refused(b.beginCopyFromURL(source.url, { conditions: { ifMatch: '"0x0"' } }), 412, "TargetConditionNotMet", "ConditionNotMet");
});
await check("a copy that must be new", async () => {
  const b = await put(d, "there");
  await refused(b.beginCopyFromURL(source.url, { conditions: { ifNoneMatch: "*" } }), 412, "TargetConditionNotMet");
});
await check("no copy to abort", async () => {
  const b = await put(d, "whole");
  await refused(b.abortCopyFromURL("00000000-0000-0000-0000-000000000000"), 409, "NoPendingCopyOperation");
});
await check("Put Blob From URL", async () => {
  const b = d.getBlockBlobClient("from-url");
  const r = await b.syncUploadFromURL(await sas(source));
  assert(r.etag && r.lastModified);
  assert.equal(await content(b), "0123456789");
});
await check("Put Blob From URL: whose properties", async () => {
  const b = d.getBlockBlobClient("from-url-props");
  await b.syncUploadFromURL(await sas(source), { copySourceBlobProperties: true });
  assert.equal((await b.getProperties()).contentType, "a/b");
  await b.syncUploadFromURL(await sas(source), { copySourceBlobProperties: false, blobHTTPHeaders: { blobContentType: "c/d" }, metadata: { own: "1" } });
  const p = await b.getProperties();
  assert.deepEqual([p.contentType, p.metadata], ["c/d", { own: "1" }]);
});
await check("Put Block From URL", async () => {
  const b = d.getBlockBlobClient("block-from-url"), url = await sas(source);
  const r = await b.stageBlockFromURL(id(1), url, 2, 3);
  assert(r.contentMD5 || r.xMsContentCrc64);
  await b.stageBlockFromURL(id(2), url);
  await b.commitBlockList([id(1), id(2)]);
  assert.equal(await content(b), "2340123456789");
});
await check("Put Block From URL of nothing", async () => {
  const url = (await sas(source)).replace("source", "none");
  await refused(d.getBlockBlobClient("x").stageBlockFromURL(id(1), url), 403);
});
await check("Append Block From URL", async () => {
  const b = d.getAppendBlobClient("append-from-url");
  await b.create();
  await b.appendBlockFromURL(await sas(source), 0, 4);
  await b.appendBlockFromURL(await sas(source), 8, 2);
  assert.equal(await content(b), "012389");
});

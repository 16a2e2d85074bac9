// Metadata, properties, tags, tiers and snapshots of blobs.
import { all, assert, check, content, newContainer, put, refused, service, until } from "./parts.mjs";

const c = await newContainer();

await check("metadata are replaced", async () => {
  const b = await put(c, "m", "x", { metadata: { one: "1", Two: "2" } });
  const before = await b.getProperties();
  const r = await b.setMetadata({ three: "3", empty: "" });
  assert.notEqual(r.etag, before.etag);
  const p = await b.getProperties();
  assert.equal(p.metadata.three, "3");
  assert.equal(p.metadata.one, undefined);
  await b.setMetadata({});
  assert.deepEqual((await b.getProperties()).metadata ?? {}, {});
});
await check("metadata names that are not", async () => {
  const b = await put(c, "bad");
  await refused(b.setMetadata({ "1a": "x" }), 400, "InvalidMetadata");
  await refused(b.setMetadata({ "a-b": "x" }), 400, "InvalidMetadata");
});
await check("metadata that are too large", async () => {
  await refused((await put(c, "bad")).setMetadata({ a: "x".repeat(5000), b: "x".repeat(5000) }), 400, "MetadataTooLarge");
});
await check("properties are replaced", async () => {
  const b = await put(c, "p", "x", { blobHTTPHeaders: { blobContentType: "a/b", blobCacheControl: "no-store" } });
  await b.setHTTPHeaders({ blobContentLanguage: "de", blobContentDisposition: "inline" });
  const p = await b.getProperties();
  assert.deepEqual([p.contentLanguage, p.contentDisposition, p.cacheControl], ["de", "inline", undefined]);
  assert.equal(p.contentMD5, undefined);
});
await check("tags", async () => {
  const b = await put(c, "t", "x", { tags: { first: "1" } });
  assert.deepEqual((await b.getTags()).tags, { first: "1" });
  const { etag } = await b.getProperties();
  await b.setTags({ a: "b c", "x:y": "z=/+-._" });
  const p = await b.getProperties();
  assert.deepEqual([p.tagCount, p.etag], [2, etag]);
  assert.deepEqual((await b.getTags()).tags, { a: "b c", "x:y": "z=/+-._" });
  await b.setTags({});
  assert.deepEqual((await b.getTags()).tags, {});
});
await check("tags that are too many or too odd", async () => {
  const b = await put(c, "t2");
  await refused(b.setTags(Object.fromEntries(Array.from({ length: 11 }, (_, i) => ["k" + i, "v"]))), 400);
  await refused(b.setTags({ a: "ä" }), 400);
});
await check("found by tags", async () => {
  await put(c, "find/1", "x", { tags: { kind: "fruit", no: "1" } });
  await put(c, "find/2", "x", { tags: { kind: "fruit", no: "2" } });
  const query = `@container='${c.containerName}' AND kind='fruit' AND no>'1'`;
  const items = await until("the index knows", async () => {
    const found = await all(service.findBlobsByTags(query));
    return found.length && found;
  });
  assert.deepEqual(items.map((x) => [x.containerName, x.name]), [[c.containerName, "find/2"]]);
  assert.deepEqual((await all(c.findBlobsByTags("kind='fruit'"))).map((x) => x.name), ["find/1", "find/2"]);
});
await check("tiers", async () => {
  const b = await put(c, "tier");
  const { etag } = await b.getProperties();
  await b.setAccessTier("Cool");
  let p = await b.getProperties();
  assert.deepEqual([p.accessTier, p.accessTierInferred ?? false, p.etag], ["Cool", false, etag]);
  assert(p.accessTierChangedOn);
  await b.setAccessTier("Cold");
  p = await b.getProperties();
  assert.equal(p.accessTier, "Cold");
});
await check("an archived blob cannot be read", async () => {
  const b = await put(c, "archive");
  await b.setAccessTier("Archive");
  assert.equal((await b.getProperties()).accessTier, "Archive");
  await refused(b.download(), 409, "BlobArchived");
  const r = await b.setAccessTier("Hot", { rehydratePriority: "High" });
  assert.equal(r._response.status, 202);
});
await check("snapshots", async () => {
  const b = await put(c, "s", "old", { metadata: { a: "1" } });
  const r = await b.createSnapshot();
  assert(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$/.test(r.snapshot));
  const own = await b.createSnapshot({ metadata: { b: "2" } });
  await b.upload("new", 3);
  const old = b.withSnapshot(r.snapshot);
  assert.deepEqual([await content(old), (await old.getProperties()).metadata, await content(b)], ["old", { a: "1" }, "new"]);
  assert.deepEqual((await b.withSnapshot(own.snapshot).getProperties()).metadata, { b: "2" });
  await refused(b.delete(), 409, "SnapshotsPresent");
  await b.withSnapshot(own.snapshot).delete();
  await b.delete({ deleteSnapshots: "only" });
  assert.equal(await b.exists(), true);
  await refused(old.download(), 404);
  await b.createSnapshot();
  await b.delete({ deleteSnapshots: "include" });
  assert.equal(await b.exists(), false);
});
await check("delete", async () => {
  const b = await put(c, "gone");
  assert.equal((await b.delete())._response.status, 202);
  await refused(b.delete(), 404, "BlobNotFound");
  assert.equal((await b.deleteIfExists()).succeeded, false);
});

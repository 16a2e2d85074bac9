// Listings of containers and blobs.
import { all, assert, check, newContainer, put, refused, service, tag } from "./parts.mjs";

const c = await newContainer();
const odd = ["UPPER", "a", "a b", "a%41", "a&<>\"'", "a+b", "a-x", "a.b", "a/1", "a/2", "a/b/c", "a//d", "b;c=d", "q?x#y", "z\u{1F600}", "zß", "été", "日本/語"];
for (const name of odd) await put(c, name, "x", { metadata: { n: "1" } });
const order = [...odd].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));

async function hierarchy(options, delimiter = "/") {
  const names = [], prefixes = [];
  for (const item of await all(c.listBlobsByHierarchy(delimiter, options))) (item.kind === "prefix" ? prefixes : names).push(item.name);
  return [names, prefixes];
}

await check("flat, names as they are, in order", async () => {
  assert.deepEqual((await all(c.listBlobsFlat())).map((b) => b.name), order);
});
await check("each odd name is read by its URL", async () => {
  for (const b of await all(c.listBlobsFlat())) assert.equal((await c.getBlobClient(b.name).downloadToBuffer()).toString(), "x");
});
await check("by pages of three", async () => {
  const sizes = [], names = [];
  for await (const page of c.listBlobsFlat().byPage({ maxPageSize: 3 })) {
    sizes.push(page.segment.blobItems.length);
    names.push(...page.segment.blobItems.map((b) => b.name));
  }
  assert.deepEqual(names, order);
  assert.deepEqual(sizes, Array(odd.length / 3).fill(3));
});
await check("from a continuation token", async () => {
  const first = (await c.listBlobsFlat().byPage({ maxPageSize: 5 }).next()).value;
  const rest = (await c.listBlobsFlat().byPage({ maxPageSize: 100, continuationToken: first.continuationToken }).next()).value;
  assert.deepEqual(rest.segment.blobItems.map((b) => b.name), order.slice(5));
});
await check("by prefix", async () => {
  assert.deepEqual((await all(c.listBlobsFlat({ prefix: "a/" }))).map((b) => b.name), ["a//d", "a/1", "a/2", "a/b/c"]);
});
await check("one level", async () => {
  const [names, prefixes] = await hierarchy({});
  assert.deepEqual(names, order.filter((n) => !n.includes("/")));
  assert.deepEqual(prefixes, ["a/", "日本/"]);
});
await check("one level below", async () => assert.deepEqual(await hierarchy({ prefix: "a/" }), [["a/1", "a/2"], ["a//", "a/b/"]]));
await check("a level by pages has each prefix", async () => {
  const got = new Set();
  for await (const page of c.listBlobsByHierarchy("/").byPage({ maxPageSize: 1 })) {
    for (const item of [...page.segment.blobItems, ...(page.segment.blobPrefixes ?? [])]) got.add(item.name);
  }
  assert.equal(got.size, order.filter((n) => !n.includes("/")).length + 2);
});
await check("another delimiter", async () => {
  const [, prefixes] = await hierarchy({ prefix: "a" }, "b");
  assert.deepEqual(prefixes, ["a b", "a+b", "a.b", "a/b"]);
});
await check("properties and metadata of an item", async () => {
  const [item] = await all(c.listBlobsFlat({ prefix: "a/1", includeMetadata: true }));
  const p = item.properties, head = await c.getBlobClient("a/1").getProperties();
  assert.deepEqual([p.contentLength, p.blobType, p.leaseState, p.leaseStatus, p.accessTier, p.serverEncrypted, item.metadata.n],
                   [1, "BlockBlob", "available", "unlocked", "Hot", true, "1"]);
  assert.equal(p.etag.replaceAll('"', ""), head.etag.replaceAll('"', ""));
  assert.deepEqual([p.lastModified, p.createdOn, p.contentType], [head.lastModified, head.createdOn, head.contentType]);
  assert.equal(Buffer.from(p.contentMD5).toString("hex"), Buffer.from(head.contentMD5).toString("hex"));
});
const b = await newContainer("inc");
const one = await put(b, "one", "x", { tags: { k: "v" } });
const { snapshot } = await one.createSnapshot();
await b.getBlockBlobClient("staged").stageBlock("AAAA", "x", 1);
await (await b.getBlobClient("two").beginCopyFromURL(one.url)).pollUntilDone();

await check("neither snapshots nor uncommitted blobs unasked", async () => {
  assert.deepEqual((await all(b.listBlobsFlat())).map((x) => x.name), ["one", "two"]);
});
await check("snapshots before their blob", async () => {
  assert.deepEqual((await all(b.listBlobsFlat({ includeSnapshots: true }))).map((x) => [x.name, x.snapshot ?? null]),
                   [["one", snapshot], ["one", null], ["two", null]]);
});
await check("uncommitted blobs", async () => {
  assert.deepEqual((await all(b.listBlobsFlat({ includeUncommitedBlobs: true }))).map((x) => x.name), ["one", "staged", "two"]);
});
await check("copies and tags", async () => {
  const [first, second] = await all(b.listBlobsFlat({ includeCopy: true, includeTags: true }));
  assert.equal(second.properties.copyStatus, "success");
  assert.deepEqual(first.tags, { k: "v" });
});
await check("snapshots with a delimiter are refused", async () => {
  await refused(all(c.listBlobsByHierarchy("/", { includeSnapshots: true })), 400);
});
await check("a page of none is refused", async () => {
  await refused(c.listBlobsFlat().byPage({ maxPageSize: 0 }).next(), 400, "OutOfRangeQueryParameterValue", "InvalidQueryParameterValue");
});
await check("containers by prefix, metadata and page", async () => {
  const made = [];
  for (const n of [1, 2, 3]) {
    made.push(`list-${tag}-${n}`);
    await service.getContainerClient(made.at(-1)).create({ metadata: { n: String(n) } });
  }
  const items = await all(service.listContainers({ prefix: `list-${tag}-`, includeMetadata: true }));
  assert.deepEqual(items.map((x) => [x.name, x.metadata.n]), made.map((n, i) => [n, String(i + 1)]));
  assert(items[0].properties.etag && items[0].properties.lastModified);
  assert.equal(items[0].properties.leaseState, "available");
  const pages = await all(service.listContainers({ prefix: `list-${tag}-` }).byPage({ maxPageSize: 2 }));
  assert.deepEqual(pages.map((p) => p.containerItems.length), [2, 1]);
});
await check("a container that is not there", async () => {
  await refused(all(service.getContainerClient("none-" + tag).listBlobsFlat()), 404, "ContainerNotFound");
});
// Azurite takes a hundredth of a second for each.
const MANY = Number(process.env.ADAFS_TEST_MANY ?? 10_000);
await check("very many blobs", async () => {
  const many = await newContainer("many");
  const names = Array.from({ length: MANY }, (_, i) => `d${i % 10}/n${String(i).padStart(5, "0")}`);
  let next = 0;
  await Promise.all(Array.from({ length: 32 }, async () => {
    while (next < names.length) await many.getBlockBlobClient(names[next++]).upload("", 0);
  }));
  const pages = await all(many.listBlobsFlat().byPage());
  const got = pages.flatMap((p) => p.segment.blobItems.map((b) => b.name));
  assert.deepEqual(got, [...names].sort());
  assert(pages.every((p) => p.segment.blobItems.length <= 5000));
  const level = await all(many.listBlobsByHierarchy("/"));
  assert.deepEqual(level.map((x) => x.name), Array.from({ length: 10 }, (_, i) => `d${i}/`));
  assert.equal((await all(many.listBlobsFlat({ prefix: "d3/" }))).length, MANY / 10);
  await many.delete();
});

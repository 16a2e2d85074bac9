// Upload in all forms.
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { assert, check, content, MiB, newContainer, put, randomBytes, refused } from "./parts.mjs";

const c = await newContainer();
const id = (n) => Buffer.from(String(n).padStart(6, "0")).toString("base64");
const md5 = (data) => createHash("md5").update(data).digest();

await check("a blob at once", async () => {
  const r = await c.getBlockBlobClient("a").upload("hello", 5);
  assert(r.etag && r.lastModified && r.requestId && r.date && r.version);
  assert.equal(r.isServerEncrypted, true);
  assert.equal(Buffer.from(r.contentMD5).toString("hex"), md5("hello").toString("hex"));
  assert.equal(await content(c.getBlobClient("a")), "hello");
});
await check("an empty blob", async () => {
  const b = await put(c, "empty", "");
  assert.equal((await b.getProperties()).contentLength, 0);
  assert.equal((await b.download()).contentLength, 0);
});
await check("headers and metadata of an upload", async () => {
  const b = await put(c, "headers", "x", {
    blobHTTPHeaders: { blobContentType: "text/x-a", blobContentEncoding: "identity", blobContentLanguage: "de",
                       blobCacheControl: "no-store", blobContentDisposition: "attachment" },
    metadata: { Key: "v", other: "" }, tier: "Cool",
  });
  const p = await b.getProperties();
  assert.deepEqual([p.contentType, p.contentEncoding, p.contentLanguage, p.cacheControl, p.contentDisposition, p.accessTier],
                   ["text/x-a", "identity", "de", "no-store", "attachment", "Cool"]);
  assert.equal(p.metadata.key, "v");
});
await check("a blob in parallel blocks", async () => {
  const bytes = randomBytes(5 * MiB + 3);
  const b = c.getBlockBlobClient("parallel");
  let progress = 0;
  await b.uploadData(bytes, { blockSize: MiB, maxSingleShotSize: 1, concurrency: 4, onProgress: (p) => { progress = p.loadedBytes; } });
  assert(bytes.equals(await b.downloadToBuffer(0, undefined, { blockSize: MiB, concurrency: 4 })));
  assert.equal(progress, bytes.length);
  assert.equal((await b.getProperties()).contentMD5, undefined);
});
await check("a stream of unknown length", async () => {
  const bytes = randomBytes(2 * MiB + 7);
  const b = c.getBlockBlobClient("stream");
  await b.uploadStream(Readable.from([bytes.subarray(0, 100), bytes.subarray(100, MiB), bytes.subarray(MiB)]), 256 * 1024, 3);
  assert(bytes.equals(await b.downloadToBuffer()));
});
await check("an empty stream", async () => {
  const b = c.getBlockBlobClient("empty-stream");
  await b.uploadStream(Readable.from([]), MiB, 2);
  assert.equal((await b.getProperties()).contentLength, 0);
});
await check("a file", async () => {
  const dir = await mkdtemp(join(tmpdir(), "adafs-"));
  try {
    const bytes = randomBytes(MiB + 1);
    await writeFile(join(dir, "f"), bytes);
    await c.getBlockBlobClient("file").uploadFile(join(dir, "f"), { blockSize: 300_000, maxSingleShotSize: 1000 });
    await c.getBlobClient("file").downloadToFile(join(dir, "g"));
    assert(bytes.equals(await c.getBlobClient("file").downloadToBuffer()));
  } finally {
    await rm(dir, { recursive: true });
  }
});
await check("blocks in any order, repeated, kept and dropped", async () => {
  const b = c.getBlockBlobClient("blocks");
  for (const n of [2, 0, 1, 3]) await b.stageBlock(id(n), `<${n}>`, 3);
  await refused(b.getProperties(), 404);
  let list = await b.getBlockList("all");
  assert.deepEqual(list.uncommittedBlocks.map((x) => x.name).sort(), [0, 1, 2, 3].map(id));
  await b.commitBlockList([id(1), id(0), id(1)]);
  assert.equal(await content(b), "<1><0><1>");
  list = await b.getBlockList("all");
  assert.deepEqual(list.committedBlocks.map((x) => [x.name, x.size]), [[id(1), 3], [id(0), 3], [id(1), 3]]);
  assert.deepEqual(list.uncommittedBlocks ?? [], []);
  await b.stageBlock(id(0), "new", 3);
  await b.commitBlockList([id(0), id(1)]);
  assert.equal(await content(b), "new<1>");
});
await check("an empty block list", async () => {
  const b = c.getBlockBlobClient("no-blocks");
  await b.commitBlockList([]);
  assert.equal((await b.getProperties()).contentLength, 0);
});
await check("a block list with headers and metadata", async () => {
  const b = c.getBlockBlobClient("list-headers");
  await b.stageBlock(id(1), "x", 1);
  await b.commitBlockList([id(1)], { blobHTTPHeaders: { blobContentType: "a/b", blobContentMD5: md5("y") }, metadata: { a: "b" } });
  const p = await b.getProperties();
  assert.deepEqual([p.contentType, p.metadata.a, Buffer.from(p.contentMD5).toString("hex")], ["a/b", "b", md5("y").toString("hex")]);
});
await check("a block that is not there", async () => {
  await refused(c.getBlockBlobClient("none").commitBlockList([id(9)]), 400, "InvalidBlockList");
});
await check("block ids of two lengths", async () => {
  const b = c.getBlockBlobClient("lengths");
  await b.stageBlock(id(1), "x", 1);
  await refused(b.stageBlock(Buffer.from("longer than that").toString("base64"), "x", 1), 400, "InvalidBlobOrBlock");
});
await check("a wrong MD5 of a block", async () => {
  await refused(c.getBlockBlobClient("md5").stageBlock(id(1), "x", 1, { transactionalContentMD5: md5("y") }), 400, "Md5Mismatch");
});
await check("a right MD5 and a CRC64 of a block", async () => {
  const b = c.getBlockBlobClient("md5");
  const r = await b.stageBlock(id(1), "x", 1, { transactionalContentMD5: md5("x") });
  assert.equal(Buffer.from(r.contentMD5).toString("hex"), md5("x").toString("hex"));
});
await check("a block answers its CRC64", async () => {
  const r = await c.getBlockBlobClient("crc").stageBlock(id(1), "123456789", 9);
  assert.equal(Buffer.from(r.xMsContentCrc64 ?? []).length, 8);
});
await check("an upload drops the blocks before it", async () => {
  const b = c.getBlockBlobClient("drops");
  await b.stageBlock(id(1), "x", 1);
  await b.upload("whole", 5);
  await refused(b.commitBlockList([id(1)]), 400, "InvalidBlockList");
  assert.equal(await content(b), "whole");
});
await check("a container that is not there", async () => {
  await refused(c.getBlockBlobClient("x").upload("x", 1).then(() => put({ getBlockBlobClient: (n) =>
    c.getBlockBlobClient(n) }, "x")).then(async () => {
    const gone = await newContainer("gone");
    await gone.delete();
    await put(gone, "x");
  }), 404, "ContainerNotFound");
});

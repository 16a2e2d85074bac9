// Download: ranges, buffers, streams that are resumed.
import { createHash } from "node:crypto";
import { assert, check, MiB, newContainer, put, randomBytes, refused, text } from "./parts.mjs";

const c = await newContainer();
const bytes = randomBytes(3 * MiB + 11);
const big = c.getBlockBlobClient("big");
await big.uploadData(bytes, { blockSize: MiB, maxSingleShotSize: 1 });
const small = await put(c, "small", "0123456789");
const md5 = (data) => createHash("md5").update(data).digest("hex");

await check("the whole blob", async () => {
  const r = await small.download();
  assert.deepEqual([r.contentLength, r.contentRange, r.acceptRanges, r.blobType, r.leaseState, r.leaseStatus, r.isServerEncrypted],
                   [10, undefined, "bytes", "BlockBlob", "available", "unlocked", true]);
  assert.equal(Buffer.from(r.contentMD5).toString("hex"), md5("0123456789"));
  assert.equal(await text(r), "0123456789");
});
for (const [offset, count, want, range] of [[0, 1, "0", "bytes 0-0/10"], [2, 3, "234", "bytes 2-4/10"], [8, 100, "89", "bytes 8-9/10"],
                                           [4, undefined, "456789", "bytes 4-9/10"], [0, 10, "0123456789", "bytes 0-9/10"]]) {
  await check(`range ${offset}+${count ?? ""}`, async () => {
    const r = await small.download(offset, count);
    assert.deepEqual([r._response.status, r.contentRange, await text(r)], [206, range, want]);
  });
}
await check("a range past the end", async () => {
  const e = await refused(small.download(11, 1), 416, "InvalidRange");
  assert.equal(e.response.headers.get("content-range"), "bytes */10");
});
await check("a range that starts at the end", () => refused(small.download(10, 1), 416, "InvalidRange"));
await check("a range of an empty blob", async () => {
  await refused((await put(c, "empty", "")).download(0, 5), 416, "InvalidRange");
});
await check("the MD5 of a range", async () => {
  const r = await small.download(2, 3, { rangeGetContentMD5: true });
  assert.equal(Buffer.from(r.contentMD5).toString("hex"), md5("234"));
  assert.equal(Buffer.from(r.blobContentMD5).toString("hex"), md5("0123456789"));
});
await check("the MD5 of a range of more than 4 MiB", async () => {
  const huge = c.getBlockBlobClient("huge");
  await huge.uploadData(Buffer.alloc(5 * MiB));
  await refused(huge.download(0, 5 * MiB, { rangeGetContentMD5: true }), 400);
});
await check("the CRC64 of a range", async () => {
  const r = await (await put(c, "crc", "0123456789")).download(1, 9, { rangeGetContentCrc64: true });
  assert.equal(Buffer.from(r.contentCrc64).toString("hex"), "8898790a86148bae");
});
await check("into a buffer, by parallel ranges", async () => {
  let loaded = 0;
  const got = await big.downloadToBuffer(0, undefined, { blockSize: 700_001, concurrency: 4, onProgress: (p) => { loaded = p.loadedBytes; } });
  assert(bytes.equals(got));
  assert.equal(loaded, bytes.length);
  assert(bytes.subarray(MiB - 5, 2 * MiB + 5).equals(await big.downloadToBuffer(MiB - 5, MiB + 10)));
});
await check("a stream that breaks goes on where it was", async () => {
  let broken = 0;
  const r = await big.download(0, undefined, {
    maxRetryRequests: 3, onProgress: (p) => {
      if (p.loadedBytes > MiB && !broken++) r.readableStreamBody.options.doInjectErrorOnce = true;
    },
  });
  const got = [];
  for await (const chunk of r.readableStreamBody) got.push(chunk);
  assert(bytes.equals(Buffer.concat(got)));
  assert.equal(broken > 0, true);
});
await check("a download of what changed is refused", async () => {
  const was = (await small.getProperties()).etag;
  await put(c, "small", "0123456789");
  await refused(small.download(0, 5, { conditions: { ifMatch: was } }), 412, "ConditionNotMet");
});
await check("gzip is left as it is", async () => {
  const b = await put(c, "gz", "not gzip at all", { blobHTTPHeaders: { blobContentEncoding: "x-own" } });
  const r = await b.download();
  assert.deepEqual([r.contentEncoding, await text(r)], ["x-own", "not gzip at all"]);
});
await check("HEAD", async () => {
  const p = await big.getProperties();
  assert.deepEqual([p.contentLength, p.blobType, p.accessTier, p.accessTierInferred, p.contentType],
                   [bytes.length, "BlockBlob", "Hot", true, "application/octet-stream"]);
  assert(p.createdOn && p.lastModified && p.etag);
});
await check("a blob that is not there", async () => {
  await refused(c.getBlobClient("none").download(), 404, "BlobNotFound");
  const e = await refused(c.getBlobClient("none").getProperties(), 404);
  assert.equal(e.response.headers.get("x-ms-error-code"), "BlobNotFound");
  assert.equal(await c.getBlobClient("none").exists(), false);
});

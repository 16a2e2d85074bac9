// Containers: life, metadata, public access and stored access policies.
import { BlobClient, ContainerClient } from "@azure/storage-blob";
import { all, assert, check, content, inSeconds, newContainer, put, refused, service, tag } from "./parts.mjs";

await check("create, exists, delete", async () => {
  const c = service.getContainerClient("life-" + tag);
  assert.equal(await c.exists(), false);
  const r = await c.create({ metadata: { A: "1" } });
  assert(r.etag && r.lastModified);
  assert.equal(await c.exists(), true);
  await refused(c.create(), 409, "ContainerAlreadyExists");
  assert.equal((await c.createIfNotExists()).succeeded, false);
  await c.delete();
  await refused(c.delete(), 404, "ContainerNotFound");
  assert.equal((await c.deleteIfExists()).succeeded, false);
});
await check("properties and metadata", async () => {
  const c = await newContainer("meta");
  const before = await c.getProperties();
  assert.deepEqual([before.leaseState, before.leaseStatus, before.blobPublicAccess, before.hasImmutabilityPolicy, before.hasLegalHold],
                   ["available", "unlocked", undefined, false, false]);
  await c.setMetadata({ one: "1", two: "zwei" });
  const after = await c.getProperties();
  assert.deepEqual(after.metadata, { one: "1", two: "zwei" });
  assert.notEqual(after.etag, before.etag);
  await c.setMetadata();
  assert.deepEqual((await c.getProperties()).metadata ?? {}, {});
});
await check("names that are not", async () => {
  for (const name of ["ab", "a--b", "-ab", "a_b", "UPPER"]) {
    await refused(service.getContainerClient(name).create(), 400, "InvalidResourceName", "OutOfRangeInput");
  }
});
await check("policies are kept", async () => {
  const c = await newContainer("acl"), from = inSeconds(-600), to = inSeconds(600);
  const policies = [{ id: "one", accessPolicy: { startsOn: from, expiresOn: to, permissions: "rl" } }, { id: "two", accessPolicy: { expiresOn: to } },
                    { id: "thr&<e", accessPolicy: { permissions: "w" } }];
  await c.setAccessPolicy(undefined, policies);
  const got = await c.getAccessPolicy();
  assert(got.etag && got.lastModified);
  assert.deepEqual(got.signedIdentifiers.map((s) => s.id), ["one", "two", "thr&<e"]);
  const [one, two] = got.signedIdentifiers;
  assert.deepEqual([one.accessPolicy.permissions, +one.accessPolicy.startsOn, +one.accessPolicy.expiresOn], ["rl", +from, +to]);
  assert.equal(+two.accessPolicy.expiresOn, +to);
  await c.setAccessPolicy();
  assert.deepEqual((await c.getAccessPolicy()).signedIdentifiers, []);
});
await check("five policies and no more", async () => {
  const c = await newContainer("five");
  const policies = Array.from({ length: 6 }, (_, i) => ({ id: `p${i}`, accessPolicy: { permissions: "r", expiresOn: inSeconds(60) } }));
  await c.setAccessPolicy(undefined, policies.slice(1));
  await refused(c.setAccessPolicy(undefined, policies), 400);
});
await check("nobody without a signature", async () => {
  const b = await put(await newContainer("closed"), "x");
  const e = await content(new BlobClient(b.url)).catch((x) => x);
  assert([401, 403, 404, 409].includes(e.statusCode), `answered ${e.statusCode}`);
});
await check("public access: container", async () => {
  const c = await newContainer("public");
  await put(c, "x", "open");
  await c.setAccessPolicy("container");
  assert.equal((await c.getAccessPolicy()).blobPublicAccess, "container");
  assert.equal((await c.getProperties()).blobPublicAccess, "container");
  const open = new ContainerClient(c.url);
  assert.equal(await content(open.getBlobClient("x")), "open");
  assert.equal((await all(open.listBlobsFlat())).length, 1);
  await assert.rejects(open.deleteBlob("x"));
});
await check("public access: blob", async () => {
  const c = await newContainer("public");
  await put(c, "x", "open");
  await c.setAccessPolicy("blob");
  assert.equal(await content(new BlobClient(c.getBlobClient("x").url)), "open");
  await assert.rejects(all(new ContainerClient(c.url).listBlobsFlat()));
});
await check("conditions of a container", async () => {
  const c = await newContainer("cond");
  await refused(c.delete({ conditions: { ifUnmodifiedSince: inSeconds(-3600) } }), 412, "ConditionNotMet");
  await refused(c.setMetadata({}, { conditions: { ifModifiedSince: inSeconds(3600) } }), 412, "ConditionNotMet");
  await c.delete({ conditions: { ifModifiedSince: inSeconds(-3600) } });
});

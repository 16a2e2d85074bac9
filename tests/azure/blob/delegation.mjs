// A bearer token, and user delegation keys and SAS by it. The client sends tokens over https only, so the header
// is added here; everything else is the client's own.
import { AnonymousCredential, BlobServiceClient, BlockBlobClient, BlobSASPermissions, ContainerClient, ContainerSASPermissions,
         generateBlobSASQueryParameters, newPipeline } from "@azure/storage-blob";
import { all, assert, check, content, inSeconds, once, put, refused, service as keyed, tag } from "./parts.mjs";

class Bearer {
  create(next) {
    return { sendRequest: (request) => {
      request.headers.set("authorization", "Bearer " + process.env.ADAFS_TEST_TOKEN);
      return next.sendRequest(request);
    } };
  }
}
const pipeline = newPipeline(new AnonymousCredential(), once), plain = newPipeline(new AnonymousCredential(), once);
pipeline.factories.push(new Bearer());
const service = new BlobServiceClient(keyed.url, pipeline);
const c = service.getContainerClient("udk-" + tag);
let key;
const sas = (more) => generateBlobSASQueryParameters({ containerName: c.containerName, expiresOn: inSeconds(600), ...more }, key, service.accountName);

await check("work by a token", async () => {
  await c.create();
  await put(c, "x");
  assert.deepEqual((await all(c.listBlobsFlat())).map((b) => b.name), ["x"]);
});
await check("a user delegation key", async () => {
  key = await service.getUserDelegationKey(inSeconds(-60), inSeconds(3600));
  assert.equal(key.signedService, "b");
  assert(key.signedObjectId && key.signedTenantId && key.value && key.signedVersion);
  assert(key.signedExpiresOn > new Date());
});
await check("keys live for 7 days at most", () => refused(service.getUserDelegationKey(inSeconds(-60), inSeconds(8 * 86400)), 400));
await check("the account key gets none", () => refused(keyed.getUserDelegationKey(inSeconds(-60), inSeconds(60)), 403));
await check("SAS of a blob", async () => {
  const q = sas({ blobName: "x", permissions: BlobSASPermissions.parse("r") });
  const b = new BlockBlobClient(`${c.getBlobClient("x").url}?${q}`, plain);
  assert.equal(await content(b), "x");
  await refused(b.upload("y", 1), 403, "AuthorizationPermissionMismatch");
});
await check("SAS of a container", async () => {
  const box = new ContainerClient(`${c.url}?${sas({ permissions: ContainerSASPermissions.parse("rwl") })}`, plain);
  await put(box, "y");
  assert.deepEqual((await all(box.listBlobsFlat())).map((b) => b.name), ["x", "y"]);
});
await check("SAS of a snapshot", async () => {
  const { snapshot } = await c.getBlobClient("x").createSnapshot();
  const q = sas({ blobName: "x", snapshotTime: snapshot, permissions: BlobSASPermissions.parse("r") });
  assert.equal(await content(new BlockBlobClient(`${c.getBlobClient("x").withSnapshot(snapshot).url}&${q}`, plain)), "x");
});
await check("a changed signature", async () => {
  const q = String(sas({ blobName: "x", permissions: BlobSASPermissions.parse("r") })).replace("sp=r", "sp=rw");
  await refused(content(new BlockBlobClient(`${c.getBlobClient("x").url}?${q}`, plain)), 403, "AuthenticationFailed");
});

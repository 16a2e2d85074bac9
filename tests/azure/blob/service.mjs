// The service: account, properties, errors of requests.
import { request } from "node:http";
import { StorageSharedKeyCredential, BlobServiceClient } from "@azure/storage-blob";
import { all, assert, check, newContainer, once, put, refused, service } from "./parts.mjs";

const c = await newContainer();

// A request without the client, and without a signature.
function raw(method, path, headers = {}) {
  return new Promise((resolve, reject) => {
    const url = new URL(path, service.url);
    request({ host: url.hostname, port: url.port, method, path, headers }, (r) => {
      const chunks = [];
      r.on("data", (x) => chunks.push(x)).on("end", () => resolve({ status: r.statusCode, headers: r.headers, body: Buffer.concat(chunks).toString() }));
    }).on("error", reject).end();
  });
}

await check("account information", async () => {
  const info = await service.getAccountInfo();
  assert.deepEqual([info.accountKind, typeof info.skuName], ["StorageV2", "string"]);
  assert.equal(info.isHierarchicalNamespaceEnabled, false);
});
await check("account information of a container and a blob", async () => {
  assert((await c.getAccountInfo()).skuName);
  assert((await (await put(c, "x")).getAccountInfo()).skuName);
});
await check("properties are kept", async () => {
  const before = await service.getProperties();
  assert(before.hourMetrics && before.cors !== undefined);
  const cors = [{ allowedOrigins: "https://a.example", allowedMethods: "GET,PUT", allowedHeaders: "x-ms-*", exposedHeaders: "*", maxAgeInSeconds: 60 }];
  await service.setProperties({ ...before, cors, defaultServiceVersion: "2021-12-02" });
  const after = await service.getProperties();
  assert.deepEqual(after.cors, cors);
  assert.equal(after.defaultServiceVersion, "2021-12-02");
  const path = new URL(c.url).pathname + "/x";
  const asked = { Origin: "https://a.example", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-ms-date" };
  const yes = await raw("OPTIONS", path, asked);
  assert.deepEqual([yes.status, yes.headers["access-control-allow-origin"]], [200, "https://a.example"]);
  assert.equal((await raw("OPTIONS", path, { ...asked, Origin: "https://b.example" })).status, 403);
  await service.setProperties({ cors: [] });
  assert.deepEqual((await service.getProperties()).cors, []);
});
await check("a wrong key", async () => {
  const wrong = new BlobServiceClient(service.url, new StorageSharedKeyCredential(service.accountName, Buffer.alloc(64).toString("base64")), once);
  await refused(all(wrong.listContainers()), 403, "AuthenticationFailed");
});
await check("a bearer token that nobody issued", async () => {
  const r = await raw("GET", new URL(service.url).pathname + "?comp=list", { Authorization: "Bearer x.y.z", "x-ms-version": "2021-12-02" });
  assert([400, 401, 403].includes(r.status), String(r.status));
});
await check("errors have a body, a code and ids", async () => {
  const e = await refused(c.getBlobClient("none").download(), 404, "BlobNotFound");
  assert(e.details.message.includes("RequestId:") && e.details.message.includes("Time:"));
  assert(e.response.headers.get("x-ms-request-id") && e.response.headers.get("x-ms-version"));
  assert.equal(e.response.headers.get("content-type").split(";")[0], "application/xml");
});
await check("the client's own request id comes back", async () => {
  const r = await c.getProperties();
  assert.equal(r.clientRequestId, r._response.request.headers.get("x-ms-client-request-id"));
});
await check("names that are too long", async () => {
  await put(c, "n".repeat(1024));
  await refused(put(c, "n".repeat(1025)), 400);
});
await check("an unknown operation", async () => {
  const r = await raw("PATCH", new URL(c.url).pathname + "/x", {});
  assert(r.status >= 400 && r.status < 500, String(r.status));
});

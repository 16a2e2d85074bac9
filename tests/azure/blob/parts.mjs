// What the subjects of the Blob suite share. A subject is a file of checks against the server whose connection
// string is in the environment; each prints a line, "ok - WHAT" or "not ok - WHAT :: WHY", and the next one runs.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { BlobServiceClient, StorageSharedKeyCredential } from "@azure/storage-blob";

export { assert, randomBytes };
export const MiB = 1024 * 1024;
export const connection = process.env.AZURE_STORAGE_CONNECTION_STRING;
// Failures of the server are failures: nothing is tried again.
export const once = { retryOptions: { maxTries: 1 } };
export const service = BlobServiceClient.fromConnectionString(connection, once);
export const key = new StorageSharedKeyCredential(service.accountName, /AccountKey=([^;]+)/.exec(connection)[1]);
export const tag = randomBytes(4).toString("hex");

export async function check(what, probe) {
  try {
    await probe();
    console.log(`ok - ${what}`);
  } catch (e) {
    const code = e.statusCode ? `${e.statusCode} ${e.code ?? ""} ` : "";
    console.log(`not ok - ${what} :: ${code}${e.message}`.replace(/\s*\n\s*/g, " | ").slice(0, 900));
  }
}

// A container of the subject's own.
export async function newContainer(name = "box") {
  const container = service.getContainerClient(`${name}-${tag}-${randomBytes(2).toString("hex")}`);
  await container.create();
  return container;
}

// The call is refused with this status, and one of these codes if any are given.
export async function refused(call, status, ...codes) {
  let error;
  try {
    await call;
  } catch (e) {
    error = e;
  }
  assert(error, `not refused, expected ${status} ${codes}`);
  const got = [error.statusCode, error.code ?? error.details?.errorCode];
  assert(got[0] === status && (!codes.length || codes.includes(got[1])), `refused with ${got}, expected ${status} ${codes}`);
  return error;
}

export async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

export async function text(response) {
  const chunks = [];
  for await (const chunk of response.readableStreamBody) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}

export async function put(container, name, content = name, options = {}) {
  const blob = container.getBlockBlobClient(name);
  await blob.upload(content, Buffer.byteLength(content), options);
  return blob;
}

export async function content(blob) {
  return (await blob.downloadToBuffer()).toString();
}

export function inSeconds(seconds) {
  return new Date(Date.now() + seconds * 1000);
}

// Until the probe says something true; for what a server does in its own time.
export async function until(what, probe, seconds = 30) {
  for (const end = Date.now() + seconds * 1000; ;) {
    const value = await probe();
    if (value) return value;
    assert(Date.now() < end, `${what}: not within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

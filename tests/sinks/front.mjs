// The part of Cloudflare's REST interface that the sink uses, over the KV of miniflare. Notes each write, and fails on demand.

import { readFileSync } from "node:fs";
import http from "node:http";
import { fileURLToPath } from "node:url";
import { Miniflare } from "miniflare";

const WORKER = fileURLToPath(new URL("../../examples/cloudflare-kv/worker.js", import.meta.url));

/** Starts miniflare with the example Worker, and a front for its KV that asks for this token. */
export async function start(token, account, namespace) {
  const miniflare = new Miniflare({
    modules: [{ type: "ESModule", path: "worker.js", contents: readFileSync(WORKER, "utf8") }],
    compatibilityDate: "2025-10-01",
    kvNamespaces: ["STATE"],
  });
  const kv = await miniflare.getKVNamespace("STATE");
  const writes = [];
  /** The next answers, before anything is written: a status, one with the code of its error, or one with its `text`. */
  const failures = [];
  /** How often this key is still left out of what is written. */
  const leftOut = { key: "", times: 0 };
  const path = `/accounts/${account}/storage/kv/namespaces/${namespace}/bulk`;
  const server = http.createServer(async (request, response) => {
    let text = "";
    for await (const part of request) text += part;
    const answer = (status, errors, headers = {}, unsuccessful = []) => {
      const body = { success: status === 200, errors, messages: [], result: { successful_key_count: 0, unsuccessful_keys: unsuccessful } };
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
    };
    if (request.headers.authorization !== `Bearer ${token}`) return answer(403, [{ code: 10000, message: "Authentication error" }]);
    if (request.method !== "PUT" || request.url !== path) return answer(404, [{ code: 7000, message: "No route" }]);
    const failure = failures.shift();
    if (failure !== undefined) {
      const { status = failure, code = 1, text } = failure;
      if (text !== undefined) return response.writeHead(status, { "content-type": "text/html" }).end(text);
      return answer(status, [{ code, message: "on purpose" }], status === 429 ? { "retry-after": "1" } : {});
    }
    const all = JSON.parse(text);
    const isLeft = ({ key }) => key === leftOut.key && leftOut.times > 0;
    const [left, pairs] = [all.filter(isLeft), all.filter((pair) => !isLeft(pair))];
    if (left.length > 0) leftOut.times -= 1;
    if (pairs.length > 10_000) return answer(400, [{ code: 10030, message: "too many keys" }]);
    // KV's own limits (https://developers.cloudflare.com/kv/platform/limits/).
    if (pairs.some(({ key }) => Buffer.byteLength(key) > 512)) return answer(400, [{ code: 10033, message: "key too long" }]);
    const at = performance.now();
    try {
      await Promise.all(pairs.map(({ key, value, expiration_ttl: expirationTtl }) => kv.put(key, value, expirationTtl ? { expirationTtl } : {})));
    } catch (error) {
      // The test has ended.
      return answer(500, [{ code: 1, message: error.message }]);
    }
    writes.push(...pairs.map(({ key, value }) => ({ key, value, at })));
    answer(200, [], {}, left.map(({ key }) => key));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = async () => {
    server.closeAllConnections();
    server.close();
    await miniflare.dispose();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, miniflare, kv, writes, failures, leftOut, stop };
}

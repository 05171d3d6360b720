// Shared by the two peers that run on Node: reads the body of a request, and starts and ends the HTTP server.

/** The body of a request, in bytes. */
export async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
}

/** Listens on PORT, prints "ready", and ends on SIGTERM. */
export function run(server) {
  // A publisher's connection may be idle for longer than the default timeout of 5 s.
  server.keepAliveTimeout = 600_000;
  process.once("SIGTERM", () => process.exit(0));
  // Ten thousand clients connect at the same time. With the default backlog of 511, some wait a second to repeat their
  // SYN.
  server.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 4096 }, () => console.log("ready"));
}

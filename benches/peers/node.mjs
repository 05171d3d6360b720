// What the two peers that run on Node share: reading a body, and how the HTTP server listens and ends.

/** The body of a request, as the bytes that came. */
export async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
}

/** Listens on PORT, says "ready", and ends on SIGTERM. */
export function run(server) {
  // A publishing connection may be silent for longer than the default of 5 s.
  server.keepAliveTimeout = 600_000;
  process.once("SIGTERM", () => process.exit(0));
  // Ten thousand come at once: a backlog of the default 511 makes some of them wait a second for their second SYN.
  server.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 4096 }, () => console.log("ready"));
}

// Finds ports: the wanted one, or a free one where another program has it.

import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";

async function listens(port: number): Promise<number | undefined> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch {
    return undefined;
  }
  const { port: taken } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return taken;
}

export async function findPort(wanted: number): Promise<number> {
  return (await listens(wanted)) ?? (await listens(0))!;
}

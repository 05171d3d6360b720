// A proxy before the daemon that can lose the answers to publishers: the daemon has the event, and nobody hears of it.

import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

import { onTestFinished } from "vitest";

/** A proxy that runs until the end of the test. */
export class Lossy {
  /** How many more requests to publish are let through whose answers come back. */
  answers = Infinity;
  /** The bodies of the requests to publish. */
  readonly published: string[] = [];
  readonly url: string;

  private constructor(url: string) {
    this.url = url;
  }

  static async start(daemon: string): Promise<Lossy> {
    const server = createServer((incoming, outgoing) => {
      const { method, url, headers } = incoming;
      const isPublish = method === "POST";
      const isLost = isPublish && --lossy.answers < 0;
      const body: Buffer[] = [];
      const onward = request(`${daemon}${url}`, { method, headers }, (answer) => {
        if (!isLost) return void (outgoing.writeHead(answer.statusCode!, answer.headers), answer.pipe(outgoing));
        // The daemon has answered, so it has the event.
        answer.resume().once("end", () => outgoing.destroy());
      });
      onward.once("error", () => outgoing.destroy());
      incoming.on("data", (chunk: Buffer) => body.push(chunk));
      incoming.once("end", () => isPublish && lossy.published.push(Buffer.concat(body).toString()));
      incoming.pipe(onward);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const lossy = new Lossy(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    onTestFinished(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    return lossy;
  }
}

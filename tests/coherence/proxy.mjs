// A TCP proxy, which breaks connections as networks do.

import { connect, createServer } from "node:net";
import { once } from "node:events";

import { now, sleep } from "./truth.mjs";

export class Proxy {
  #server;
  #pairs = new Set();
  #isOpen = true;
  #isFrozen = false;
  #delayMs = 0;

  /** Starts a proxy before `target`, a port of this machine. */
  static async before(target) {
    const proxy = new Proxy();
    proxy.#server = createServer((client) => proxy.#accept(client, target));
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port() {
    return this.#server.address().port;
  }

  #accept(client, target) {
    if (!this.#isOpen) return void client.destroy();
    const server = connect(target, "127.0.0.1");
    const pair = { client, server };
    this.#pairs.add(pair);
    for (const [from, to] of [[client, server], [server, client]]) {
      from.setNoDelay(true);
      from.on("error", () => {});
      from.on("close", () => (this.#pairs.delete(pair), to.destroy()));
      from.on("data", (chunk) => {
        if (this.#delayMs === 0) return void to.write(chunk);
        // One delay for all keeps the order.
        setTimeout(() => to.destroyed || to.write(chunk), this.#delayMs);
      });
    }
    if (this.#isFrozen) for (const socket of [client, server]) socket.pause();
  }

  /** Cuts all connections, and refuses new ones until `mend`. */
  close() {
    this.#isOpen = false;
    for (const { client, server } of this.#pairs) (client.destroy(), server.destroy());
  }

  /**
   * No connection that exists brings anything to its client any more, for ever, and none is closed: as if the network had
   * forgotten one direction of it. New connections work.
   */
  deafen() {
    for (const { server } of this.#pairs) server.pause();
  }

  /** Nothing passes in any direction, and nothing is closed, until `mend`. */
  freeze() {
    this.#isFrozen = true;
    for (const { client, server } of this.#pairs) (client.pause(), server.pause());
  }

  /** Each chunk takes so much longer. */
  delay(ms) {
    this.#delayMs = ms;
  }

  mend() {
    if (this.#isFrozen) for (const { client, server } of this.#pairs) (client.resume(), server.resume());
    this.#isOpen = true;
    this.#isFrozen = false;
    this.#delayMs = 0;
  }

  /** Resolves when a connection exists and has brought something to its client, or after `limitMs`. */
  async used(limitMs) {
    const isUsed = () => [...this.#pairs].some(({ server }) => server.bytesRead > 0);
    for (const until = now() + limitMs; !isUsed() && now() < until; ) await sleep(5);
  }

  stop() {
    this.close();
    this.#server.close();
  }
}

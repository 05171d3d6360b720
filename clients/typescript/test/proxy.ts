// A TCP proxy between a client and its daemon, which breaks the connection on purpose.

import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

export class Proxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #open = true;

  private constructor(port: number) {
    this.#server = createServer((client) => {
      if (!this.#open) return void client.destroy();
      const daemon = connect(port, "127.0.0.1");
      for (const [from, to] of [[client, daemon], [daemon, client]] as const) {
        this.#sockets.add(from);
        from.on("error", () => {});
        from.on("close", () => (this.#sockets.delete(from), to.destroy()));
        from.pipe(to);
      }
    });
  }

  /** Starts a proxy of the daemon on `port`. */
  static async before(port: number): Promise<Proxy> {
    const proxy = new Proxy(port);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Cuts all connections without a closing handshake, even in the middle of a frame. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Cuts all connections, and refuses new ones until `mend`. */
  close(): void {
    this.#open = false;
    this.cut();
  }

  /** Lets nothing through any more, in no direction, and closes nothing: as a network does that loses every packet. */
  freeze(): void {
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  /** Accepts connections again. */
  mend(): void {
    this.#open = true;
  }

  async stop(): Promise<void> {
    this.close();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

// A proxy of HTTP that treats WebSockets and streams badly, as many between a page and a daemon do.

import { createServer, type IncomingMessage, request as send, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";

/** What it does with requests to upgrade: passes them on, answers 400, or never answers. */
export type Upgrades = "pass" | "refuse" | "hang";

export class Middlebox {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #upgrades: Upgrades;
  /** Ends what each event stream passes on. */
  readonly #streams = new Set<() => void>();
  /** When it passes on a request for an event stream. */
  streamsAfter: Promise<void> = Promise.resolve();
  /** The requests so far: `GET /v1/stream`, without parameters. */
  readonly requests: string[] = [];
  /** The URL and the `authorization` of each request. */
  readonly seen: { url: string; authorization: string | undefined }[] = [];

  private constructor(port: number, upgrades: Upgrades, holdsBack: boolean) {
    this.#upgrades = upgrades;
    this.#server = createServer(async (request, response) => {
      this.#note(request, request.method!);
      if (request.url!.startsWith("/v1/stream")) await this.streamsAfter;
      const { method, url: path, headers } = request;
      const onward = send({ port, host: "127.0.0.1", method: method!, path: path!, headers, agent: false }, (answer) => {
        const isStream = path!.startsWith("/v1/stream");
        response.writeHead(answer.statusCode!, answer.headers);
        // A buffer that is passed on when it is full, or when the response ends.
        if (holdsBack && isStream) return void response.flushHeaders();
        answer.pipe(response);
        if (isStream) this.#streams.add(() => answer.unpipe(response));
      });
      onward.on("error", () => response.destroy());
      response.on("close", () => onward.destroy());
      request.pipe(onward);
    });
    this.#server.on("upgrade", (request, socket: Socket) => {
      this.#note(request, "UPGRADE");
      socket.on("error", () => {});
      if (this.#upgrades === "refuse") return void socket.end("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
      if (this.#upgrades === "hang") return;
      const daemon = connect(port, "127.0.0.1", () => {
        const lines = [`GET ${request.url} HTTP/1.1`];
        for (let index = 0; index < request.rawHeaders.length; index += 2) lines.push(`${request.rawHeaders[index]}: ${request.rawHeaders[index + 1]}`);
        daemon.write(`${lines.join("\r\n")}\r\n\r\n`);
        socket.pipe(daemon).pipe(socket);
      });
      daemon.on("error", () => socket.destroy());
      socket.on("close", () => daemon.destroy());
    });
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  /** Starts one before the daemon on `port`. `holdsBack`: no part of an event stream is passed on. */
  static async before(port: number, upgrades: Upgrades = "refuse", holdsBack = false): Promise<Middlebox> {
    const box = new Middlebox(port, upgrades, holdsBack);
    await new Promise<void>((resolve) => box.#server.listen(0, "127.0.0.1", resolve));
    return box;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** How many requests of this kind there were: `count("UPGRADE /v1/ws")`. */
  count(kind: string): number {
    return this.requests.filter((request) => request === kind).length;
  }

  /** Passes WebSockets on from now on. */
  mend(): void {
    this.#upgrades = "pass";
  }

  /** Leaves requests for a WebSocket without an answer from now on. */
  hang(): void {
    this.#upgrades = "hang";
  }

  /** The event streams that are open pass on nothing from now on, as where a connection has died unnoticed. */
  holdBack(): void {
    for (const stop of this.#streams) stop();
  }

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #note({ url = "", headers }: IncomingMessage, method: string): void {
    this.requests.push(`${method} ${url.replace(/\?.*/, "")}`);
    this.seen.push({ url, authorization: headers.authorization });
  }
}

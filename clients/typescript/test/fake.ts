// A fake daemon, which a test controls frame by frame: for situations that a real daemon does not create on demand.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { type WebSocket, WebSocketServer } from "ws";

import type { ClientFrame, ServerFrame } from "../src/generated/protocol.js";
import type { ErrorCode } from "../src/index.js";

/** A frame of the daemon. The code of an `error` frame may be one of a later version. */
type SentFrame = ServerFrame | { type: "error"; code: ErrorCode; message: string; sub?: string; id?: string };

type Respond = (body: unknown, response: ServerResponse, request: IncomingMessage) => void;

export class FakeDaemon {
  readonly #server: Server;
  readonly #sockets: WebSocketServer;
  #port = 0;
  readonly #peers = new Queue<Peer>();
  /** How to respond to the next publications, in this order. Later ones are accepted. */
  readonly responses: Respond[] = [];
  /** The bodies of the requests. */
  readonly published: unknown[] = [];
  /** The `Authorization` of each request that publishes, and of each handshake. */
  readonly authorizations: (string | undefined)[] = [];

  private constructor() {
    this.#server = createServer(async (request, response) => {
      if (request.method !== "POST") return void upgradeRequired(response);
      let text = "";
      for await (const chunk of request) text += chunk;
      const body: unknown = JSON.parse(text);
      this.published.push(body);
      this.authorizations.push(request.headers.authorization);
      const respond = this.responses.shift() ?? accept;
      respond(body, response, request);
    });
    this.#sockets = new WebSocketServer({ server: this.#server, path: "/v1/ws" });
    this.#sockets.on("connection", (socket, request) => {
      this.authorizations.push(request.headers.authorization);
      this.#peers.put(new Peer(socket));
    });
  }

  /** Listens on `port`, by default on a free one. */
  static async start(port = 0): Promise<FakeDaemon> {
    const fake = new FakeDaemon();
    await new Promise<void>((resolve) => fake.#server.listen(port, "127.0.0.1", resolve));
    fake.#port = (fake.#server.address() as AddressInfo).port;
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Waits for the next WebSocket connection. */
  connection(): Promise<Peer> {
    return this.#peers.take();
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** The daemon's side of one connection. */
export class Peer {
  readonly socket: WebSocket;
  /** Resolves with the close code. */
  readonly closed: Promise<number>;
  readonly #frames = new Queue<ClientFrame>();

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("message", (data) => this.#frames.put(JSON.parse(String(data)) as ClientFrame));
    this.closed = new Promise((resolve) => socket.once("close", (code) => resolve(code)));
  }

  /** Waits for the next frame of the client. */
  receive(): Promise<ClientFrame> {
    return this.#frames.take();
  }

  send(frame: SentFrame): void {
    this.socket.send(JSON.stringify(frame));
  }

  /** Sends `welcome`. */
  welcome(heartbeatMs = 25_000, expiresInMs?: number): this {
    this.send({ type: "welcome", protocol: 1, session: "session", node: "node", heartbeatMs, expiresInMs });
    return this;
  }

  /** Receives the next frame, which must be `auth`. Returns its token. */
  async receiveToken(): Promise<string> {
    const frame = await this.receive();
    if (frame.type !== "auth") throw new Error(`expected an auth frame, received ${frame.type}`);
    return frame.token;
  }

  /** Receives the next frame, which must be `subscribe`. */
  async receiveSubscribe(): Promise<Extract<ClientFrame, { type: "subscribe" }>> {
    const frame = await this.receive();
    if (frame.type !== "subscribe") throw new Error(`expected a subscribe frame, received ${frame.type}`);
    return frame;
  }

  /** Receives a `subscribe` frame and confirms it. Returns its `sub`. */
  async confirmSubscribe(position = "e:0", recovered?: boolean): Promise<string> {
    const { sub, channel } = await this.receiveSubscribe();
    this.send({ type: "subscribed", sub, channel, position, ...(recovered !== undefined && { recovered }) });
    return sub;
  }

  /** Sends an event. */
  event(type: string, data: unknown, position = "e:1"): void {
    const attributes = { specversion: "1.0", id: position, source: "test", time: "2026-11-21T00:00:00Z" } as const;
    this.send({ type: "event", position, event: { ...attributes, dataschema: `urn:${type}`, type, data } });
  }
}

/** Answers a request that publishes nothing as the daemon answers a GET of `/v1/ws`. */
function upgradeRequired(response: ServerResponse): void {
  const headers = { "content-type": "application/problem+json" };
  response.writeHead(426, headers).end('{"code":"upgrade-required","title":"A WebSocket is required"}');
}

/** Accepts a publication. */
function accept(body: unknown, response: ServerResponse): void {
  const events = [body].flat() as { id: string; type: string }[];
  const accepted = events.map(({ id, type }) => ({ id, type, position: "e:1", duplicate: false }));
  response.writeHead(202, { "content-type": "application/json" }).end(JSON.stringify({ accepted, cascaded: [] }));
}

/** An asynchronous queue: `take` waits for an item if there is none. */
class Queue<Item> {
  readonly #items: Item[] = [];
  readonly #takers: ((item: Item) => void)[] = [];

  put(item: Item): void {
    const taker = this.#takers.shift();
    if (taker) taker(item);
    else this.#items.push(item);
  }

  take(): Promise<Item> {
    const item = this.#items.shift();
    return item === undefined ? new Promise((resolve) => this.#takers.push(resolve)) : Promise.resolve(item);
  }
}

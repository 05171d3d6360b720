// The peer "Socket.IO": with its Redis adapter, as several nodes of it would run. The adapter gives an event to the clients
// of this node at once, and to Redis for the others.

import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

import { body, run } from "../node.mjs";

const redis = { port: Number(process.env.REDIS_PORT), host: "127.0.0.1" };
const publisher = new Redis(redis);
const subscriber = new Redis(redis);

const server = createServer(async (request, response) => {
  if (request.method !== "POST" || request.url !== "/publish") return response.writeHead(404).end();
  io.emit("event", value((await body(request)).toString()));
  response.writeHead(204).end();
});

const io = new Server(server, {
  path: "/ws",
  addTrailingSlash: false,
  serveClient: false,
  transports: ["websocket"],
  perMessageDeflate: false,
  adapter: createAdapter(publisher, subscriber),
});

/** JSON as the value that users emit, so that its quotes are not escaped once more; any other text as a string. */
function value(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

await Promise.all([publisher.ping(), subscriber.ping()]);
run(server);

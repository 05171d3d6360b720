// The peer "Socket.IO", with its Redis adapter, as a cluster of several nodes runs it. The adapter sends an event to
// the clients of this node at once, and publishes it to Redis for the other nodes.

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

/** JSON text becomes the value that applications emit, so that its quotes are not escaped again. Other text is a string. */
function value(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

await Promise.all([publisher.ping(), subscriber.ping()]);
run(server);

// The peer "Node ws + ioredis": a server as applications write it themselves. A POST becomes a PUBLISH in Redis, and
// every message from Redis is sent to every client.

import { createServer } from "node:http";

import { Redis } from "ioredis";
import { WebSocket, WebSocketServer } from "ws";

import { body, run } from "../node.mjs";

const HEARTBEAT_MS = 30_000;
// Shared by all sends. A Buffer sent as text goes out unchanged; a string would be encoded again for each client.
const TEXT = { binary: false, compress: false, fin: true };

const redis = { port: Number(process.env.REDIS_PORT), host: "127.0.0.1" };
const publisher = new Redis(redis);
const subscriber = new Redis(redis);

const server = createServer(async (request, response) => {
  if (request.method !== "POST" || request.url !== "/publish") return response.writeHead(404).end();
  try {
    await publisher.publish("bench", await body(request));
    response.writeHead(204).end();
  } catch (error) {
    response.writeHead(503).end(String(error));
  }
});

// `ws` sets TCP_NODELAY on each socket by itself.
const sockets = new WebSocketServer({ server, path: "/ws", perMessageDeflate: false });
sockets.on("connection", (socket) => {
  socket.alive = true;
  socket.on("pong", alive);
  socket.on("error", () => socket.terminate());
});

function alive() {
  this.alive = true;
}

subscriber.on("messageBuffer", (_channel, event) => {
  for (const socket of sockets.clients) {
    if (socket.readyState === WebSocket.OPEN) socket.send(event, TEXT);
  }
});

// The heartbeat from the documentation of `ws`: a client that did not answer the last Ping is disconnected.
setInterval(() => {
  for (const socket of sockets.clients) {
    if (!socket.alive) {
      socket.terminate();
      continue;
    }
    socket.alive = false;
    socket.ping();
  }
}, HEARTBEAT_MS);

await subscriber.subscribe("bench");
run(server);

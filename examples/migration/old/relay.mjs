// The old relay: passes every message of the channel on to every WebSocket. No filter, no log: who is not there misses it.

import { Redis } from "ioredis";
import { WebSocketServer } from "ws";

const relay = new WebSocketServer({ host: "127.0.0.1", port: Number(process.env.RELAY ?? 8080) });
const redis = new Redis(process.env.REDIS ?? "redis://127.0.0.1:6379");
redis.on("message", (_channel, message) => relay.clients.forEach((client) => client.send(message)));
await redis.subscribe("channel:inventory:change");
console.log("relaying");

// The old reader: prints what is left after each sale that the relay sends.

import { WebSocket } from "ws";

const socket = new WebSocket(`ws://127.0.0.1:${process.env.RELAY ?? 8080}`);
socket.on("open", () => console.log("reading"));
socket.on("message", (message) => console.log(JSON.parse(message).to));

// The protocol of each peer, as a client sees it: the table of README.md as code. This module does not know how peers
// are started, nor what the check expects of them.

import { once } from "node:events";
import { Agent, request } from "node:http";
import { connect } from "node:net";

import { WebSocket } from "ws";

/**
 * By the peer's name: the `path` of the WebSocket; `frames`, the subscriber's side of the protocol; `publisher`; and
 * `oneOrder`: whether all subscribers see the events of several publishers in the same order. Each peer keeps the order of
 * one publisher.
 */
export const DIALECTS = {
  bun: { path: "/ws", frames: plain, publisher: http, oneOrder: true },
  ws: { path: "/ws", frames: plain, publisher: http, oneOrder: true },
  socketio: { path: "/ws?EIO=4&transport=websocket", frames: engine, publisher: http, oneOrder: true },
  nchan: { path: "/ws", frames: plain, publisher: http, oneOrder: true },
  nats: { path: "/ws", frames: nats, publisher: natsClient, oneOrder: false },
};

/** Subscribes, and resolves once the subscription is confirmed. `onEvent` gets the text of each event. */
export async function subscribe(dialect, port, onEvent) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${dialect.path}`, { perMessageDeflate: false });
  // Not once(): its promise would reject when the socket fails, perhaps before anything awaits it.
  const closed = new Promise((done) => socket.on("close", done));
  await new Promise((subscribed, fails) => {
    const receive = dialect.frames(socket, subscribed, onEvent);
    socket.on("message", receive);
    socket.on("error", fails);
    socket.on("close", (code) => fails(new Error(`closed with ${code}`)));
  });
  return {
    closed,
    close() {
      // With a code: nats-server answers a Close without one with 1005, which is forbidden in a frame.
      socket.close(1000);
      return closed;
    },
  };
}

/** Bun, ws, nchan: each text frame is an event, and the response to the handshake confirms the subscription. */
function plain(socket, subscribed, onEvent) {
  socket.on("open", subscribed);
  return (data) => onEvent(data.toString());
}

/** Socket.IO over Engine.IO: `0{..}` `40` `40{..}`, then `42["event",..]`, and `2`, which must be answered with `3`. */
function engine(socket, subscribed, onEvent) {
  const event = '42["event",';
  return (data) => {
    const text = data.toString();
    if (text.startsWith(event)) onEvent(text.slice(event.length, -1));
    else if (text.startsWith("0")) socket.send("40");
    else if (text.startsWith("40")) subscribed();
    else if (text === "2") socket.send("3");
  };
}

/** NATS: a stream of lines and payloads, split into frames anywhere. One frame can hold many messages. */
function nats(socket, subscribed, onEvent) {
  const hello = 'CONNECT {"verbose":false,"pedantic":false}\r\nSUB bench 1\r\nPING\r\n';
  socket.on("open", () => socket.send(Buffer.from(hello)));
  return natsStream({ pong: subscribed, event: onEvent, ping: () => socket.send(Buffer.from("PONG\r\n")) });
}

function natsStream({ pong, ping, event }) {
  let rest = Buffer.alloc(0);
  return (data) => {
    rest = Buffer.concat([rest, data]);
    for (;;) {
      const end = rest.indexOf("\r\n");
      if (end < 0) return;
      const line = rest.toString("utf8", 0, end);
      let next = end + 2;
      if (line.startsWith("MSG ")) {
        const length = Number(line.slice(line.lastIndexOf(" ") + 1));
        if (rest.length < next + length + 2) return;
        event(rest.toString("utf8", next, next + length));
        next += length + 2;
      } else if (line === "PING") ping();
      else if (line === "PONG") pong();
      else if (!line.startsWith("INFO ")) throw new Error(`nats-server sent ${line}`);
      rest = rest.subarray(next);
    }
  };
}

/** A publisher over one HTTP/1.1 connection, which stays open. `publish` resolves once the peer has answered 2xx. */
async function http(port) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const publish = (event) =>
    new Promise((done, fails) => {
      const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(event) };
      const post = request({ agent, host: "127.0.0.1", port, path: "/publish", method: "POST", headers }, (response) => {
        response.resume();
        response.on("end", () => {
          if (response.statusCode >= 200 && response.statusCode < 300) done();
          else fails(new Error(`POST /publish is answered with ${response.statusCode}`));
        });
      });
      post.on("error", fails);
      post.end(event);
    });
  return { publish, close: () => agent.destroy() };
}

/** A publisher in NATS' own protocol, on the port after that of the WebSocket. A PONG confirms the PUB before it. */
async function natsClient(port) {
  const socket = connect({ host: "127.0.0.1", port: port + 1, noDelay: true });
  await once(socket, "connect");
  const waiting = [];
  let failed;
  const fail = (error) => {
    failed = error;
    for (const one of waiting.splice(0)) one.fails(error);
  };
  socket.on("data", natsStream({ pong: () => waiting.shift()?.done(), ping: () => socket.write("PONG\r\n"), event() {} }));
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("nats-server closed the connection")));
  socket.write('CONNECT {"verbose":false,"pedantic":false}\r\n');
  const publish = (event) =>
    new Promise((done, fails) => {
      if (failed) return fails(failed);
      waiting.push({ done, fails });
      socket.write(`PUB bench ${Buffer.byteLength(event)}\r\n${event}\r\nPING\r\n`);
    });
  return { publish, close: () => socket.destroy() };
}

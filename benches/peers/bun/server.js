// The peer "Bun": its built-in publish/subscribe, which is that of uWebSockets. One process without a broker.

const { TLS_CERT, TLS_KEY } = process.env;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  ...(TLS_CERT && { tls: { cert: Bun.file(TLS_CERT), key: Bun.file(TLS_KEY) } }),
  // A publisher's connection may be idle for longer than the default timeout of 10 s.
  idleTimeout: 0,
  routes: {
    "/ws": (request, server) => (server.upgrade(request) ? undefined : new Response("a WebSocket, please", { status: 426 })),
    "/publish": {
      POST: async (request) => {
        server.publish("bench", await request.text());
        return new Response(null, { status: 204 });
      },
    },
  },
  websocket: {
    perMessageDeflate: false,
    open: (socket) => socket.subscribe("bench"),
    message: () => {},
  },
});

console.log("ready");

process.once("SIGTERM", () => {
  server.stop(true);
  process.exit(0);
});

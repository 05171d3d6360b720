// A program on Node, without the types of a browser, that uses the built package.

import { connect, TidingsError } from "tidings-client";
import { WebSocket } from "ws";

const bus = connect("http://127.0.0.1:7400", { WebSocket, fetch });
bus.on("order-status", { where: { newStatus: "shipped" } }, ({ orderId }) => console.log(orderId));
bus.publish("order-status", { orderId: "1", newStatus: "shipped" }).catch((error: unknown) => {
  if (error instanceof TidingsError) console.error(error.code, error.errors);
});

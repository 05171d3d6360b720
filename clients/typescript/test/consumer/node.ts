// A program for Node that uses the built package. Compiled without the types of a browser.

import { connect, TidingsError } from "tidings-client";
import { WebSocket } from "ws";

const bus = connect("http://127.0.0.1:7400", { WebSocket, fetch });
bus.on("order-status", { where: { newStatus: "shipped" } }, ({ orderId }) => console.log(orderId));
bus.publish("order-status", { orderId: "1", newStatus: "shipped" }).catch((error: unknown) => {
  if (error instanceof TidingsError) console.error(error.code, error.errors);
});

// A program for the browser that uses the built package. Compiled without the types of Node.

import { connect } from "tidings-client";

const bus = connect(location.origin, { WebSocket, fetch: window.fetch });
bus.on("order-status", { where: { newStatus: "shipped" } }, ({ orderId }) => console.log(orderId));

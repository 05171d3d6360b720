// A program in a browser, without the types of Node, that uses the built package.

import { connect } from "tidings-client";

const bus = connect(location.origin, { WebSocket, fetch: window.fetch });
bus.on("order-status", { where: { newStatus: "shipped" } }, ({ orderId }) => console.log(orderId));

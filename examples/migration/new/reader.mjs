// The new reader: typed, and resumes where it was, also over a restart of the node.

import { connect } from "tidings-client";
import { WebSocket } from "ws";

const [url, ...urls] = (process.env.NODES ?? "http://127.0.0.1:7400,http://127.0.0.1:7401").split(",");
const bus = connect(url, { urls, WebSocket });
bus.on("inventory-change", { where: { productId: "p1" }, since: "start" }, (data) => console.log(data.newQuantity));
await bus.ready();
console.log("reading");

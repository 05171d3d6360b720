// The new publisher: publishes typed events to tidings. While a node restarts, it tries the other one with the same id.

import { connect } from "tidings-client";

const [url, ...urls] = (process.env.NODES ?? "http://127.0.0.1:7400,http://127.0.0.1:7401").split(",");
const bus = connect(url, { urls, retryTimeoutMs: 15_000 });
let left = Number(process.argv[2] ?? 500_000);
for (;;) {
  const sale = { productId: "p1", oldQuantity: left, newQuantity: left - 1, reason: "sale" };
  await bus.publish("inventory-change", sale);
  console.log(left -= 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
}

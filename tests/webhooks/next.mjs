// The receiver of examples/webhook-next on a port of its own, without Next.js. Prints the port, then each call that the route
// would make of Next.js.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

import { receive } from "../../examples/webhook-next/receive.mjs";

const [secret] = process.argv.slice(2);

const server = createServer(async (incoming, outgoing) => {
  const request = new Request(`http://localhost${incoming.url}`, {
    method: incoming.method,
    headers: incoming.headers,
    body: incoming,
    duplex: "half",
  });
  const response = await receive(request, {
    webhook: new Webhook(secret),
    forget: (tag) => console.log(`revalidateTag ${tag}`),
    forgetAll: () => console.log("revalidatePath /"),
  });
  if (response.status === 401) console.log("refused");
  outgoing.writeHead(response.status).end(await response.text());
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

// Serves a web page that has the built client, for tests in a browser. Each site has a port, and so an origin, of its own.

import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

const PAGE = `<!doctype html>
<title>tidings</title>
<link rel="icon" href="data:,">
<script type="module">
  import * as tidings from "/client/index.js";
  globalThis.tidings = tidings;
</script>`;

/** A web server. */
export class Site {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Starts a site. `token` makes the text of its path `/token`. */
  static async start(token?: () => Promise<string>): Promise<Site> {
    const server = createServer(async (request, response) => {
      const file = /^\/client\/([\w-]+\.js)(?:\?.*)?$/.exec(request.url ?? "")?.[1];
      if (file) {
        const script = await readFile(new URL(`../dist/${file}`, import.meta.url));
        response.writeHead(200, { "content-type": "text/javascript" }).end(script);
      } else if (request.url === "/token" && token) {
        response.writeHead(200, { "content-type": "text/plain" }).end(await token());
      } else {
        response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
      }
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new Site(server);
  }

  /** The origin of its pages. */
  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.close();
  }
}

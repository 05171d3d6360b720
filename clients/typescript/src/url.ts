// The URL of a daemon, as the application writes it.

/**
 * The daemon's address as `http:` or `https:`, without a trailing slash or route.
 *
 * @throws {TypeError} if it is no URL, or not one of a daemon.
 */
export function baseUrl(url: string): string {
  let parsed: URL | undefined;
  try {
    parsed = new URL(url);
  } catch {
    // The message of the runtime is only "Invalid URL".
  }
  if (parsed === undefined || !/^(http|ws)s?:$/.test(parsed.protocol)) {
    // Without a user name and password.
    const shown = String(url).replace(/[^/]*@/, "");
    throw new TypeError(`${JSON.stringify(shown)} is not the URL of a daemon: write it as http://127.0.0.1:7400, or with https:, ws: or wss:`);
  }
  const { protocol, host, pathname } = parsed;
  return `${protocol.replace("ws", "http")}//${host}${pathname.replace(/(\/v1\/(ws|events))?\/*$/, "")}`;
}

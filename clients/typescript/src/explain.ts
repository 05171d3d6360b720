// Why a daemon could not be reached, in words: what the runtime's error says, and what a person can do about it.
//
// `fetch` hides the reason in the `cause` of its error, and for a host with several addresses in an `AggregateError`. Browsers
// hide it altogether.
//
// A program that reaches its daemon never needs this, so it is loaded when it is first needed.

import { TidingsError } from "./errors.js";

/** What is known about a request without a response. */
export interface Explanation {
  /** The reason, as the runtime gives it: `connect ECONNREFUSED 127.0.0.1:7400`. */
  readonly cause: string;
  /** What to do about it. */
  readonly advice: string;
  /** Whether the request may have left this process. `undefined` if the runtime does not tell, as browsers do not. */
  readonly sent: boolean | undefined;
}

/** The codes of the errors of Node and Bun before a connection is made, with what to do. */
const NOT_CONNECTED: readonly (readonly [codes: RegExp, advice: string])[] = [
  [/^(ECONNREFUSED|ConnectionRefused|FailedToOpenSocket)$/, "check the URL, and that the daemon is running"],
  [/^(ENOTFOUND|EAI_AGAIN)$/, "check the name of the host in the URL"],
  [
    /^(EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|UND_ERR_CONNECT_TIMEOUT|ConnectionTimeout)$/,
    "check the address in the URL, and the network and firewalls in between",
  ],
  [
    /^(EPROTO|ERR_SSL_.*|ERR_TLS_PROTOCOL.*)$/,
    "the server does not speak TLS, or only versions that this runtime refuses: check whether the URL must begin with http:",
  ],
  [
    /^(CERT_.*|.*_CERT.*|.*_CERTIFICATE.*|ERR_TLS_CERT.*)$/,
    "the runtime does not trust the certificate: check the host in the URL, or set NODE_EXTRA_CA_CERTS to the file of the certificate authority",
  ],
];

/** The codes of the errors of Node and Bun on a connection that was made. */
const CONNECTED = /^(ECONNRESET|EPIPE|ECONNABORTED|UND_ERR_SOCKET|UND_ERR_HEADERS_TIMEOUT|UND_ERR_BODY_TIMEOUT|ConnectionClosed)$/;

/** What Chromium, Firefox and Safari say instead of the reason. */
const HIDDEN = /^(Failed to fetch|NetworkError when attempting to fetch|Load failed)/;

/** Explains the error of `fetch`, or of a WebSocket of the package `ws`. */
export function explain(error: unknown): Explanation {
  const chain = causes(error);
  const codes = chain.map((cause) => String((cause as { code?: unknown }).code ?? ""));
  const texts = chain.map((cause) => (cause instanceof Error ? cause.message : String(cause))).filter((text) => text !== "");
  // The innermost error says the most.
  const cause = plain(texts.at(-1) ?? codes.find((code) => code !== "") ?? "no connection");
  for (const [pattern, advice] of NOT_CONNECTED) {
    if (codes.some((code) => pattern.test(code))) return { cause, advice, sent: false };
  }
  if (codes.some((code) => code.startsWith("HPE_"))) {
    return { cause, advice: "the server there does not speak HTTP: check the port, and whether the URL must begin with https:", sent: true };
  }
  if (cause === "bad port") {
    return { cause, advice: "browsers and fetch refuse this port (Fetch Standard, section 2.9): choose another", sent: false };
  }
  if (HIDDEN.test(cause)) {
    const advice =
      "check the URL, that the daemon is running, and that it accepts requests from this page's origin; " +
      "the browser's console and network panel show the reason";
    return { cause, advice, sent: undefined };
  }
  const sent = codes.some((code) => CONNECTED.test(code)) ? true : undefined;
  return { cause, advice: "check the URL, and that the daemon is running", sent };
}

/** The reason in the message of an OpenSSL error, which is between numbers and names of files. Any other text on one line. */
function plain(text: string): string {
  return /:SSL routines:[^:]*:([^:]+):/.exec(text)?.[1] ?? text.trim().replace(/\s*\n\s*/g, " ");
}

/** An error and its causes, from the outermost to the innermost. Of several addresses, the last one that was tried. */
function causes(error: unknown): unknown[] {
  const chain: unknown[] = [];
  for (let next: unknown = error; next !== undefined && next !== null && !chain.includes(next) && chain.length < 8; ) {
    chain.push(next);
    const { cause, errors } = Object(next) as { cause?: unknown; errors?: unknown };
    next = cause ?? (Array.isArray(errors) ? errors.at(-1) : undefined);
  }
  return chain;
}

/** The error for a request to `url` that got no response. */
export function unreachable(url: string, { cause: reason, advice }: Explanation, cause: unknown): TidingsError {
  return new TidingsError("network", `cannot reach the daemon at ${url}: ${reason}; ${advice}`, { cause });
}

// What the claims of a JSON Web Token (RFC 7519) say. The client does not check a token: the daemon does.

/** The claims, if the token has any that can be read. An API key has none. */
export function claims(token: string | undefined): Readonly<Record<string, unknown>> | undefined {
  try {
    const text = token?.split(".")[1]?.replace(/-/g, "+").replace(/_/g, "/");
    const bytes = text && Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    const claims: unknown = bytes && JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null ? (claims as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * How long the token is valid, in milliseconds. No answer of HTTP says that. `undefined` if it is not known, as with a clock that is
 * wrong: the daemon then ends the stream, and the bus gets a new token.
 */
export function remainingMs(token: string | undefined): number | undefined {
  const { exp, iat } = claims(token) ?? {};
  if (typeof exp !== "number") return undefined;
  const remaining = exp * 1_000 - Date.now();
  const whole = typeof iat === "number" ? (exp - iat) * 1_000 : remaining;
  return remaining > 0 ? Math.min(remaining, whole) : undefined;
}

// The credential of a bus: a fixed token, or a function of the application that gets one.
//
// A token is kept until it is about to expire or the daemon refuses it, so that a reconnect or a publication does not call the
// function each time. Calls at the same moment share one call of the function.
//
// A credential that is missing or empty is an error that ends the bus: a client with a token never goes on without one.

import { TidingsError } from "./errors.js";

/** What the function of the option `token` returns. Nothing, or an empty text: there is no token any more, and the bus ends. */
export type TokenResult = string | null | undefined;

/** The option `token`: a token, or a function that gets one. */
export type Token = string | (() => TokenResult | Promise<TokenResult>);

/** A token to send. */
export interface HeldToken {
  readonly text: string;
  /** Whether the function was called for it just now. A refusal of such a token is final. */
  readonly isNew: boolean;
}

/** How long the function may take, in milliseconds. */
const FUNCTION_TIMEOUT_MS = 30_000;

/** The tokens of a bus. */
export class Credential {
  readonly #source: Token;
  #held: string | undefined;
  /** When the held token expires, by `performance.now()`, as far as that is known. */
  #expiresAt = Infinity;
  #call: Promise<string> | undefined;

  /** @throws {TypeError} if the token is an empty text, or has characters that no token has. */
  constructor(source: Token) {
    this.#source = source;
    if (typeof source === "function") return;
    if (typeof source !== "string" || source.trim() === "") {
      throw new TypeError("the option token is empty: leave it out to connect without a token");
    }
    this.#held = source.trim();
    if (!isSendable(this.#held)) throw new TypeError(NOT_SENDABLE);
  }

  /** Whether there is a function that gets new tokens. */
  get isRenewable(): boolean {
    return typeof this.#source === "function";
  }

  /** The token that is held, without a call of the function. */
  get held(): string | undefined {
    return this.#held;
  }

  /**
   * The token to send.
   *
   * @throws {TidingsError} as {@link renew}.
   */
  async get(): Promise<HeldToken> {
    const isCurrent = !this.isRenewable || performance.now() < this.#expiresAt;
    if (this.#held !== undefined && isCurrent) return { text: this.#held, isNew: false };
    return { text: await this.renew(), isNew: true };
  }

  /**
   * Calls the function for a token.
   *
   * @throws {TidingsError} with the code `unauthenticated` if it returns none, which is final, or with the code `no-token` if it
   * fails, which may pass.
   */
  renew(): Promise<string> {
    this.#call ??= this.#callFunction().finally(() => (this.#call = undefined));
    return this.#call;
  }

  /** The daemon has said how long the token is valid. */
  expiresIn(token: string, ms: number | undefined): void {
    if (token === this.#held) this.#expiresAt = ms === undefined ? Infinity : performance.now() + ms;
  }

  /** The daemon has refused the token: the next one comes from the function. A fixed token stays, there is no other. */
  refused(token: string): void {
    if (this.isRenewable && token === this.#held) this.#held = undefined;
  }

  async #callFunction(): Promise<string> {
    const source = this.#source;
    if (typeof source !== "function") return source.trim();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let result: unknown;
    try {
      const timeout = new Promise<never>((_, reject) => {
        const late = () => reject(new Error(`it did not return within ${FUNCTION_TIMEOUT_MS / 1000} s`));
        timer = setTimeout(late, FUNCTION_TIMEOUT_MS);
      });
      result = await Promise.race([Promise.resolve().then(source), timeout]);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new TidingsError("no-token", `the function of the option token failed: ${reason}`, { cause });
    } finally {
      clearTimeout(timer);
    }
    const text = typeof result === "string" ? result.trim() : "";
    if (text === "") {
      const got = result === undefined || result === null || result === "" ? "no token" : `${typeof result} instead of a token`;
      throw new TidingsError("unauthenticated", `the function of the option token returned ${got}: the bus is closed`);
    }
    if (!isSendable(text)) throw new TidingsError("unauthenticated", NOT_SENDABLE);
    if (text !== this.#held) this.#expiresAt = Infinity;
    this.#held = text;
    return text;
  }
}

/** The message for such a token. It does not repeat the token, and neither may the error that `fetch` would throw. */
const NOT_SENDABLE = "the token has characters that no token has, such as a space or a line break: pass the token alone";

/** Whether the text is one that a header takes. A JSON Web Token and an API key consist of fewer characters still. */
function isSendable(token: string): boolean {
  return /^[\x21-\x7e]+$/.test(token);
}

/** The header of a request with this token (RFC 6750, section 2.1). */
export function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

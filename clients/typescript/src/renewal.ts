// The token of one connection: when it is renewed, and what a refusal of it means.
//
// A token from a function is renewed on the live connection before it expires. A refusal ends the bus: the daemon would refuse the
// same token again. Only a token that is held for a while, and so may have expired, is replaced by a new one, once.

import { type Backoff, delayBefore } from "./backoff.js";
import { TidingsError } from "./errors.js";
import { CLOSE_CODES } from "./generated/protocol.js";
import type { Timer, Timers } from "./timers.js";
import type { Credential, HeldToken } from "./token.js";

/** A token is renewed at a random point between these parts of its remaining time, so that clients do not renew together. */
const RENEWAL = { earliest: 0.8, latest: 0.9 };
/** The shortest time between two renewals, in milliseconds, however soon the token expires. */
const MIN_RENEWAL_MS = 1_000;

export interface RenewalOptions {
  readonly credential: Credential;
  readonly backoff: Backoff;
  readonly random: () => number;
  readonly timers: Timers;
  /** Sends a token on the live connection. */
  readonly send: (token: string) => void;
  /** The function has no token any more: the bus ends. */
  readonly onEnd: (error: TidingsError) => void;
  /** The function failed, and is called again. */
  readonly onFailure: (error: TidingsError) => void;
}

export class Renewal {
  readonly #options: RenewalOptions;
  /** The token of this connection: the first one that was sent, or the last one that the daemon has accepted. */
  #token: HeldToken | undefined;
  /** The token of a renewal that the daemon has not answered. */
  #pending: string | undefined;
  /** The token that the daemon refused on the last connection. */
  #refused: string | undefined;
  /** When the token expires, by `performance.now()`. `undefined` if it does not. */
  #expiresAt: number | undefined;
  /** The number of renewals in a row that failed. */
  #failures = 0;
  #timer: Timer | undefined;
  /** Changes with each connection. */
  #connection = {};

  constructor(options: RenewalOptions) {
    this.#options = options;
  }

  /** The token that the connection uses. */
  get text(): string | undefined {
    return this.#token?.text;
  }

  /**
   * Gets the token for a new connection.
   *
   * @throws {TidingsError} as `Credential.get`; also `unauthenticated` if the daemon has refused that token before.
   */
  async begin(base: string): Promise<string> {
    this.stop();
    const token = await this.#options.credential.get();
    if (token.text === this.#refused) {
      const message = `the function of the option token returned the token that the daemon at ${base} has refused: the bus is closed`;
      throw new TidingsError("unauthenticated", message);
    }
    this.#token = token;
    return token.text;
  }

  /** The connection is gone. */
  stop(): void {
    this.#options.timers.stop(this.#timer);
    this.#connection = {};
    this.#pending = undefined;
    this.#expiresAt = undefined;
  }

  /** The daemon has sent `welcome`, so it does not refuse the token. */
  welcomed(): void {
    this.#refused = undefined;
  }

  /** The daemon has accepted the token, which is valid for `expiresInMs`. */
  authenticated(expiresInMs: number | undefined): void {
    if (this.#token === undefined) return;
    this.#token = { text: this.#pending ?? this.#token.text, isNew: false };
    this.#pending = undefined;
    this.#options.credential.expiresIn(this.#token.text, expiresInMs);
    this.#failures = 0;
    this.#expiresAt = expiresInMs === undefined ? undefined : performance.now() + expiresInMs;
    this.#schedule();
  }

  /** The daemon refused the token of a renewal. Another one is tried later, as long as the former one is valid. */
  refusedWhileOpen(): void {
    if (this.#pending === undefined) return;
    this.#options.credential.refused(this.#pending);
    this.#pending = undefined;
    this.#schedule();
  }

  /**
   * The daemon closed the connection with this code. Whether a new token may help: the one of this connection has expired, or may
   * have. `isFirstFrame`: there was no `welcome`.
   */
  isReplaceable(code: number, isFirstFrame: boolean): boolean {
    const { credential } = this.#options;
    if (!credential.isRenewable || this.#token === undefined) return false;
    const isHeld = code === CLOSE_CODES.unauthenticated && isFirstFrame && !this.#token.isNew;
    if (code !== CLOSE_CODES.tokenExpired && !isHeld) return false;
    this.#refused = this.#token.text;
    credential.refused(this.#token.text);
    return true;
  }

  /** Schedules the renewal of the token, before it expires. */
  #schedule(): void {
    this.#options.timers.stop(this.#timer);
    const { credential, random } = this.#options;
    if (this.#expiresAt === undefined || !credential.isRenewable) return;
    const part = RENEWAL.earliest + (RENEWAL.latest - RENEWAL.earliest) * random();
    this.#renewAfter(part * (this.#expiresAt - performance.now()));
  }

  /** Renews the token after this delay, and never at once. */
  #renewAfter(delayMs: number): void {
    const at = performance.now() + Math.max(MIN_RENEWAL_MS, delayMs);
    const wait = () => {
      const left = at - performance.now();
      if (left > 0) this.#timer = this.#options.timers.start(wait, left);
      else void this.#renew();
    };
    wait();
  }

  /** Gets a new token, and sends it on the live connection. */
  async #renew(): Promise<void> {
    const { credential, backoff, random, send, onEnd, onFailure } = this.#options;
    const connection = this.#connection;
    let text: string;
    try {
      text = await credential.renew();
    } catch (cause) {
      if (this.#connection !== connection) return;
      if (isFinal(cause)) return onEnd(cause);
      onFailure(cause as TidingsError);
      return this.#renewAfter(delayBefore(this.#failures++, backoff, random));
    }
    if (this.#connection !== connection) return;
    // The function has no newer one yet.
    if (text === this.#token?.text) return this.#schedule();
    this.#pending = text;
    send(text);
  }
}

/** Whether there is no token any more, or a refused one: the bus ends. */
export function isFinal(cause: unknown): cause is TidingsError {
  return cause instanceof TidingsError && cause.code === "unauthenticated";
}

// What a bus reports to the application: the state of its connection, events that are lost, and errors.

import { TidingsError } from "./errors.js";
import { Listeners } from "./listeners.js";
import type { ConnectionState } from "./state.js";
import type { Gap } from "./subscription.js";

/** The listeners of a bus. Errors that nobody listens to go to the console. */
export class Reports {
  readonly errors: Listeners<TidingsError> = new Listeners<TidingsError>((cause) => console.error("tidings: onError failed:", cause));
  readonly states: Listeners<ConnectionState> = new Listeners<ConnectionState>((cause) => this.handlerFailed(cause, "onState"));
  readonly gaps: Listeners<Gap> = new Listeners<Gap>((cause) => this.handlerFailed(cause, "onGap"));

  /** Reports an error. `notified`: whether a subscriber was told, so that the console need not be. */
  error(error: TidingsError, notified: boolean): void {
    if (this.errors.size > 0) this.errors.notify(error);
    else if (!notified) console.error("tidings:", error);
  }

  /** Reports that no connection comes up. The bus goes on trying. */
  connectionFailed(error: TidingsError): void {
    if (this.errors.size > 0) this.errors.notify(error);
    // One line, without a stack: the reason is outside the program.
    else console.error(`tidings: ${error.message} (${error.code}). Trying again until the bus is closed.`);
  }

  /** Calls a handler of the application, and reports its failure. Returns what it returns. */
  call(name: string, handler: () => unknown): unknown {
    try {
      const result = handler();
      if (result instanceof Promise) result.catch((cause: unknown) => this.handlerFailed(cause, name));
      return result;
    } catch (cause) {
      return this.handlerFailed(cause, name);
    }
  }

  /** Reports what a handler has thrown. */
  handlerFailed(cause: unknown, name: string): void {
    const message = `a handler of ${name} failed: ${String(cause)}; catch the error in the handler, or listen to onError`;
    this.error(new TidingsError("handler-failed", message, { cause }), false);
  }
}

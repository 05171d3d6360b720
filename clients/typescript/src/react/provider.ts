// The provider: which bus the hooks below it use.

import { type Context, createContext, createElement, type ReactElement, type ReactNode, useContext, useEffect, useState } from "react";

import type { Bus } from "../bus.js";
import { connect } from "../connect.js";
import type { ConnectOptions, TypesOptions } from "../types.js";
import type { RegisteredBus } from "./types.js";

/** What `TidingsProvider` takes: a URL and options, or a bus that the application has made. */
export type TidingsProviderProps = { readonly children?: ReactNode } & (
  | {
    /** The URL of the daemon. The provider makes a bus and closes it when it is unmounted. */
    readonly url: string;
    /** The options of the bus. Used when it is made; later changes have no effect. */
    readonly options?: (ConnectOptions & TypesOptions<any>) | undefined;
    readonly bus?: never;
  }
  | {
    /** The bus, which the provider does not close. */
    readonly bus: Bus<any>;
    readonly url?: never;
    readonly options?: never;
  }
);

/** A bus that a provider has made. */
interface OwnBus {
  readonly url: string | undefined;
  readonly bus: Bus<any> | undefined;
  /** How many effects use it. */
  uses: number;
  /** Whether the provider has closed it. */
  isClosed: boolean;
}

const BusContext: Context<Bus<any> | undefined> = createContext<Bus<any> | undefined>(undefined);

/**
 * Gives the hooks below it a bus. It opens nothing by itself: the first hook that subscribes does. For another user, give it
 * another `key`, so that it makes another bus.
 */
export function TidingsProvider({ url, options, bus, children }: TidingsProviderProps): ReactElement {
  const make = (): OwnBus => ({ url, bus: url === undefined ? undefined : connect(url, options), uses: 0, isClosed: false });
  const [own, setOwn] = useState(make);
  if (own.url !== url) setOwn(make());
  useEffect(() => {
    // It was hidden for a while, and is shown again.
    if (own.isClosed) return setOwn(make());
    own.uses++;
    return () => {
      own.uses--;
      // Later, since React in development unmounts and mounts at once.
      setTimeout(() => {
        if (own.uses > 0) return;
        own.isClosed = true;
        if (own.bus) close(own.bus);
      }, 0);
    };
  }, [own]);
  return createElement(BusContext.Provider, { value: bus ?? own.bus }, children);
}

/** Closes a bus. Browsers report an error if a WebSocket is closed while it comes up, so this waits for that. */
function close(bus: Bus<any>): void {
  if (bus.state.status !== "connecting") return bus.close();
  const stop = bus.onState(() => {
    stop();
    bus.close();
  });
}

/** The bus of the nearest provider. */
export function useBus(): RegisteredBus {
  const bus = useContext(BusContext);
  if (bus === undefined) throw new Error("there is no bus here: wrap the component in <TidingsProvider url=\"http://127.0.0.1:7400\">");
  return bus;
}

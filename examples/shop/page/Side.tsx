// One side of the page: the shop of one instance, with a connection of its own to the bus.
//
// The page subscribes to the daemon itself, not through its instance. The daemon is made to hold many connections, and this one
// goes on while the instance restarts. Pages of this machine may use a daemon without authentication; others need
// `allowed_origins` or a path of their own origin, and a token (docs/http.md, docs/security.md).

import { useState } from "react";
import { TidingsProvider, useConnection } from "tidings-client/react";

import { Dashboard } from "./Dashboard.tsx";
import { InstanceContext, useInstance, useStats } from "./data.ts";
import { Events } from "./Events.tsx";
import { BUS_URL, INSTANCES, type Name } from "./instance.ts";
import { Orders } from "./Orders.tsx";
import { ProductPage } from "./ProductPage.tsx";
import { Shelf } from "./Shelf.tsx";

/** The default waits up to 30 s between attempts. Who looks on has less patience. */
const OPTIONS = { backoff: { maxMs: 1_000 } };

export function Side({ name }: { readonly name: Name }) {
  const instance = useStats(name);
  const [productId, setProductId] = useState("desk-lamp");
  return (
    <InstanceContext value={instance}>
      <TidingsProvider url={BUS_URL} options={OPTIONS}>
        <section className={`side side-${name}`} aria-label={`Instance ${name.toUpperCase()}`} data-up={instance.isUp}>
          <Head />
          <div className="columns">
            <div className="column">
              <Shelf selected={productId} onSelect={setProductId} />
              <Orders />
            </div>
            <div className="column narrow">
              <ProductPage id={productId} />
              <Dashboard />
              <Events />
            </div>
          </div>
        </section>
      </TidingsProvider>
    </InstanceContext>
  );
}

function Head() {
  const { name, stats, isUp } = useInstance();
  const { status } = useConnection();
  const isOpen = status === "open";
  return (
    <div className="head">
      <h2>
        <span className="badge">{name.toUpperCase()}</span> {new URL(INSTANCES[name]).host}
      </h2>
      <span className="state" data-ok={isUp} title="Whether the instance answers">{isUp ? "instance up" : "instance down"}</span>
      <span className="state" data-ok={isOpen} title="This side's connection to the bus">{isOpen ? "live" : status}</span>
      {stats && stats.waiting > 0 && <span className="state" data-ok={false}>{stats.waiting} events wait</span>}
      {stats && (
        <span className="cache" title="The near cache of this instance: reads that it answered, and loads from the database">
          cache <b>{(100 * stats.cache.hitRate).toFixed(0)} %</b> hits <small>{stats.cache.loads.toLocaleString("en")} loads</small>
        </span>
      )}
    </div>
  );
}

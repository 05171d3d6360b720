// Books deliveries: events that another system publishes. `tidings trigger delivery` plays the warehouse.
//
// Both instances read them all, and the database says which are booked already. So none is missed while one instance is down, and
// none counts twice.

import type { Bus } from "tidings-client";

import type { EventMap } from "../shared/generated/events.ts";
import type { Outbox } from "./outbox.ts";
import type { Shop } from "./shop.ts";

export async function bookDeliveries(bus: Bus<EventMap>, shop: Shop, outbox: Outbox): Promise<void> {
  const since = shop.position("delivery");
  bus.on("delivery", { since }, ({ productId, pieces }, event) => {
    shop.deliver(event.id, productId, pieces, bus.positionOf(event)!);
    return outbox.flush();
  });
  await bus.ready();
  // The first time: from now on nothing is missed.
  const position = bus.positions.get("delivery");
  if (since === undefined && position !== undefined && shop.position("delivery") === undefined) shop.setPosition("delivery", position);
}

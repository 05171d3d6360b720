// A program that registers its own events for the hooks of the built package.

import { useEvents, useLatest } from "tidings-client/react";

import type { EventMap } from "../own/events.js";

declare module "tidings-client/react" {
  interface Register {
    events: EventMap;
  }
}

export function Price({ sku }: { sku: string }): string {
  useEvents("price-change", { where: { sku } }, ({ price }) => void price.amount);
  // @ts-expect-error no such event
  useEvents("price-chnage", () => {});
  return useLatest("price-change", { where: { sku } })?.data.price.currency ?? "";
}

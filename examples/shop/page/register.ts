// Tells the hooks of `tidings-client/react` which events there are: the built-in ones, and `delivery` of this shop.

import type {} from "tidings-client/react";

import type { EventMap } from "../shared/generated/events.ts";

declare module "tidings-client/react" {
  interface Register {
    events: EventMap;
  }
}

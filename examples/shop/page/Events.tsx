// The events as this side of the page receives them.

import { useState } from "react";
import type { CloudEvent } from "tidings-client";
import { useEvents } from "tidings-client/react";

import type { CacheInvalidate, Delivery, InventoryChange, OrderStatusChange } from "../shared/generated/events.ts";

/** How many are kept. */
const KEPT = 40;

interface Line {
  readonly id: string;
  readonly type: string;
  readonly time: string;
  readonly text: string;
  readonly isCascade: boolean;
}

export function Events() {
  const [lines, setLines] = useState<readonly Line[]>([]);
  const add = (event: CloudEvent, text: string) => {
    const { id, type, causationid } = event;
    const time = new Date().toISOString().slice(14, 23);
    const line = { id, type, time, text, isCascade: causationid !== undefined };
    setLines((lines) => [line, ...lines].slice(0, KEPT));
  };
  useEvents("inventory-change", (data, event) => add(event, stockText(data)));
  useEvents("order-status", (data, event) => add(event, orderText(data)));
  useEvents("cache-invalidate", (data, event) => add(event, tagsText(data)));
  useEvents("delivery", (data, event) => add(event, deliveryText(data)));
  return (
    <div className="card">
      <h3>Events</h3>
      <ol className="events">
        {lines.map(({ id, type, time, text, isCascade }) => (
          <li key={id} data-type={type} data-cascade={isCascade}>
            <time>{time}</time>
            <p><span className="type">{isCascade ? "↳ " : ""}{type}</span> {text}</p>
          </li>
        ))}
        {lines.length === 0 && <li className="empty">None yet. Buy something.</li>}
      </ol>
    </div>
  );
}

const stockText = ({ productId, oldQuantity, newQuantity }: InventoryChange) => `${productId} ${oldQuantity}\u00a0→\u00a0${newQuantity}`;
const orderText = ({ orderId, oldStatus, newStatus }: OrderStatusChange) => `${orderId} ${oldStatus ? `${oldStatus} → ` : ""}${newStatus}`;
const tagsText = ({ tags = [] }: CacheInvalidate) => tags.join(", ");
const deliveryText = ({ productId, pieces }: Delivery) => `${productId} + ${pieces}`;

// The newest orders, whose status a clerk sets, and the customer's own last one.

import { useLayoutEffect, useState } from "react";
import { useEvents } from "tidings-client/react";

import { type Order, STATUSES } from "../shared/api.ts";
import type { OrderStatus } from "../shared/generated/events.ts";
import { useData, useInstance } from "./data.ts";
import { change, CUSTOMERS, newId } from "./instance.ts";
import { Flash, Swatch } from "./parts.tsx";
import { clicked, seen } from "./speeds.ts";

export function Orders() {
  const { name } = useInstance();
  const orders = useData<Order[]>("/orders", ["orders"]);
  useLayoutEffect(() => {
    for (const { id, status } of orders ?? []) seen(id, status, name);
  }, [orders, name]);

  const setStatus = (orderId: string, status: OrderStatus) => {
    clicked(orderId, status, name);
    void change(name, { id: newId("status"), do: "set-status", orderId, status });
  };
  return (
    <div className="card">
      <h3>Orders <OwnOrder /></h3>
      <ul className="orders">
        {(orders ?? []).map(({ id, productId, customerId, status }) => (
          <li key={id} data-order={id} data-status={status}>
            <Swatch id={productId} />
            <span className="id">{id}</span>
            <small>{customerId}</small>
            <Flash value={status}>{(status) => <Status value={status} onChange={(status) => setStatus(id, status)} />}</Flash>
          </li>
        ))}
        {orders?.length === 0 && <li className="empty">No orders yet</li>}
      </ul>
    </div>
  );
}

interface StatusProps {
  readonly value: OrderStatus;
  readonly onChange: (status: OrderStatus) => void;
}

function Status({ value, onChange }: StatusProps) {
  const options: readonly OrderStatus[] = STATUSES.some((status) => status === value) ? STATUSES : [value, ...STATUSES];
  return (
    <select className="clerk" aria-label="Status" value={value} onChange={(event) => onChange(event.target.value as OrderStatus)}>
      {options.map((status) => <option key={status}>{status}</option>)}
    </select>
  );
}

/** What the customer of this side sees of the last order: `order-status` events are filtered by the daemon. */
function OwnOrder() {
  const { name } = useInstance();
  const [id, setId] = useState<string>();
  useEvents("order-status", { where: { customerId: CUSTOMERS[name], newStatus: "pending" } }, ({ orderId }) => setId(orderId));
  return id === undefined ? null : <OneOrder id={id} />;
}

function OneOrder({ id }: { readonly id: string }) {
  const order = useData<Order>("/order", [`order:${id}`], { id });
  return order ? <em data-own={order.id}>your {order.id}: <b>{order.status}</b></em> : null;
}

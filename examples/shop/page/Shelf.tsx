// The products: what a customer buys, and where a clerk puts more.

import { useState } from "react";

import type { Product } from "../shared/api.ts";
import { useData, useInstance } from "./data.ts";
import { change, CUSTOMERS, newId } from "./instance.ts";
import { euros, Flash, Swatch } from "./parts.tsx";
import { clicked } from "./speeds.ts";

interface Props {
  readonly selected: string;
  readonly onSelect: (id: string) => void;
}

export function Shelf({ selected, onSelect }: Props) {
  const { name } = useInstance();
  const products = useData<Product[]>("/products", ["products"]);
  const [refusal, setRefusal] = useState<string>();

  const buy = async (productId: string) => {
    const id = newId("order");
    clicked(id, "pending", name);
    setRefusal(await change(name, { id, do: "buy", productId, customerId: CUSTOMERS[name] }));
  };
  const restock = async (productId: string) =>
    setRefusal(await change(name, { id: newId("restock"), do: "restock", productId, pieces: 5 }));

  return (
    <div className="card">
      <h3>Products {refusal && <em role="status">{refusal}</em>}</h3>
      <ul className="products">
        {(products ?? []).map(({ id, name, cents, stock }) => (
          <li key={id} data-product={id} data-selected={id === selected}>
            <button className="name" onClick={() => onSelect(id)}>
              <Swatch id={id} /> <span>{name} <small>{euros(cents)}</small></span>
            </button>
            <Flash value={stock}>{(stock) => <span className="stock" data-low={stock < 5}>{stock > 0 ? `${stock} left` : "sold out"}</span>}</Flash>
            <button className="customer" onClick={() => buy(id)} disabled={stock === 0}>Buy</button>
            <button className="clerk" onClick={() => restock(id)} title="The clerk puts five more on the shelf">+ 5</button>
          </li>
        ))}
        {products === undefined && <li className="empty">Waiting for the instance …</li>}
      </ul>
    </div>
  );
}

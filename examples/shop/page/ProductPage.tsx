// The page of one product, which is cached by itself.

import type { ProductPage as Data } from "../shared/api.ts";
import { useData } from "./data.ts";
import { euros, Flash, Swatch } from "./parts.tsx";

export function ProductPage({ id }: { readonly id: string }) {
  const product = useData<Data>("/product", [`product:${id}`], { id });
  return (
    <div className="card product" data-page={product?.id}>
      {product === undefined ? <p className="empty">Waiting for the instance …</p> : (
        <>
          <h3><Swatch id={product.id} /> {product.name} <span className="price">{euros(product.cents)}</span></h3>
          <p>{product.about}</p>
          <p className="numbers">
            <Flash value={product.stock}>{(stock) => <span><b data-field="stock">{stock}</b> in stock</span>}</Flash>
            <Flash value={product.sold}>{(sold) => <span><b data-field="sold">{sold}</b> sold</span>}</Flash>
          </p>
        </>
      )}
    </div>
  );
}

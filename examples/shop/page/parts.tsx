// Small parts that several components use.

import { type CSSProperties, type ReactNode, useState } from "react";

const EUROS = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });

export const euros = (cents: number) => EUROS.format(cents / 100);

/** The colour of a product: an angle that its letters decide. */
export function Swatch({ id }: { readonly id: string }) {
  const hue = [...id].reduce((sum, letter) => (sum * 155 + letter.charCodeAt(0)) % 360, 0);
  return <i className="swatch" style={{ "--hue": hue } as CSSProperties} aria-hidden />;
}

interface FlashProps<Value> {
  readonly value: Value;
  readonly children: (value: Value) => ReactNode;
}

/** Shows a value, and lights up when it changes. */
export function Flash<Value extends string | number>({ value, children }: FlashProps<Value>) {
  const [shown, setShown] = useState({ value, changes: 0 });
  if (shown.value !== value) setShown({ value, changes: shown.changes + 1 });
  // Another key is another element, whose animation begins anew.
  return <span key={shown.changes} className={shown.changes > 0 ? "flash" : "calm"}>{children(value)}</span>;
}

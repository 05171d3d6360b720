// Small parts that several components use.

import { type CSSProperties, type ReactNode, useState } from "react";

const EUROS = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });

export const euros = (cents: number) => EUROS.format(cents / 100);

/** The lines of each product's picture, in a square of 24. */
const PICTURES: Readonly<Record<string, string>> = {
  "desk-lamp": "M6 21h9M10.5 21v-5L7 11l5.5-5M11 4l7.5 5.5-5 3L9 7.5zM16.5 13.5l2 2.5",
  "tea-kettle": "M6 11h10v7a2 2 0 0 1-2 2H8a2 2 0 0 1-2-2zM16 14l4.5-3M16 17l5.5-6.5M6 11a5 5 0 0 1 10 0M11 6V4",
  notebook: "M7 3h10a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H7zM4.5 7.5H9M4.5 12H9M4.5 16.5H9M12.5 8h3.5",
  headphones: "M4 15v-3a8 8 0 0 1 16 0v3M4 15a1 1 0 0 1 1-1h2.5v6H6a2 2 0 0 1-2-2zM20 15a1 1 0 0 0-1-1h-2.5v6H18a2 2 0 0 0 2-2z",
  backpack: "M6 11a6 6 0 0 1 12 0v8a2 2 0 0 1-2 2H8a2 2 0 0 1-2-2zM9.5 5.5V5a2.5 2.5 0 0 1 5 0v.5M9 21v-5a1 1 0 0 1 1-1h4a1 1 0 0 1 1 1v5M9.5 11h5",
  "espresso-cup": "M5 10h11v4a5 5 0 0 1-5 5h-1a5 5 0 0 1-5-5zM16 11.5h1.5a2.5 2.5 0 0 1 0 5h-2M4 22h13M8.5 3v3.5M12.5 3v3.5",
};

/** The picture of a product, in a colour that the letters of its id decide. */
export function Swatch({ id }: { readonly id: string }) {
  const hue = [...id].reduce((sum, letter) => (sum * 155 + letter.charCodeAt(0)) % 360, 0);
  return (
    <i className="swatch" style={{ "--hue": hue } as CSSProperties} aria-hidden>
      <svg viewBox="0 0 24 24"><path d={PICTURES[id] ?? "M6 6h12v12H6z"} /></svg>
    </i>
  );
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

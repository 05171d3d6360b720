// The last change, and after how many milliseconds each side showed it.

import type { Name } from "./instance.ts";
import { type Timed, useNewest } from "./speeds.ts";

export function Speed() {
  const timed = useNewest();
  if (timed === undefined) return <p className="speed">Buy something at one side, and watch the other.</p>;
  return (
    <p className="speed" role="status">
      <span className={`side-${timed.at}`}><span className="badge">{timed.at.toUpperCase()}</span></span> {timed.text}
      <Shown timed={timed} name="a" />
      <Shown timed={timed} name="b" />
    </p>
  );
}

function Shown({ timed, name }: { readonly timed: Timed; readonly name: Name }) {
  const after = timed.after[name];
  return (
    <span className="shown" data-shown={name}>
      {name.toUpperCase()} after <b>{after === undefined ? "…" : `${after.toFixed(0)} ms`}</b>
    </span>
  );
}

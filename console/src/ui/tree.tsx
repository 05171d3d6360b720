// A JSON value as a tree whose branches open and close. Numbers are shown as they were written.

import { isNumber, isObject, json } from "../data/json.js";

/** How many members of one branch are shown. */
const SHOWN = 500;

export function Tree({ value, label }: { value: unknown; label: string }) {
  return <div class="tree mono" role="group" aria-label={label}>{isBranch(value) ? <Members value={value} depth={0} /> : <Leaf value={value} />}</div>;
}

const isBranch = (value: unknown): value is Record<string, unknown> | unknown[] => isObject(value) || Array.isArray(value);

function Members({ value, depth }: { value: Record<string, unknown> | unknown[]; depth: number }) {
  const members = Object.entries(value);
  if (members.length === 0) return <span class="muted">{Array.isArray(value) ? "[]" : "{}"}</span>;
  return (
    <ul>
      {members.slice(0, SHOWN).map(([name, member]) => (
        <li key={name}>
          {isBranch(member) && Object.keys(member).length > 0 ? (
            <details open={depth < 3}>
              <summary><span class="name">{name}</span> <span class="muted">{Array.isArray(member) ? `[${member.length}]` : `{${Object.keys(member).length}}`}</span></summary>
              <Members value={member} depth={depth + 1} />
            </details>
          ) : (
            <div class="leaf"><span class="name">{name}</span> {isBranch(member) ? <Members value={member} depth={depth + 1} /> : <Leaf value={member} />}</div>
          )}
        </li>
      ))}
      {members.length > SHOWN && <li class="muted">and {members.length - SHOWN} more; Raw has them all</li>}
    </ul>
  );
}

function Leaf({ value }: { value: unknown }) {
  if (typeof value === "string") return <span class="text breaks">{value === "" ? '""' : value}</span>;
  return <span class={isNumber(value) ? "number" : "word"}>{json.stringify(value)}</span>;
}

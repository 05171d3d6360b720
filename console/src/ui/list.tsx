// A list of events of which only the visible rows are in the page.
//
// It is one stop of the Tab key. Arrow keys, Home, End and Page keys move; Enter opens; Space chooses where that means something.

import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from "@tanstack/virtual-core";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";

import { counted, type Entry, clock, isGap } from "../data/entries.js";
import { json } from "../data/json.js";
import { Channel } from "./parts.js";

/** The height of a row that is one line, in pixels; of one where columns are stacked. */
const ROW = 30;
const STACKED = 52;

export interface ListProps {
  readonly label: string;
  /** In the order of the rows. */
  readonly entries: readonly Entry[];
  /** Whether long rows have several lines. */
  readonly wrap: boolean;
  /** Where new rows appear, if they do. */
  readonly edge?: "top" | "bottom";
  /** Called when the reader leaves the edge, or comes back to it. */
  readonly onEdge?: (isThere: boolean) => void;
  readonly onOpen: (entry: Entry) => void;
  /** The key of the entry that is open beside the list. */
  readonly open?: number | undefined;
  /** The keys of the chosen entries, where entries can be chosen. */
  readonly chosen?: ReadonlySet<number>;
  readonly onChoose?: (entry: Entry) => void;
  readonly foot?: ComponentChildren;
}

export function EventList({ label, entries, wrap, edge, onEdge, onOpen, open, chosen, onChoose, foot }: ListProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const [, rerender] = useReducer((count: number) => count + 1, 0);
  const [current, setCurrent] = useState<number | undefined>();
  const isNarrow = useNarrow();
  const height = isNarrow ? STACKED : ROW;
  const options = {
    count: entries.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => height,
    getItemKey: (index: number) => entries[index]!.key,
    scrollToFn: elementScroll,
    observeElementRect,
    observeElementOffset,
    overscan: 8,
    onChange: () => rerender(undefined),
  };
  const [virtualizer] = useState(() => new Virtualizer<HTMLDivElement, HTMLElement>(options));
  virtualizer.setOptions({ ...virtualizer.options, ...options });
  useLayoutEffect(() => virtualizer._didMount(), []);
  useLayoutEffect(() => virtualizer._willUpdate());
  useLayoutEffect(() => virtualizer.measure(), [wrap, height]);

  // At the lower edge, the list goes on with what is new.
  const isAtEdge = useRef(true);
  useEffect(() => {
    if (edge === "bottom" && isAtEdge.current && scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
  }, [entries]);
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = scroller.current!;
    const there = edge === "top" ? scrollTop < ROW : scrollHeight - scrollTop - clientHeight < ROW;
    if (edge && there !== isAtEdge.current) onEdge?.((isAtEdge.current = there));
  };

  const index = entries.findIndex(({ key }) => key === current);
  const move = (to: number) => {
    const target = Math.max(0, Math.min(entries.length - 1, to));
    const entry = entries[target];
    if (!entry) return;
    setCurrent(entry.key);
    virtualizer.scrollToIndex(target, { align: "auto" });
    // What is open follows the reader.
    if (open !== undefined) onOpen(entry);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 300) / height) - 1);
    const moves: Record<string, () => void> = {
      ArrowDown: () => move(index + 1),
      ArrowUp: () => move(index < 0 ? 0 : index - 1),
      PageDown: () => move(index + page),
      PageUp: () => move(index - page),
      Home: () => move(0),
      End: () => move(entries.length - 1),
      Enter: () => entries[index] && onOpen(entries[index]),
      " ": () => entries[index] && (onChoose ? onChoose(entries[index]) : onOpen(entries[index])),
    };
    const act = moves[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  };

  const rows = virtualizer.getVirtualItems();
  const currentKey = index >= 0 && rows.some((row) => row.index === index) ? `row-${current}` : undefined;
  return (
    <div class={`list ${wrap ? "wraps" : ""} ${onChoose ? "chooses" : ""}`} ref={scroller} onScroll={scrolled}>
      <div
        class="list-rows"
        role="listbox"
        tabindex={0}
        aria-label={`${label}, ${counted(entries.length)}`}
        aria-multiselectable={onChoose ? true : undefined}
        aria-activedescendant={currentKey}
        onKeyDown={onKeyDown}
        onFocus={() => current === undefined && entries[0] && setCurrent(entries[0].key)}
        style={{ height: `${virtualizer.getTotalSize()}px` }}
      >
        {rows.map((row) => {
          const entry = entries[row.index]!;
          const isChosen = chosen?.has(entry.key) ?? false;
          return (
            <div
              key={entry.key}
              id={`row-${entry.key}`}
              role="option"
              aria-selected={onChoose ? isChosen : entry.key === open}
              aria-posinset={row.index + 1}
              aria-setsize={entries.length}
              data-index={row.index}
              ref={wrap || isNarrow ? virtualizer.measureElement : null}
              class={`row ${isGap(entry) ? (entry.leftOut ? "left-out" : "gap") : ""} ${entry.key === current ? "current" : ""} ${entry.key === open ? "open" : ""}`}
              style={{ transform: `translateY(${row.start}px)` }}
              onClick={(event) => {
                setCurrent(entry.key);
                if (onChoose && (event.target as Element).closest(".tick")) onChoose(entry);
                else onOpen(entry);
              }}
            >
              {onChoose && <span class="tick" aria-hidden="true">{isChosen ? "✓" : ""}</span>}
              <Row entry={entry} />
            </div>
          );
        })}
      </div>
      {foot}
    </div>
  );
}

function Row({ entry }: { entry: Entry }) {
  if (isGap(entry)) {
    return (
      <>
        <span class="row-time">{entry.leftOut ? "left out" : "lost"}</span>
        <Channel name={entry.channel} />
        <span class="row-data">
          {entry.leftOut ? `${counted(entry.leftOut)} events, too many to show` : `Events after ${entry.from} up to ${entry.position} are gone from the log.`}
        </span>
      </>
    );
  }
  const { event, channel } = entry;
  return (
    <>
      <time class="row-time" dateTime={event.time} title={event.time}>{clock(event.time)}</time>
      <Channel name={channel} />
      <span class="row-subject" title={event.subject}>{event.subject ?? ""}</span>
      <span class="row-data mono">{preview(event)}</span>
    </>
  );
}

/** The data in one line. Kept: a list draws the same rows many times. */
const previews = new WeakMap<object, string>();
function preview(event: { readonly data: unknown }): string {
  let text = previews.get(event);
  if (text === undefined) {
    text = json.stringify(event.data);
    if (text.length > 2_000) text = `${text.slice(0, 2_000)}…`;
    previews.set(event, text);
  }
  return text;
}

const NARROW = matchMedia("(max-width: 700px)");

function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(NARROW.matches);
  useEffect(() => {
    const changed = () => setNarrow(NARROW.matches);
    NARROW.addEventListener("change", changed);
    return () => NARROW.removeEventListener("change", changed);
  }, []);
  return narrow;
}

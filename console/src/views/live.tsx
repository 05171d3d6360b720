// Live: what happens on the chosen channels, as it happens.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { TidingsError } from "tidings-client";

import { catalog } from "../data/catalog.js";
import { counted, type Entry, isGap, ndjson } from "../data/entries.js";
import { json } from "../data/json.js";
import * as live from "../data/live.js";
import { visible } from "../data/poll.js";
import { note, route } from "../data/route.js";
import { bus } from "../data/session.js";
import { follow } from "../data/snippets.js";
import { EventList } from "../ui/list.js";
import { Channel, Copies, download, Empty, Head, Problem } from "../ui/parts.js";
import { Begin, BrokenFilter, ChannelPicker, FilterBar, readSelection, type Selection, writeSelection } from "../ui/select.js";
import { EventPanel } from "./event.js";

const BEGINNINGS = [["now", "from now on"], ["1m", "the last minute"], ["10m", "the last 10 minutes"], ["start", "all retained"]] as const;

export function Live() {
  const { query } = route.value;
  const selection = readSelection(query);
  const since = query.get("since") ?? "now";
  const [wrap, oldestFirst] = [query.has("wrap"), query.get("order") === "oldest"];
  const [isPaused, setPaused] = useState(false);
  const [isAway, setAway] = useState(false);
  const [open, setOpen] = useState<Entry>();

  const { channels, filters } = selection;
  const followed = { channels, filters, since };
  const key = json.stringify([channels, filters, since, selection.broken?.where]);
  const before = useRef(key);
  const [client, isVisible, hasCatalog] = [bus.value, visible.value, catalog.value !== undefined];
  useEffect(() => {
    if (before.current !== key) {
      live.restart();
      // What was chosen in the list before, and where the reader was in it, means nothing in this one.
      setPaused(false);
      setAway(false);
      setOpen(undefined);
    }
    before.current = key;
    if (channels.length === 0 || selection.broken || !isVisible || !hasCatalog) return;
    return live.start(followed);
  }, [key, client, isVisible, hasCatalog]);

  // While the reader reads, the list stands still.
  const isHeld = isPaused || isAway;
  const version = live.version.value;
  const snapshot = useRef<readonly Entry[]>([]);
  const shownTotal = useRef(0);
  if (!isHeld) {
    snapshot.current = live.held();
    shownTotal.current = live.received.value;
  }
  const waiting = isHeld ? live.received.value - shownTotal.current : 0;
  const frozen = isHeld ? 0 : version;
  const entries = useMemo(() => {
    const kept = [...snapshot.current];
    // The daemon replays channel by channel.
    if (since !== "now" && channels.length > 1) kept.sort((a, b) => a.at - b.at);
    return oldestFirst ? kept : kept.reverse();
  }, [frozen, isHeld, oldestFirst]);

  const write = (change: Partial<Selection> & { since?: string; wrap?: boolean; order?: string }) => {
    const next = { ...selection, ...change };
    note("live", {
      ...writeSelection(next),
      since: (change.since ?? since) === "now" ? undefined : (change.since ?? since),
      wrap: (change.wrap ?? wrap) ? "yes" : undefined,
      order: (change.order ?? (oldestFirst ? "oldest" : "")) || undefined,
    });
  };
  const clear = () => {
    live.clear();
    setPaused(false);
    setAway(false);
    setOpen(undefined);
  };

  // A token that is refused is refused for all channels. What the client says of it is for programmers.
  const isOfToken = ({ code }: TidingsError) => code === "unauthenticated";
  const all = [...live.refusals.value];
  const refusals = all.filter(([, error]) => !isOfToken(error));
  const trouble = live.trouble.value ?? all.map(([, error]) => error).find(isOfToken);

  const actions = channels.length > 0 && !selection.broken && (
    <>
      <button type="button" aria-pressed={isPaused} onClick={() => setPaused(!isPaused)}>{isPaused ? "Resume" : "Pause"}</button>
      <button type="button" onClick={clear}>Clear</button>
      <button type="button" aria-pressed={wrap} onClick={() => write({ wrap: !wrap })}>Wrap</button>
      <button type="button" aria-pressed={!oldestFirst} onClick={() => write({ order: oldestFirst ? "" : "oldest" })}>Newest first</button>
      <Copies label="Copy as…" texts={{ curl: () => follow.curl(followed), "Command line": () => follow.cli(followed), TypeScript: () => follow.typescript(followed), Python: () => follow.python(followed) }} />
      <button type="button" disabled={entries.every(isGap)} onClick={() => download("events.ndjson", ndjson(oldestFirst ? entries : [...entries].reverse()))}>Export</button>
    </>
  );
  return (
    <div class={`view fills ${open ? "beside" : ""}`}>
      <div class="view-main">
        <Head title="Live">{actions}</Head>
        <div class="bar">
          <ChannelPicker selection={selection} onChange={write} />
          {channels.length > 0 && (
            <select aria-label="Where to begin" value={BEGINNINGS.some(([value]) => value === since) ? since : "now"} onChange={(event) => write({ since: event.currentTarget.value })}>
              {BEGINNINGS.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
            </select>
          )}
          <FilterBar selection={selection} onChange={write} />
        </div>
        {channels.length > 0 && !selection.broken && <Status isRefused={refusals.length === channels.length} isPaused={isPaused} waiting={waiting} onResume={() => (setPaused(false), setAway(false), document.querySelector(".list")?.scrollTo({ top: oldestFirst ? 1e9 : 0 }))} />}
        {trouble && (isOfToken(trouble) ? <Problem error={trouble} /> : entries.length > 0 && <p class="refusal" role="alert">{trouble.message}</p>)}
        {refusals.map(([channel, error]) => (
          <p class="refusal" role="alert" key={channel}>
            <Channel name={channel} /> is not followed: {error.message}
          </p>
        ))}
        <BrokenFilter selection={selection} onChange={write} />
        {selection.broken ? null : channels.length === 0 ? (
          <Begin verb="follow" none="subscribe to" onChoose={(next) => write({ channels: next })} />
        ) : entries.length === 0 && (refusals.length === channels.length || (trouble && isOfToken(trouble))) ? null : entries.length === 0 ? (
          <Empty title={trouble ? "No connection" : "Nothing yet"}>
            {trouble ? <p>{trouble.message}</p> : <p>Events appear here as they are published{Object.keys(filters).length > 0 && ", if the filters let them through"}. <a href="#/publish">Publish one</a> to try it.</p>}
          </Empty>
        ) : (
          <EventList label="Events" entries={entries} wrap={wrap} edge={oldestFirst ? "bottom" : "top"} onEdge={(there) => setAway(!there)} onOpen={setOpen} open={open?.key} />
        )}
      </div>
      {open && <EventPanel entry={open} onClose={() => setOpen(undefined)} />}
    </div>
  );
}

/** The connection, how much came, and what waits while the list stands still. */
function Status({ isRefused, isPaused, waiting, onResume }: { isRefused: boolean; isPaused: boolean; waiting: number; onResume: () => void }) {
  const state = live.state.value;
  const [total, missing] = [live.received.value, live.leftOut.value];
  const isSampled = live.sampled.value.size > 0;
  const [tone, text] =
    isRefused ? ["bad", "not following"] :
    isSampled && state !== "reconnecting" ? (live.trouble.value ? ["warn", "waiting for the daemon"] : ["good", "following, sampled"]) :
    state === "open" ? ["good", live.transport() === "websocket" || !live.transport() ? "following" : `following over ${live.transport() === "sse" ? "an event stream" : "long-polls"}`] :
    state === "closed" ? ["bad", "closed"] :
    state === "off" ? ["", "not following"] :
    state === "draining" ? ["warn", "the node is about to stop"] :
    state === "reconnecting" ? ["warn", "connecting again"] : ["", "connecting"];
  return (
    <p class="status">
      <span class={`dot ${tone}`} aria-hidden="true" />
      <span role="status">{text}{isPaused ? ", paused" : ""}</span>
      <span class={missing > 0 ? "" : "muted"}>{missing > 0 && `${counted(total - missing)} of ${live.isAbout() ? "about " : ""}`}{counted(total)} {total === 1 ? "event" : "events"}{missing > 0 && " shown"}</span>
      <span class="muted">{counted(live.rate.value)}/s</span>
      {isSampled && <span class="muted">too many to show each: a filter shows all that match</span>}
      {total - missing > live.KEPT && <span class="muted">the newest {counted(live.KEPT)} are kept</span>}
      {waiting > 0 && <button type="button" class="main" onClick={onResume}>Show {counted(waiting)} new</button>}
    </p>
  );
}

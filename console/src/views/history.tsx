// History: what the log has, by time, position and filter. Events can be published again, as new ones.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { TidingsError } from "tidings-client";

import { counted, type Entry, entriesOf, type EventEntry, isGap, ndjson, type Page, Places, split } from "../data/entries.js";
import { json } from "../data/json.js";
import { isUnknown, newId, SAFE } from "../data/outcome.js";
import { visible } from "../data/poll.js";
import { note, route } from "../data/route.js";
import { bus, get, token } from "../data/session.js";
import { EventList } from "../ui/list.js";
import { download, Empty, Head, Loading, Problem } from "../ui/parts.js";
import { Begin, BrokenFilter, ChannelPicker, FilterBar, readSelection, type Selection, writeSelection } from "../ui/select.js";
import { EventPanel } from "./event.js";

/** Events of one channel in one answer. */
const LIMIT = 200;
/** How many more answers are read for a filter that few events match. Each reads up to 20,000 events of the log. */
const ANSWERS = 4;
const BEGINNINGS = [["newest", "the newest"], ["10m", "10 minutes ago"], ["1h", "an hour ago"], ["start", "the oldest retained"], ["other", "a time or position…"]] as const;

interface Found {
  readonly entries: readonly Entry[];
  /** Where to go on, by channel. */
  readonly cursors: ReadonlyMap<string, string>;
}

/** Reads each channel from where it was left. */
async function read(channels: readonly string[], filters: Selection["filters"], since: (channel: string) => string | undefined, places: Places, abort: AbortSignal): Promise<Found> {
  const cursors = new Map<string, string>();
  const pages = await Promise.all(
    channels.map(async (channel) => {
      const begin = since(channel);
      if (begin === undefined) return [];
      const where = filters[channel];
      const entries: Entry[] = [];
      let from = begin;
      for (let answers = 0; ; answers++) {
        const page = await get<Page>("v1/events", { channel, since: from, limit: LIMIT, ...(where && { where: json.stringify(where) }) }, { abort });
        entries.push(...entriesOf(page, places));
        // Without a filter, an answer with less than was asked for is the end. With one, an answer that goes no further is.
        const isEnd = where ? page.cursor === from : page.events.length < LIMIT;
        from = page.cursor;
        if (isEnd) break;
        if (!where || entries.length >= LIMIT || answers === ANSWERS) {
          cursors.set(channel, from);
          break;
        }
      }
      return entries;
    }),
  );
  return { entries: pages.flat(), cursors };
}

/** Where the newest events of each channel begin. */
async function newest(channels: readonly string[], abort: AbortSignal): Promise<(channel: string) => string> {
  const answer = await get<{ channels: { type: string; position: string }[] }>("v1/channels", {}, { abort });
  const heads = new Map(answer.channels.map(({ type, position }) => [type, position]));
  const each = BigInt(Math.max(20, Math.floor(LIMIT / Math.max(1, channels.length))));
  return (channel) => {
    const [epoch, offset] = split(heads.get(channel) ?? "");
    return offset > each ? `${epoch}:${offset - each}` : "start";
  };
}

export function History() {
  const { query } = route.value;
  const selection = readSelection(query);
  const { channels, filters } = selection;
  const since = query.get("since") ?? "newest";
  const [wrap, oldestFirst] = [query.has("wrap"), query.get("order") === "oldest"];
  const [found, setFound] = useState<Found>();
  const [error, setError] = useState<TidingsError>();
  const [isBusy, setBusy] = useState(false);
  const [open, setOpen] = useState<Entry>();
  const [chosen, setChosen] = useState<ReadonlySet<number>>(new Set());
  /** How many events were published again since the last choice. */
  const [again, setAgain] = useState(0);
  const [round, setRound] = useState(0);
  const key = json.stringify([channels, filters, since, token.value, round, selection.broken?.where]);
  const latest = useRef(key);
  latest.current = key;

  const write = (change: Partial<Selection> & { since?: string; wrap?: boolean; order?: string }) => {
    const next = change.since ?? since;
    note("history", {
      ...writeSelection({ ...selection, ...change }),
      since: next === "newest" ? undefined : next,
      wrap: (change.wrap ?? wrap) ? "yes" : undefined,
      order: (change.order ?? (oldestFirst ? "oldest" : "")) || undefined,
    });
  };
  const ask = async (more: ReadonlyMap<string, string> | undefined, abort: AbortSignal) => {
    setBusy(true);
    try {
      const begin = more ? (channel: string) => more.get(channel) : since === "newest" ? await newest(channels, abort) : () => since;
      if (!more) places.current = new Places();
      const next = await read(channels, filters, begin, places.current, abort);
      setFound((before) => ({ cursors: next.cursors, entries: more && before ? [...before.entries, ...next.entries] : next.entries }));
      setError(undefined);
    } catch (cause) {
      if (abort.aborted) return;
      setError(cause instanceof TidingsError ? cause : new TidingsError("unexpected-response", String(cause)));
    } finally {
      if (!abort.aborted) setBusy(false);
    }
  };
  const places = useRef(new Places());
  const stopper = useRef(new AbortController());
  useEffect(() => () => stopper.current.abort(), []);
  const isVisible = visible.value;
  const asked = useRef("");
  useEffect(() => {
    if (!isVisible || asked.current === key) return;
    asked.current = key;
    setFound(undefined);
    setError(undefined);
    setOpen(undefined);
    setChosen(new Set());
    setAgain(0);
    stopper.current.abort();
    stopper.current = new AbortController();
    if (channels.length > 0 && !selection.broken) void ask(undefined, stopper.current.signal);
  }, [key, isVisible]);

  const entries = useMemo(() => {
    // Each channel is in the order of its log; the channels are put together by time.
    const sorted = [...(found?.entries ?? [])];
    if (channels.length > 1) sorted.sort((a, b) => a.at - b.at);
    return oldestFirst ? sorted : sorted.reverse();
  }, [found, oldestFirst]);
  const events = entries.filter((entry): entry is EventEntry => !isGap(entry));
  const picked = events.filter((entry) => chosen.has(entry.key)).sort((a, b) => a.key - b.key);
  // What is still chosen is what is still to be published.
  const published = (entries: readonly EventEntry[]) => {
    const keys = new Set(entries.map(({ key }) => key));
    setChosen((before) => new Set([...before].filter((key) => !keys.has(key))));
    setAgain((before) => before + entries.length);
  };
  const choose = (entry: Entry) => {
    if (chosen.size === 0) setAgain(0);
    const next = new Set(chosen);
    if (!isGap(entry) && !next.delete(entry.key)) next.add(entry.key);
    setChosen(next);
  };
  const more = found && found.cursors.size > 0 && (
    <p class="more">
      <button type="button" disabled={isBusy} onClick={() => void ask(found.cursors, stopper.current.signal)}>{isBusy ? "Reading…" : "Read on"}</button>
    </p>
  );
  return (
    <div class={`view fills ${open ? "beside" : ""}`}>
      <div class="view-main">
        <Head title="History">
          {channels.length > 0 && !selection.broken && (
            <>
              <button type="button" onClick={() => setRound(round + 1)}>Read again</button>
              <button type="button" aria-pressed={wrap} onClick={() => write({ wrap: !wrap })}>Wrap</button>
              <button type="button" aria-pressed={!oldestFirst} onClick={() => write({ order: oldestFirst ? "" : "oldest" })}>Newest first</button>
              <button type="button" disabled={events.length === 0} onClick={() => download("history.ndjson", ndjson(picked.length > 0 ? picked : [...events].sort((a, b) => a.key - b.key)))}>Export{picked.length > 0 && ` ${picked.length}`}</button>
            </>
          )}
        </Head>
        <div class="bar">
          <ChannelPicker selection={selection} onChange={write} />
          {channels.length > 0 && <Since value={since} channels={channels} onChange={(value) => write({ since: value })} />}
          <FilterBar selection={selection} onChange={write} />
        </div>
        {picked.length > 0 && <Again picked={picked} onNone={() => setChosen(new Set())} onSent={published} />}
        {again > 0 && <p role="status" class="done">{again === 1 ? "1 event was" : `${counted(again)} events were`} published again.</p>}
        {error && <Problem error={error} retry={() => setRound(round + 1)} />}
        <BrokenFilter selection={selection} onChange={write} />
        {selection.broken ? null : channels.length === 0 ? (
          <Begin verb="read" none="read" onChoose={(next) => write({ channels: next })} />
        ) : !found ? (
          !error && <Loading />
        ) : entries.length === 0 ? (
          <Empty title="The log has nothing there">
            <p>{Object.keys(filters).length > 0 ? "No event that was read matches the filters." : "No event was published since then, or it is not retained any more."}</p>
            {more}
          </Empty>
        ) : (
          <>
            <p class="status"><span role="status">{counted(events.length)} {events.length === 1 ? "event" : "events"}{found.cursors.size > 0 && ", and more"}</span>{chosen.size === 0 && <span class="muted wide">Space chooses an event, to publish it again.</span>}</p>
            <EventList label="Events" entries={entries} wrap={wrap} onOpen={setOpen} open={open?.key} chosen={chosen} onChoose={choose} foot={more} />
          </>
        )}
      </div>
      {open && <EventPanel entry={open} onClose={() => setOpen(undefined)} />}
    </div>
  );
}

function Since({ value, channels, onChange }: { value: string; channels: readonly string[]; onChange: (since: string) => void }) {
  const isNamed = BEGINNINGS.some(([one]) => one === value);
  const [isOther, setOther] = useState(!isNamed);
  return (
    <>
      <label>From <select value={isOther ? "other" : value} onChange={(event) => (setOther(event.currentTarget.value === "other"), event.currentTarget.value !== "other" && onChange(event.currentTarget.value))}>{BEGINNINGS.map(([one, text]) => <option key={one} value={one}>{text}</option>)}</select></label>
      {isOther && (
        <form class="bar" aria-label="From" onSubmit={(event) => (event.preventDefault(), onChange(String(new FormData(event.currentTarget).get("since")).trim() || "newest"))}>
          <input name="since" class="mono" aria-label="A time, an age or a position" defaultValue={isNamed ? "" : value} placeholder={channels.length > 1 ? "2026-01-31T10:00:00Z, 90m" : "2026-01-31T10:00:00Z, 90m, epoch:offset"} size={30} spellcheck={false} autocomplete="off" />
          <button type="submit">Read</button>
        </form>
      )}
    </>
  );
}

/** The ids of events that were sent again and not accepted yet, by place: so each is published once, however often it is sent. */
const ids = new Map<string, string>();

/** Publishes events of the log again. Asks first: it cannot be undone. */
function Again({ picked, onSent, onNone }: { picked: readonly EventEntry[]; onSent: (entries: readonly EventEntry[]) => void; onNone: () => void }) {
  const [isSure, setSure] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<TidingsError>();
  const what = picked.length === 1 ? "this event" : `these ${counted(picked.length)} events`;
  const send = async () => {
    setBusy(true);
    setError(undefined);
    try {
      // As many as the daemon takes in one request. In the order of the log.
      for (let from = 0; from < picked.length; from += 1_000) {
        const some = picked.slice(from, from + 1_000).map((entry) => ({ entry, place: `${entry.channel} ${entry.position}` }));
        for (const { place } of some) if (!ids.has(place)) ids.set(place, newId());
        await bus.peek().publishAll(some.map(({ entry: { channel, event }, place }) => ({ type: channel, id: ids.get(place), data: event.data, ...(event.subject !== undefined && { subject: event.subject }), causationid: event.id })));
        for (const { place } of some) ids.delete(place);
        onSent(some.map(({ entry }) => entry));
      }
    } catch (cause) {
      setError(cause as TidingsError);
    }
    setBusy(false);
  };
  return (
    <div class="again" role="region" aria-label="Chosen events">
      {isSure ? (
        <>
          <span>Publish {what} as new events? Subscribers get them again: the ids and times are new, and <code>causationid</code> names the old ones.</span>
          <button type="button" class="main" disabled={isBusy} onClick={send}>{isBusy ? "Publishing…" : "Publish"}</button>
          <button type="button" disabled={isBusy} onClick={() => (setSure(false), setError(undefined))}>Cancel</button>
        </>
      ) : (
        <>
          <span>{counted(picked.length)} chosen</span>
          <button type="button" onClick={() => setSure(true)}>Publish again…</button>
          <button type="button" class="quiet" onClick={onNone}>Choose none</button>
        </>
      )}
      {error && (isUnknown(error) ? <Problem title="It is not known whether the rest was published" error={error}><p>{SAFE}</p></Problem> : <Problem error={error} />)}
    </div>
  );
}

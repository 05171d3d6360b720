// Event: one event, whole. Beside a list, and as a view of its own with an address.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { type Entry, type Event, type EventEntry, ago, counted, eventAt, isGap } from "../data/entries.js";
import { json } from "../data/json.js";
import { usePoll } from "../data/poll.js";
import { go, href, route } from "../data/route.js";
import { publish } from "../data/snippets.js";
import { Channel, Choice, Copies, Empty, Head, Loading, Problem } from "../ui/parts.js";
import { catalog } from "../data/catalog.js";
import { Tree } from "../ui/tree.js";
import { begin } from "./publish/draft.js";
import { Causes, Difference } from "./related.js";

/** The event that is chosen in a list, beside it. */
export function EventPanel({ entry, onClose }: { entry: Entry; onClose: () => void }) {
  const panel = useRef<HTMLElement>(null);
  useEffect(() => {
    const close = (event: KeyboardEvent) => event.key === "Escape" && !document.querySelector("dialog[open], details.menu[open]") && onClose();
    addEventListener("keydown", close);
    return () => removeEventListener("keydown", close);
  }, [onClose]);
  useEffect(() => panel.current?.scrollTo({ top: 0 }), [entry]);
  // Where it covers the list, the reader is in it until it is closed.
  useEffect(() => {
    if (!matchMedia("(max-width: 1000px)").matches) return;
    const before = document.activeElement as HTMLElement | null;
    panel.current?.focus();
    return () => before?.focus();
  }, []);
  return (
    <aside class="panel" ref={panel} tabindex={-1} aria-label={isGap(entry) ? "Gap" : "Event"}>
      <div class="panel-head">
        <h2>{isGap(entry) ? "Gap" : "Event"}</h2>
        {!isGap(entry) && <a class="button quiet" href={href("event", { channel: entry.channel, position: entry.position })}>Open alone</a>}
        <button type="button" class="quiet" aria-label="Close" onClick={onClose}>×</button>
      </div>
      {isGap(entry) && entry.leftOut ? (
        <Empty title={`${counted(entry.leftOut)} events are left out`}>
          <p>
            They were too many to show at once. The log has them after <code>{entry.from}</code>: <a href={href("history", { channel: entry.channel, since: entry.from })}>History</a>
          </p>
        </Empty>
      ) : isGap(entry) ? (
        <Empty title="Events were lost">
          <p>
            The events of <Channel name={entry.channel} /> after <code>{entry.from}</code>, up to and including <code>{entry.position}</code>, are not in the log any more. What they changed has to be read from its source.
          </p>
        </Empty>
      ) : (
        <Whole entry={entry} />
      )}
    </aside>
  );
}

const TABS = [["tree", "Tree"], ["raw", "Raw"], ["difference", "Difference"], ["causes", "Causes"]] as const;

function Whole({ entry }: { entry: EventEntry }) {
  const [tab, setTab] = useState<(typeof TABS)[number][0]>("tree");
  const { event, channel, position } = entry;
  const { data, type, ...attributes } = event;
  const { id, source, time, subject, specversion: _, dataschema, ...extensions } = attributes as unknown as Event & { dataschema?: string; specversion?: string };
  const message = { type: channel, data, attributes: { source, ...(subject !== undefined && { subject }) } };
  return (
    <div class="event">
      <p class="event-title"><Channel name={channel} /> {subject !== undefined && <b class="breaks">{subject}</b>}</p>
      <dl class="facts">
        <Fact name="time"><time dateTime={time}>{time}</time> <span class="muted">{ago(time)}</span></Fact>
        <Fact name="position"><code>{position}</code></Fact>
        <Fact name="id"><code>{id}</code></Fact>
        <Fact name="source">{source}</Fact>
        {Object.entries(extensions).map(([name, value]) => <Fact key={name} name={name}><code>{typeof value === "string" ? value : json.stringify(value)}</code></Fact>)}
        {dataschema !== undefined && !dataschema.startsWith("urn:tidings:schema:") && <Fact name="dataschema"><code>{dataschema}</code></Fact>}
      </dl>
      <div class="bar">
        <Choice label="How to show it" value={tab} options={TABS} onChange={setTab} />
        <span class="spring" />
        <Copies
          label="Copy…"
          texts={{
            "The event": () => json.stringify(event, 2),
            "Its data": () => json.stringify(data, 2),
            "As curl": () => publish.curl(message),
            "As a command": () => publish.cli(message),
            "As TypeScript": () => publish.typescript(message),
          }}
        />
        <button type="button" onClick={() => (begin({ type: channel, data, subject, source: "" }), go("publish"))}>Publish again…</button>
      </div>
      {tab === "tree" && <Tree value={data} label="Data" />}
      {tab === "raw" && <pre class="raw" tabindex={0} aria-label="The event as JSON">{json.stringify(event, 2)}</pre>}
      {tab === "difference" && <Difference entry={entry} />}
      {tab === "causes" && <Causes entry={entry} />}
    </div>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <>
      <dt>{name}</dt>
      <dd class="breaks">{children}</dd>
    </>
  );
}

/** The view with an address: `#/event?channel=…&position=…`. */
export function EventView() {
  const { query } = route.value;
  const [channel, position] = [query.get("channel") ?? "", query.get("position") ?? ""];
  return (
    <div class="view">
      <Head title="Event" />
      <Find key={`${channel} ${position}`} channel={channel} position={position} />
      {channel && position ? (
        <Found channel={channel} position={position} />
      ) : (
        <Empty title="No event is chosen">
          <p>Choose one in <a href="#/live">Live</a> or <a href="#/history">History</a>, or name its channel and position. Its address can be sent to a colleague.</p>
        </Empty>
      )}
    </div>
  );
}

function Find({ channel, position }: { channel: string; position: string }) {
  const names = catalog.value?.channels ?? [];
  return (
    <form
      class="bar"
      aria-label="Find an event"
      onSubmit={(event) => {
        event.preventDefault();
        const fields = new FormData(event.currentTarget);
        go("event", { channel: String(fields.get("channel")), position: String(fields.get("position")).trim() });
      }}
    >
      <label>Channel <select name="channel" key={names.length}>{names.map((name) => <option key={name} selected={name === channel}>{name}</option>)}</select></label>
      <label>Position <input name="position" class="mono" defaultValue={position} placeholder="epoch:offset" spellcheck={false} autocomplete="off" required /></label>
      <button type="submit">Show</button>
    </form>
  );
}

function Found({ channel, position }: { channel: string; position: string }) {
  const { data, error, reload } = usePoll(async (abort) => ({ entry: await eventAt(channel, position, abort) }), 0, `${channel} ${position}`);
  if (error) return <Problem error={error} retry={reload} />;
  if (!data) return <Loading />;
  if (!data.entry) return <Empty title="Not in the log"><p>The log of <Channel name={channel} /> has no event at <code>{position}</code>: it is not published yet, or not retained any more.</p></Empty>;
  return <Whole key={position} entry={data.entry} />;
}

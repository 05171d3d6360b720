// What belongs to an event: the previous one of its subject, the one that caused it, and those that it caused.
//
// The daemon has no index of ids and subjects. So the log is read near the event, a bounded part of it.

import { entriesOf, type EventEntry, type Event, isGap, nextKey, type Page, split } from "../data/entries.js";
import { isObject, json, same } from "../data/json.js";
import { held } from "../data/live.js";
import { usePoll } from "../data/poll.js";
import { href } from "../data/route.js";
import { get } from "../data/session.js";
import { Channel, Empty, Loading, Problem } from "../ui/parts.js";

/** How many answers of the log, of up to 1,000 events each, are read for one question. */
const PAGES = 5;

/** The newest event before this one with the same subject. */
async function previousOf({ channel, position, event }: EventEntry, abort: AbortSignal): Promise<EventEntry | undefined> {
  const [epoch, offset] = split(position);
  // The field of data that is the subject: then the daemon can filter.
  const key = Object.entries(isObject(event.data) ? event.data : {}).find(([, value]) => value === event.subject)?.[0];
  const where = key === undefined ? {} : { where: json.stringify({ [key]: event.subject }) };
  let found: EventEntry | undefined;
  let since = key === undefined && offset > 5_000n ? `${epoch}:${offset - 5_000n}` : "start";
  for (let page = 0; page < (key === undefined ? PAGES : 2 * PAGES); page++) {
    const answer = await get<Page>("v1/events", { channel, since, limit: 1_000, ...where }, { abort });
    for (const one of answer.events) {
      const [itsEpoch, itsOffset] = split(one.position);
      if (itsEpoch !== epoch) continue;
      if (itsOffset >= offset) return found;
      if (one.event.subject === event.subject) found = { key: nextKey(), at: 0, channel, ...one };
    }
    if (answer.cursor === since || (answer.events.length === 0 && page > 2)) break;
    since = answer.cursor;
  }
  return found;
}

export function Difference({ entry }: { entry: EventEntry }) {
  const { event, channel, position } = entry;
  const { data, error, reload } = usePoll(async (abort) => ({ before: event.subject === undefined ? undefined : await previousOf(entry, abort) }), 0, `${channel} ${position}`);
  if (event.subject === undefined) return <Empty title="It has no subject">Events without a subject have no predecessor.</Empty>;
  if (error) return <Problem error={error} retry={reload} />;
  if (!data) return <Loading />;
  if (!data.before) return <Empty title="None before it">The log has no earlier event of <b class="breaks">{event.subject}</b>.</Empty>;
  const changes = compare(data.before.event.data, event.data);
  return (
    <div class="difference">
      <p class="muted">
        Since <a href={href("event", { channel, position: data.before.position })}>{data.before.position}</a>, <time dateTime={data.before.event.time}>{data.before.event.time}</time>
      </p>
      {changes.length === 0 ? <p>The data is the same.</p> : (
        <div class="scrolls" tabindex={0} role="group" aria-label="Changes">
          <table>
            <thead><tr><th scope="col">field</th><th scope="col">before</th><th scope="col">now</th></tr></thead>
            <tbody>
              {changes.map(({ path, before, now }) => (
                <tr key={path}>
                  <th scope="row" class="mono breaks">{path || "data"}</th>
                  <td class="mono breaks gone">{before === undefined ? <span class="muted">absent</span> : <del>{json.stringify(before)}</del>}</td>
                  <td class="mono breaks come">{now === undefined ? <span class="muted">absent</span> : <ins>{json.stringify(now)}</ins>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}

interface Change {
  readonly path: string;
  readonly before: unknown;
  readonly now: unknown;
}

/** The fields that differ. */
export function compare(before: unknown, now: unknown, path = ""): Change[] {
  if (same(before, now)) return [];
  const members = (value: unknown) => (isObject(value) || Array.isArray(value) ? (value as Record<string, unknown>) : undefined);
  const [old, young] = [members(before), members(now)];
  if (!old || !young || Array.isArray(before) !== Array.isArray(now)) return [{ path, before, now }];
  const names = [...new Set([...Object.keys(old), ...Object.keys(young)])];
  return names.flatMap((name) => compare(old[name], young[name], path ? `${path}.${name}` : name));
}

/** Reads events of all channels around the time of an event. */
async function around({ event }: EventEntry, abort: AbortSignal): Promise<EventEntry[]> {
  const time = new Date(event.time).getTime();
  const since = Number.isNaN(time) ? "10m" : new Date(Math.min(time, Date.now()) - 5_000).toISOString();
  const found: EventEntry[] = [];
  let cursor = since;
  for (let page = 0; page < PAGES; page++) {
    const answer = await get<Page>("v1/events", { since: cursor, limit: 1_000 }, { abort });
    found.push(...entriesOf(answer).filter((one): one is EventEntry => !isGap(one)));
    if (answer.events.length < 1_000) break;
    cursor = answer.cursor;
  }
  return found;
}

export function Causes({ entry }: { entry: EventEntry }) {
  const { event, channel, position } = entry;
  const { data, error, reload } = usePoll(async (abort) => {
    const seen = held().filter((one): one is EventEntry => !isGap(one));
    const known = new Map([...seen, ...(await around(entry, abort))].map((one) => [`${one.channel} ${one.event.id}`, one]));
    return { all: [...known.values()] };
  }, 0, `${channel} ${position}`);
  if (error) return <Problem error={error} retry={reload} />;
  if (!data) return <Loading />;
  const byId = new Map(data.all.map((one) => [one.event.id, one]));
  const ancestors: EventEntry[] = [];
  for (let cause = event.causationid; cause !== undefined && ancestors.length < 20; ) {
    const found = byId.get(cause);
    if (!found || ancestors.includes(found)) break;
    ancestors.unshift(found);
    cause = found.event.causationid;
  }
  const isRootMissing = (ancestors[0]?.event ?? event).causationid !== undefined;
  const effects = data.all.filter((one) => one.event.causationid === event.id);
  if (event.causationid === undefined && effects.length === 0) {
    return <Empty title="Neither cause nor effect">It names no cause, and no event near it in the log names it. Cascades of the daemon set <code>causationid</code>.</Empty>;
  }
  return (
    <ol class="causes">
      {isRootMissing && <li class="muted">its cause {(ancestors[0]?.event ?? event).causationid} is not near it in the log</li>}
      {ancestors.map((one) => <li key={one.position}><Link entry={one} /></li>)}
      <li aria-current="true"><b><Line event={event} channel={channel} /></b></li>
      {effects.map((one) => <li key={`${one.channel} ${one.position}`} class="effect"><Link entry={one} /></li>)}
    </ol>
  );
}

function Link({ entry: { channel, position, event } }: { entry: EventEntry }) {
  return <a href={href("event", { channel, position })}><Line event={event} channel={channel} /></a>;
}

function Line({ event, channel }: { event: Event; channel: string }) {
  return (
    <>
      <Channel name={channel} /> <span class="breaks">{event.subject ?? json.stringify(event.data).slice(0, 80)}</span>
    </>
  );
}

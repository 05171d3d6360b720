// Channels: where each one stands, and how much happens on it.

import { useEffect, useMemo, useState } from "preact/hooks";
import type { ChannelInfo } from "tidings-client";

import { ago, clock, counted, type Page, split } from "../data/entries.js";
import { usePoll } from "../data/poll.js";
import { EVERY_MS, forgetRates, measuredSince, rateOf, sample, series } from "../data/rates.js";
import { href } from "../data/route.js";
import { get, token } from "../data/session.js";
import { Chart } from "../ui/chart.js";
import { Channel as Name, Empty, Head, Loading, Problem } from "../ui/parts.js";

/** An entry of `GET /v1/channels`. The counts are absent where the token may not see them, or the daemon does not count. */
interface Channel extends Omit<ChannelInfo, "ratePerSecond"> {
  /** A number as it was written: `0.0` is no number of this page. */
  readonly ratePerSecond?: unknown;
}

/** How many channels are asked for their last 15 minutes. */
const ASKED = 40;
/** How many lines the chart has. */
const LINES = 8;
const SORTS = { name: "by name", rate: "by rate", retained: "by retained" } as const;

let sampledFor = token.peek();

export function Channels() {
  const [sort, setSort] = useState<keyof typeof SORTS>("name");
  const [search, setSearch] = useState("");
  const { data, error, reload } = usePoll(async (abort) => {
    const { channels } = await get<{ channels: Channel[] }>("v1/channels", {}, { abort });
    if (sampledFor !== token.peek()) forgetRates();
    sampledFor = token.peek();
    sample(new Map(channels.map(({ type, position }) => [type, position])));
    return { channels, at: Date.now() };
  }, EVERY_MS);
  const names = data?.channels.map(({ type }) => type) ?? [];
  const recent = usePoll((abort) => lastMinutes(names.slice(0, ASKED), abort), 60_000, names.join("\n"));

  const rates = useMemo(() => new Map(data?.channels.map(({ type, ratePerSecond }) => [type, ratePerSecond === undefined ? rateOf(type) : Number(String(ratePerSecond))])), [data]);
  const busiest = useMemo(() => {
    const weight = (name: string) => Number(recent.data?.get(name)?.count ?? 0) + (rates.get(name) ?? 0);
    return [...names].sort((a, b) => weight(b) - weight(a)).slice(0, LINES).sort();
  }, [names.join("\n"), recent.data]);
  const lines = useMemo(() => series(busiest), [data, busiest]);
  const since = measuredSince();
  const [wasHidden, setHidden] = useState(false);
  useEffect(() => {
    const note = () => document.visibilityState === "hidden" && setHidden(true);
    document.addEventListener("visibilitychange", note);
    return () => document.removeEventListener("visibilitychange", note);
  }, []);

  if (!data) return <div class="view"><Head title="Channels" />{error ? <Problem error={error} retry={reload} /> : <Loading />}</div>;
  const { channels } = data;
  if (channels.length === 0) return <div class="view"><Head title="Channels" /><Empty title="No channels">The token may see no channel. Give another one, or ask whoever issued it.</Empty></div>;
  const has = (field: keyof Channel) => channels.some((channel) => channel[field] !== undefined);
  const counts = (["retained", "subscribers", "published", "duplicates", "refused"] as const).filter(has);
  const order: Record<keyof typeof SORTS, (a: Channel, b: Channel) => number> = {
    name: (a, b) => a.type.localeCompare(b.type),
    rate: (a, b) => (rates.get(b.type) ?? 0) - (rates.get(a.type) ?? 0),
    retained: (a, b) => (b.retained ?? 0) - (a.retained ?? 0),
  };
  const shown = channels.filter(({ type }) => type.toLowerCase().includes(search.toLowerCase())).sort(order[sort]);
  return (
    <div class="view">
      <Head title="Channels" lead={!has("refused") && "This daemon, or this token, tells neither what was refused nor duplicates. Rates are measured by this page."}>
        {channels.length > 8 && <input type="search" placeholder="Find a channel" aria-label="Find a channel" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />}
        <label class="plain"><span class="sr">Order</span><select value={sort} onChange={(event) => setSort(event.currentTarget.value as keyof typeof SORTS)}>{Object.entries(SORTS).map(([value, text]) => <option key={value} value={value}>{text}</option>)}</select></label>
      </Head>
      {error && <p class="stale" role="status">{error.message} What is shown is from {ago(new Date(data.at))}.</p>}
      <section class="sheet" aria-label="Rates">
        <div class="chart-head"><h2>Events a second, {since === undefined ? "last 15 minutes" : `measured here since ${clock(new Date(since).toISOString()).slice(0, -4)}`}</h2><p class="legend">{busiest.map((name) => <Name key={name} name={name} />)}{channels.length > LINES && <span class="muted">the busiest {LINES}</span>}</p></div>
        {lines[0].length < 2 ? <p class="chart-wait muted">Measuring since this view was opened…</p> : <Chart data={lines} names={busiest} label={`Events a second of ${busiest.join(", ")}`} />}
        {wasHidden && <p class="muted small">Nothing is measured while the tab is hidden.</p>}
      </section>
      <div class="scrolls" tabindex={0} role="group" aria-label="Channels">
        <table class="wide-table">
          <thead>
            <tr>
              <th scope="col">channel</th>
              <th scope="col">head</th>
              <th scope="col" class="num">now</th>
              <th scope="col" class="num">15 minutes</th>
              {counts.map((field) => <th scope="col" class="num" key={field}>{field}</th>)}
              <td />
            </tr>
          </thead>
          <tbody>
            {shown.map((channel) => {
              const [rate, last] = [rates.get(channel.type), recent.data?.get(channel.type)];
              return (
                <tr key={channel.type}>
                  <th scope="row"><Name name={channel.type} /></th>
                  <td><code>{channel.position}</code></td>
                  <td class="num">{rate === undefined ? <span class="muted">…</span> : `${rate >= 10 || rate === 0 ? counted(Math.round(rate)) : rate.toFixed(1)}/s`}</td>
                  <td class="num">{last === undefined ? <span class="muted">{names.indexOf(channel.type) < ASKED && !recent.error ? "…" : "–"}</span> : <span title={last.isLeast ? "The log does not reach back 15 minutes." : undefined}>{last.isLeast && "≥ "}{counted(last.count)}</span>}</td>
                  {counts.map((field) => <td class="num" key={field}>{channel[field] === undefined ? <span class="muted">–</span> : counted(channel[field])}</td>)}
                  <td class="links"><a href={href("live", { channel: channel.type })} aria-label={`Live: ${channel.type}`}>Live</a> <a href={href("history", { channel: channel.type })} aria-label={`History: ${channel.type}`}>History</a> <a href={href("types", { type: channel.type })} aria-label={`Type: ${channel.type}`}>Type</a></td>
                </tr>
              );
            })}
          </tbody>
        </table>
        {shown.length === 0 && <p class="muted pad">No channel has this in its name.</p>}
      </div>
    </div>
  );
}

/** How many events each channel got in the last 15 minutes: from its first event since then to its head. */
async function lastMinutes(names: readonly string[], abort: AbortSignal): Promise<ReadonlyMap<string, { count: bigint; isLeast: boolean }>> {
  const counts = new Map<string, { count: bigint; isLeast: boolean }>();
  if (names.length === 0) return counts;
  const { channels } = await get<{ channels: Channel[] }>("v1/channels", {}, { abort });
  const heads = new Map(channels.map(({ type, position }) => [type, position]));
  for (const name of names) {
    const { events, gap } = await get<Page>("v1/events", { channel: name, since: "15m", limit: 1 }, { abort });
    const [first] = events;
    const [[epoch, head], [itsEpoch, offset]] = [split(heads.get(name) ?? ""), split(first?.position ?? "")];
    if (!first) counts.set(name, { count: 0n, isLeast: false });
    else if (epoch === itsEpoch) counts.set(name, { count: head >= offset ? head - offset + 1n : 1n, isLeast: gap !== false });
  }
  return counts;
}

// Connections: who is connected to the node that answers, how far they are behind, and how connections ended.

import { useState } from "preact/hooks";
import { CLOSE_CODES } from "tidings-client";

import { ago, bytes, counted } from "../data/entries.js";
import { usePoll } from "../data/poll.js";
import { get } from "../data/session.js";
import { Choice, Empty, Head, Loading, Problem } from "../ui/parts.js";

/** An entry of `GET /v1/connections`. */
interface Connection {
  readonly id: string;
  readonly transport: string;
  readonly address: string;
  readonly principal?: string | null;
  readonly namespace: string;
  readonly since: string;
  readonly subscriptions: number;
  readonly bufferedBytes: number;
  readonly delivered: number;
}

interface Answer {
  readonly connections: readonly Connection[];
  readonly total: number;
  /** How many ended with each close code. */
  readonly closed: Readonly<Record<string, number>>;
}

const LIMIT = 100;
const NAMES = new Map([...Object.entries(CLOSE_CODES).map(([name, code]) => [String(code), name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)] as const), ["1005", "no code"], ["1006", "cut off"]]);

export function Connections() {
  const [sort, setSort] = useState<"buffered" | "age">("buffered");
  const { data, error, reload } = usePoll((abort) => get<Answer>("v1/connections", { sort, limit: LIMIT }, { abort }), 3_000, sort);
  const title = <Head title="Connections" lead="Of the node that answers this page."><Choice label="Order" value={sort} options={[["buffered", "Largest buffers"], ["age", "Oldest"]]} onChange={setSort} /></Head>;
  if (!data) {
    return (
      <div class="view">
        {title}
        {error ? <Problem error={error} retry={reload} right="connections" missing={<p>There is no <code>/v1/connections</code> at this address. Either this version of the daemon does not have it, or <code>admin_listen</code> gives it an address of its own. <a href="#/channels">Channels</a> has the number of subscribers.</p>} /> : <Loading />}
      </div>
    );
  }
  const { connections, total, closed } = data;
  const transports = new Map<string, number>();
  for (const { transport } of connections) transports.set(transport, (transports.get(transport) ?? 0) + 1);
  const largest = Math.max(1, ...connections.map(({ bufferedBytes }) => bufferedBytes));
  const ended = Object.entries(closed).filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a);
  return (
    <div class="view">
      {title}
      {error && <p class="stale" role="status">{error.message} What is shown is not the newest.</p>}
      <div class="cards">
        <section class="sheet"><h2>Open</h2><p class="figure">{counted(total)}</p></section>
        <section class="sheet">
          <h2>By transport{total > connections.length && <span class="muted"> of the {counted(connections.length)} listed</span>}</h2>
          {transports.size === 0 ? <p class="muted">None.</p> : <dl class="pairs">{[...transports].map(([name, count]) => <div key={name}><dt>{name}</dt><dd>{counted(count)}</dd></div>)}</dl>}
        </section>
        <section class="sheet">
          <h2>Closed, by code</h2>
          {ended.length === 0 ? <p class="muted">None since the node started.</p> : <dl class="pairs">{ended.map(([code, count]) => <div key={code}><dt>{code} <span class="muted">{NAMES.get(code) ?? ""}</span></dt><dd>{counted(count)}</dd></div>)}</dl>}
        </section>
      </div>
      {connections.length === 0 ? <Empty title="Nobody is connected">WebSockets, event streams and long-polls that wait at this node are listed here.</Empty> : (
        <div class="scrolls" tabindex={0} role="group" aria-label="Connections">
          <table class="wide-table">
            <thead><tr><th scope="col">address</th><th scope="col">who</th><th scope="col">transport</th><th scope="col">since</th><th scope="col" class="num">subscriptions</th><th scope="col" class="num">delivered</th><th scope="col" class="num">buffered</th></tr></thead>
            <tbody>
              {connections.map((one) => (
                <tr key={one.id}>
                  <th scope="row" class="mono" title={`connection ${one.id}`}>{one.address}</th>
                  <td class="name">{one.principal ?? <span class="muted">anonymous</span>}{one.namespace !== "default" && <span class="muted"> in {one.namespace}</span>}</td>
                  <td>{one.transport}</td>
                  <td><time dateTime={one.since} title={one.since}>{ago(one.since)}</time></td>
                  <td class="num">{counted(one.subscriptions)}</td>
                  <td class="num">{counted(one.delivered)}</td>
                  <td class="num"><span class="meter" aria-hidden="true"><i style={{ width: `${(100 * one.bufferedBytes) / largest}%` }} /></span><span class="size">{bytes(one.bufferedBytes)}</span></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {total > connections.length && <p class="muted">The first {counted(connections.length)} of {counted(total)}.</p>}
    </div>
  );
}

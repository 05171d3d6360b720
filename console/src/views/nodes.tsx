// Nodes and incidents: which nodes the bus has, whether this one is ready, and what went wrong lately.

import { ago, clock, counted } from "../data/entries.js";
import { type Polled, usePoll } from "../data/poll.js";
import { get } from "../data/session.js";
import { Channel, Empty, Head, Loading, Problem } from "../ui/parts.js";

/** An entry of `GET /v1/nodes`. */
interface Node {
  readonly id: string;
  readonly address: string;
  readonly version: string;
  readonly started: string;
  readonly lastHeartbeat: string;
  readonly connections: number;
  readonly state: "up" | "draining" | "lost";
}

/** An entry of `GET /v1/incidents`. */
interface Incident {
  readonly time: string;
  readonly node: string;
  readonly kind: string;
  readonly channel?: string;
  readonly detail: string;
}

/** Kinds that lose events or stop the node. */
const SEVERE: ReadonlySet<string> = new Set(["gap", "epoch-change", "not-ready"]);
const TONES = { up: "good", draining: "warn", lost: "bad" } as const;

export function Nodes() {
  const nodes = usePoll((abort) => get<{ nodes: Node[] }>("v1/nodes", {}, { abort }), 5_000);
  const incidents = usePoll((abort) => get<{ incidents: Incident[] }>("v1/incidents", {}, { abort }), 5_000);
  const isAnswered = ({ data, error }: Polled<unknown>) => data !== undefined || error !== undefined;
  // One grant is for both.
  const isForbidden = nodes.error?.status === 403;
  return (
    <div class="view">
      <Head title="Nodes" lead="The nodes of the bus, and what went wrong lately at the one that answers this page." />
      <Readiness isTold={nodes.data !== undefined && nodes.error !== undefined} />
      {isAnswered(nodes) && <List {...nodes} />}
      {isAnswered(incidents) && !isForbidden && <Incidents {...incidents} />}
      {/* One line for both. */}
      {!(isAnswered(nodes) && isAnswered(incidents)) && <Loading />}
    </div>
  );
}

/** Whether the node is ready. `isTold`: the list of nodes says that the daemon does not answer. */
function Readiness({ isTold }: { isTold: boolean }) {
  const { data, error, reload } = usePoll((abort) => get<{ status?: string; detail?: string; reason?: string }>("readyz", {}, { abort, also: [503] }), 5_000);
  if (error) return isTold ? null : <Problem error={error} retry={reload} />;
  if (!data) return null;
  const isReady = data.status === "ready";
  return (
    <p class="status boxed">
      <span class={`dot ${isReady ? "good" : "bad"}`} aria-hidden="true" />
      <span role="status">{isReady ? "The node that answers this page can publish and receive." : `The node that answers this page is not ready: ${data.detail ?? data.reason ?? data.status ?? "it gives no reason"}`}</span>
    </p>
  );
}

function List({ data, error, reload }: Polled<{ nodes: Node[] }>) {
  if (!data) return error ? <Problem error={error} retry={reload} right="nodes" missing={<p>There is no <code>/v1/nodes</code> at this address: <code>admin_listen</code> gives it an address of its own.</p>} /> : null;
  const versions = new Set(data.nodes.map(({ version }) => version));
  return (
    <>
      {error && <p class="stale" role="status">{error.message} What is shown is not the newest.</p>}
      {versions.size > 1 && <p class="stale" role="status">The nodes run different versions: {[...versions].join(", ")}.</p>}
      <div class="scrolls" tabindex={0} role="group" aria-label="Nodes">
        <table class="wide-table">
          <thead><tr><th scope="col">node</th><th scope="col">state</th><th scope="col">address</th><th scope="col">version</th><th scope="col">started</th><th scope="col">last heartbeat</th><th scope="col" class="num">connections</th></tr></thead>
          <tbody>
            {data.nodes.map((node) => (
              <tr key={node.id}>
                <th scope="row" class="mono name">{node.id}</th>
                <td><span class={`dot ${TONES[node.state] ?? "warn"}`} aria-hidden="true" /> {node.state}</td>
                <td class="mono">{node.address}</td>
                <td>{node.version}</td>
                <td><time dateTime={node.started} title={node.started}>{ago(node.started)}</time></td>
                <td><time dateTime={node.lastHeartbeat} title={node.lastHeartbeat}>{ago(node.lastHeartbeat)}</time></td>
                <td class="num">{counted(node.connections)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Incidents(polled: Polled<{ incidents: Incident[] }>) {
  return (
    <section aria-label="Incidents" class="part">
      <h2 class="section breaks">Incidents{polled.data?.incidents[0] && <span class="muted"> at {polled.data.incidents[0].node}</span>}</h2>
      <Timeline {...polled} />
    </section>
  );
}

function Timeline({ data, error, reload }: Polled<{ incidents: Incident[] }>) {
  if (!data) return error ? <Problem error={error} retry={reload} right="nodes" missing={<p>There is no <code>/v1/incidents</code> at this address. Either this version of the daemon does not have it, or <code>admin_listen</code> gives it an address of its own. Its log and <code>/metrics</code> have what happened.</p>} /> : null;
  const incidents = [...data.incidents].sort((a, b) => b.time.localeCompare(a.time));
  if (incidents.length === 0) return <Empty title="None">The node that answers remembers no gap, no new epoch, no connection that it had to close, and no time when it was not ready.</Empty>;
  return (
    <>
      <ol class="timeline">
        {incidents.map((one, index) => (
          <li key={`${one.time} ${index}`}>
            <time dateTime={one.time} title={`${one.time}, ${ago(one.time)}`}>{clock(one.time)}</time>
            <span class={`kind ${SEVERE.has(one.kind) ? "bad" : one.kind === "ready" ? "good" : ""}`}>{one.kind}</span>
            <span class="breaks">{one.channel !== undefined && <><Channel name={one.channel} />: </>}{one.detail}</span>
          </li>
        ))}
      </ol>
    </>
  );
}

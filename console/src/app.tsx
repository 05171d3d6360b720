// The frame of the console: the name, the views, the token, and the view that the address names.

import { signal } from "@preact/signals";
import { type ComponentType, createElement } from "preact";
import { useEffect, useState } from "preact/hooks";
import { TidingsError } from "tidings-client";

import { route } from "./data/route.js";
import { get } from "./data/session.js";
import { Loading, Problem } from "./ui/parts.js";
import { TokenButton, TokenDialog } from "./ui/token.js";
import { EventView } from "./views/event.js";
import { Live } from "./views/live.js";

type Load = () => Promise<ComponentType>;

/** One file for several views: small ones compress badly. Channels is apart, since it brings the chart. */
const later = () => import("./views/later.js");

/** The views in the order of their links. Most are loaded when they are first opened. */
const VIEWS: readonly (readonly [name: string, title: string, icon: string, view: ComponentType | Load])[] = [
  ["live", "Live", "M2 8h2.5l1.8-5 3 10 2-7 1 2H14", Live],
  ["history", "History", "M8 4.5V8l2.3 1.5M2.6 8a5.4 5.4 0 1 0 1.7-3.9M4 2v2.3h2.3", () => later().then(({ History }) => History)],
  ["event", "Event", "M4 2.5h8v11H4zM6.5 6h3M6.5 8.5h3", EventView],
  ["publish", "Publish", "M8 12.5v-9M4.5 6.5 8 3l3.5 3.5M3 14h10", () => later().then(({ Publish }) => Publish)],
  ["channels", "Channels", "M2.5 13.5v-4M6.2 13.5v-8M9.8 13.5v-6M13.5 13.5v-11", () => import("./views/channels.js").then(({ Channels }) => Channels)],
  ["types", "Types", "M6 3H4.5v4L3 8l1.5 1v4H6M10 3h1.5v4L13 8l-1.5 1v4H10", () => later().then(({ Types }) => Types)],
  ["connections", "Connections", "M5.5 8h5M2 8a1.75 1.75 0 1 0 3.5 0A1.75 1.75 0 1 0 2 8M10.5 8a1.75 1.75 0 1 0 3.5 0 1.75 1.75 0 1 0-3.5 0", () => later().then(({ Connections }) => Connections)],
  ["nodes", "Nodes", "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01", () => later().then(({ Nodes }) => Nodes)],
];
const EAGER = new Set<unknown>([Live, EventView]);

/** Views that were loaded. */
const loaded = new Map<string, ComponentType>();

export function App() {
  const { view: name } = route.value;
  const view = VIEWS.find(([one]) => one === name) ?? VIEWS[0]!;
  useEffect(() => {
    document.title = `${view[1]} · tidings`;
  }, [view]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>To the content</a>
      <header class="side">
        <a class="brand" href="#/live">
          <svg viewBox="0 0 16 16" aria-hidden="true"><path d="M2 11.5V9.8C3.2 9 3.6 7.9 3.6 6.2a4.4 4.4 0 0 1 8.8 0c0 1.7.4 2.8 1.6 3.6v1.7zM6.3 12.8h3.4a1.7 1.7 0 0 1-3.4 0z" /></svg>
          tidings
        </a>
        <nav aria-label="Views">
          {VIEWS.map(([one, title, icon]) => (
            <a key={one} href={one === name ? location.hash || "#/live" : `#/${one}`} aria-current={view[0] === one ? "page" : undefined} ref={view[0] === one ? intoView : null}>
              <svg viewBox="0 0 16 16" aria-hidden="true"><path d={icon} /></svg>
              {title}
            </a>
          ))}
        </nav>
        <div class="side-foot">
          <TokenButton />
          <Theme />
        </div>
      </header>
      <main id="main" tabindex={-1}>
        <Shown name={view[0]} view={view[3]} />
      </main>
      <TokenDialog />
    </>
  );
}

/** Where the links are one line that can be scrolled, the current one is visible. */
function intoView(link: HTMLElement | null): void {
  const strip = link?.parentElement;
  if (link && strip && strip.scrollWidth > strip.clientWidth) strip.scrollLeft = link.offsetLeft - (strip.clientWidth - link.clientWidth) / 2;
}

/** Why a view cannot be loaded: the daemon does not answer, or it answers without this file. */
const ask = (): Promise<TidingsError> =>
  get("healthz").then(() => new TidingsError("unexpected-response", "This view could not be loaded: the daemon may have been updated since this page was opened.", { status: 500 }), (error) => error as TidingsError);

function Shown({ name, view }: { name: string; view: ComponentType | Load }) {
  /** Why the view could not be loaded. */
  const [failed, setFailed] = useState<TidingsError>();
  const [, setArrived] = useState("");
  const ready = EAGER.has(view) ? (view as ComponentType) : loaded.get(name);
  useEffect(() => {
    setFailed(undefined);
    if (ready) return;
    let isOpen = true;
    (view as Load)().then(
      (component) => (loaded.set(name, component), setArrived(name)),
      () => ask().then((error) => isOpen && setFailed(error)),
    );
    return () => void (isOpen = false);
  }, [name, ready]);
  if (ready) return createElement(ready, { key: name });
  // A browser may try a script that failed only once. So the page is loaded again, as soon as there is a daemon for it.
  if (failed) return <div class="view"><Problem error={failed} retry={() => ask().then((error) => (error.code === "network" ? setFailed(error) : location.reload()))} /></div>;
  return <div class="view"><Loading /></div>;
}

const THEMES = { "": "System", light: "Light", dark: "Dark" } as const;
type ThemeName = keyof typeof THEMES;
const theme = signal<ThemeName>((localStorage.getItem("tidings:theme") as ThemeName | null) ?? "");
apply();

function apply(): void {
  if (theme.value) document.documentElement.dataset["theme"] = theme.value;
  else delete document.documentElement.dataset["theme"];
}

function Theme() {
  return (
    <label class="theme">
      <span class="sr">Colours</span>
      <select
        value={theme.value}
        onChange={(event) => {
          theme.value = event.currentTarget.value as ThemeName;
          localStorage.setItem("tidings:theme", theme.value);
          apply();
        }}
      >
        {Object.entries(THEMES).map(([value, text]) => <option key={value} value={value}>{text}</option>)}
      </select>
    </label>
  );
}

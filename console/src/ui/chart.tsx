// A chart of rates over time. It is a picture: what it shows is in a table, too.

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";

import { hue } from "../data/catalog.js";
import { SPAN } from "../data/rates.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");

export function Chart({ data, names, label }: { data: [number[], ...(number | null)[][]]; names: readonly string[]; label: string }) {
  const holder = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | undefined>(undefined);
  const [scheme, setScheme] = useState(0);
  useEffect(() => {
    const changed = () => setScheme((scheme) => scheme + 1);
    DARK.addEventListener("change", changed);
    const observer = new MutationObserver(changed);
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return () => (DARK.removeEventListener("change", changed), observer.disconnect());
  }, []);
  useEffect(() => {
    const box = holder.current!;
    const style = getComputedStyle(box);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    chart.current = new uPlot(
      {
        width: box.clientWidth,
        height: 200,
        legend: { show: false },
        cursor: { show: false },
        padding: [8, 8, 0, 0],
        scales: { x: { range: () => [Date.now() / 1_000 - SPAN, Date.now() / 1_000] }, y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
        axes: [
          { ...axis, space: 80, size: 26, values: (_, times) => times.map((time) => new Date(time * 1_000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })) },
          { ...axis, size: 52, values: (_, rates) => rates.map((rate) => (rate >= 1_000 ? `${rate / 1_000}k/s` : `${rate}/s`)) },
        ],
        series: [{}, ...names.map((name) => ({ label: name, stroke: colour(`--hue-${hue(name)}`), width: 1.5, spanGaps: false, points: { show: false } }))],
      },
      data,
      box,
    );
    const observer = new ResizeObserver(() => chart.current?.setSize({ width: box.clientWidth, height: 200 }));
    observer.observe(box);
    return () => (observer.disconnect(), chart.current?.destroy());
  }, [names.join("\n"), scheme]);
  useEffect(() => chart.current?.setData(data), [data]);
  return <div class="chart" ref={holder} role="img" aria-label={label} />;
}

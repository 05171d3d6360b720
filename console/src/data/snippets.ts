// Commands and code that do outside of the console what was just done in it.

import { json } from "./json.js";
import { base, token } from "./session.js";

export type Where = Readonly<Record<string, unknown>>;
/** Conditions by channel. */
export type Filters = Readonly<Record<string, Where>>;

/** A word of a shell, quoted where it has to be. */
export function quoted(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

const bearer = () => (token.peek() ? `-H "authorization: Bearer $TIDINGS_TOKEN" ` : "");
const option = (withToken: string) => (token.peek() ? `, { ${withToken} }` : "");
const TOKEN = "token: process.env.TIDINGS_TOKEN";

export interface Followed {
  readonly channels: readonly string[];
  readonly filters: Filters;
  readonly since: string;
}

/** The common filter of the channels, if they have the same one: a request has only one. */
function common({ channels, filters }: Followed): Where | undefined {
  const texts = new Set(channels.map((channel) => json.stringify(filters[channel] ?? {})));
  return texts.size === 1 && channels[0] ? filters[channels[0]] : undefined;
}

/** Splits channels with different filters: one request for each. */
function apart(followed: Followed): Followed[] {
  const { channels } = followed;
  const isOne = channels.length < 2 || channels.every((channel) => json.stringify(followed.filters[channel] ?? {}) === json.stringify(followed.filters[channels[0]!] ?? {}));
  return isOne ? [followed] : channels.map((channel) => ({ ...followed, channels: [channel] }));
}

export const follow = {
  curl: (followed: Followed) =>
    apart(followed)
      .map((one) => {
        const where = common(one);
        const parameters = [...one.channels.map((channel) => `channel=${channel}`), ...(one.since === "now" ? [] : [`since=${one.since}`]), ...(where ? [`where=${json.stringify(where)}`] : [])];
        return `curl -N -G ${bearer()}${quoted(`${base}/v1/stream`)}${parameters.map((parameter) => ` \\\n  --data-urlencode ${quoted(parameter)}`).join("")}`;
      })
      .join("\n\n"),
  cli: (followed: Followed) =>
    apart(followed)
      .map((one) => {
        const conditions = Object.entries(common(one) ?? {}).map(([field, condition]) => ` --where ${quoted(`${field}=${typeof condition === "string" ? condition : json.stringify(condition)}`)}`);
        const since = one.since === "now" ? "" : ` --since ${quoted(one.since)}`;
        return `tidings tail ${one.channels.map(quoted).join(" ")}${conditions.join("")}${since} --url ${quoted(base)}`;
      })
      .join("\n\n"),
  typescript: ({ channels, filters, since }: Followed) => {
    const handlers = channels.map((channel) => {
      const options = [...(filters[channel] ? [`where: ${json.stringify(filters[channel])}`] : []), ...(since === "now" ? [] : [`since: ${JSON.stringify(since)}`])];
      return `bus.on(${JSON.stringify(channel)}, ${options.length > 0 ? `{ ${options.join(", ")} }, ` : ""}(data, event) => {\n  console.log(event.time, event.subject, data);\n});`;
    });
    return `import { connect } from "tidings-client";\n\nconst bus = connect(${JSON.stringify(base)}${option(TOKEN)});\n${handlers.join("\n")}`;
  },
  python: (followed: Followed) => {
    const all = apart(followed).map((one) => {
      const where = common(one);
      const parameters = [`"channel": ${JSON.stringify(one.channels.length === 1 ? one.channels[0] : one.channels)}`];
      if (one.since !== "now") parameters.push(`"since": ${JSON.stringify(one.since)}`);
      if (where) parameters.push(`"where": ${JSON.stringify(json.stringify(where))}`);
      return `{${parameters.join(", ")}}`;
    });
    const isOne = all.length === 1;
    const headers = token.peek() ? `, headers={"authorization": f"Bearer {os.environ['TIDINGS_TOKEN']}"}` : "";
    const stream = `with httpx.stream("GET", ${JSON.stringify(`${base}/v1/stream`)}, timeout=None,\n                  params=${isOne ? all[0] : "params"}${headers}) as stream:\n    for line in stream.iter_lines():\n        if line.startswith("data: "):\n            print(json.loads(line[6:]))`;
    // A request has one filter: each stream has a thread.
    const whole = isOne ? stream : `def follow(params):\n    ${stream.replaceAll("\n", "\n    ")}\n\nfor params in [\n    ${all.join(",\n    ")},\n]:\n    threading.Thread(target=follow, args=[params]).start()`;
    return `import json${token.peek() ? ", os" : ""}${isOne ? "" : ", threading"}, httpx\n\n${whole}`;
  },
};

export interface Message {
  readonly type: string;
  readonly data: unknown;
  readonly attributes: Readonly<Record<string, unknown>>;
}

const whole = ({ type, data, attributes }: Message) => ({ ...attributes, type, data });

export const publish = {
  curl: (message: Message) => `curl ${bearer()}-H 'content-type: application/json' ${quoted(`${base}/v1/events`)} \\\n  -d ${quoted(json.stringify(whole(message)))}`,
  cli: ({ type, data, attributes }: Message) =>
    Object.keys(attributes).length > 0
      ? `printf '%s\\n' ${quoted(json.stringify(whole({ type, data, attributes })))} |\n  tidings publish - --url ${quoted(base)}`
      : `tidings publish ${quoted(type)} --data ${quoted(json.stringify(data))} --url ${quoted(base)}`,
  typescript: ({ type, data, attributes }: Message) =>
    `import { connect } from "tidings-client";\n\nconst bus = connect(${JSON.stringify(base)}${option(TOKEN)});\nawait bus.publish(${JSON.stringify(type)}, ${json.stringify(data, 2)}${Object.keys(attributes).length > 0 ? `, ${json.stringify(attributes)}` : ""});`,
  python: (message: Message) =>
    `import ${token.peek() ? "os, " : ""}httpx\n\nanswer = httpx.post(${JSON.stringify(`${base}/v1/events`)}, content=${JSON.stringify(json.stringify(whole(message)))},\n                    headers={"content-type": "application/json"${token.peek() ? `, "authorization": f"Bearer {os.environ['TIDINGS_TOKEN']}"` : ""}})\nprint(answer.json())`,
};

// Answers with the newest event of a subject from Cloudflare KV, where a sink of tidings writes it (docs/sinks.md):
//
//   GET /inventory-change/p1   {"position":"k3:41","event":{…},"ageMs":1234}
//
// `ageMs` says how old the answer is: how long ago the event happened. KV itself may be up to 60 s behind (`cacheTtl`).

export default {
  async fetch(request, env) {
    if (request.method !== "GET") return answer(405, { error: "use GET" }, { allow: "GET" });
    const [channel, subject, ...rest] = new URL(request.url).pathname.slice(1).split("/").map(decoded);
    if (!channel || !subject || rest.length > 0) return answer(404, { error: "GET /CHANNEL/SUBJECT" });
    const text = await env.STATE.get(`${channel}/${subject}`, { cacheTtl: 60 });
    if (text === null) return answer(404, { error: `${channel} has nothing about ${subject}` });
    const { position, event } = JSON.parse(text);
    const ageMs = Math.max(0, Date.now() - Date.parse(event.time));
    return answer(200, { position, event, ageMs }, { age: String(Math.floor(ageMs / 1000)), etag: `"${position}"` });
  },
};

/** A part of the path. Empty if its percent-encoding is none of UTF-8. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}

function answer(status, body, headers = {}) {
  return Response.json(body, { status, headers: { "cache-control": "no-cache", ...headers } });
}

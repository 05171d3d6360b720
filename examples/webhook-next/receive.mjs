// Receives a webhook of tidings: verifies the signature, and says what the caches of Next.js must forget.
//
// It imports nothing, so that it runs in the Node and the edge runtime, and in a test without Next.js.

/**
 * @param {Request} request
 * @param {object} parts
 * @param {{ verify(body: string, headers: Record<string, string>): unknown }} parts.webhook a `Webhook` of `standardwebhooks`
 * @param {(tag: string) => void} parts.forget revalidates a tag
 * @param {() => void} parts.forgetAll revalidates everything
 * @returns {Promise<Response>}
 */
export async function receive(request, { webhook, forget, forgetAll }) {
  // The text as it came: the signature covers every byte of it.
  const body = await request.text();
  let event;
  try {
    event = webhook.verify(body, Object.fromEntries(request.headers));
  } catch {
    return new Response("the signature is not valid", { status: 401 });
  }
  // An error from here on is answered with 500, and tidings sends the event again.
  if (event.type === "tidings.gap") forgetAll();
  else tagsOf(event).forEach(forget);
  return new Response(null, { status: 204 });
}

/** The tags that an event makes stale. Change this to the tags of your pages. */
export function tagsOf(event) {
  switch (event.type) {
    case "cache-invalidate":
      return event.data.tags ?? [];
    case "inventory-change":
      return [`products:${event.subject}`];
    default:
      return [];
  }
}

import { revalidatePath, revalidateTag } from "next/cache";
import { Webhook } from "standardwebhooks";

import { receive } from "../../../receive.mjs";

export async function POST(request) {
  return receive(request, {
    webhook: new Webhook(process.env.TIDINGS_WEBHOOK_SECRET),
    // `max`: the next visitor gets the old page at once, and a new one is made behind it. `{ expire: 0 }` lets nobody see the
    // old one.
    forget: (tag) => revalidateTag(tag, "max"),
    forgetAll: () => revalidatePath("/", "layout"),
  });
}

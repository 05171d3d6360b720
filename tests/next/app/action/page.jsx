// A form that works without a script, whose action updates a tag.

import { updateTag } from "next/cache";

async function update(form) {
  "use server";
  updateTag(form.get("tag"));
}

export default function Page() {
  return (
    <form action={update}>
      <input name="tag" />
    </form>
  );
}

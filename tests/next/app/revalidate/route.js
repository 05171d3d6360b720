import { revalidatePath, revalidateTag } from "next/cache";

export async function POST(request) {
  const { tag, profile, path } = await request.json();
  if (path) revalidatePath(path);
  else revalidateTag(tag, profile);
  return new Response("done");
}

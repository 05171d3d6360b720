// The data of the application: a server of the test, which counts how often it is asked.

/** The version of a value now. */
export async function truth(name) {
  const response = await fetch(urlOf(name), { cache: "no-store" });
  return Number(await response.text());
}

export function urlOf(name) {
  return `${process.env.TRUTH_URL}/${name}`;
}

// Reads lines {"jwk": …, "algorithms": […], "issuer": …, "audience": …, "now": …, "token": …} and prints for each whether
// jose, an independent implementation, accepts the token: 1 or 0.
//
//   node verify.mjs < tokens.jsonl

import { createInterface } from "node:readline";

import { importJWK, jwtVerify } from "jose";

for await (const line of createInterface({ input: process.stdin })) {
  const { jwk, token, algorithms, issuer, audience, now } = JSON.parse(line);
  let accepted = 0;
  try {
    await jwtVerify(token, await importJWK(jwk, algorithms[0]), {
      algorithms,
      issuer,
      audience,
      currentDate: new Date(now * 1000),
      clockTolerance: 30,
      requiredClaims: ["exp", "iss", "aud"],
    });
    accepted = 1;
  } catch {
    // Not accepted, for whatever reason.
  }
  console.log(accepted);
}

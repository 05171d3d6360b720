// Upstash's own client for JavaScript, unmodified, beside a REST interface: `node check.mjs URL TOKEN`.
import assert from "node:assert/strict";
import { Redis } from "@upstash/redis";

const [url, token] = process.argv.slice(2);
const redis = new Redis({ url, token, automaticDeserialization: false, enableTelemetry: false });
const script = "return { KEYS[1], ARGV[1], tonumber(ARGV[2]), false, { 'x' } }";

// Texts of every kind come back as they were.
for (const text of ["", "OK", "plain", 'a "quoted" text', "ünï 😀 \u0000 \n", "1,2,3", "null"]) {
    assert.equal(await redis.set("text", text), "OK");
    assert.equal(await redis.get("text"), text);
}
assert.equal(await redis.get("missing"), null);
assert.equal(await redis.incrby("number", 7), 7);
assert.equal(await redis.ping(), "PONG");
await redis.hset("hash", { epoch: "e", offset: "3" });
assert.deepEqual(await redis.hmget("hash", "epoch", "offset", "none"), ["e", "3", null]);
await redis.xadd("stream", "1-0", { e: "event", t: "2" });
assert.deepEqual(await redis.xrange("stream", "-", "+"), [["1-0", ["e", "event", "t", "2"]]]);

// Scripts, in the cache of the server and not.
const reply = ["key", "argument", 7, null, ["x"]];
await assert.rejects(redis.evalsha("0".repeat(40), ["key"], ["argument", "7"]), /NOSCRIPT/);
assert.deepEqual(await redis.eval(script, ["key"], ["argument", "7"]), reply);
const hash = await redis.scriptLoad(script);
assert.deepEqual(await redis.evalsha(hash, ["key"], ["argument", "7"]), reply);
await assert.rejects(redis.lpush("text", "x"), /WRONGTYPE/);

// A pipeline goes on behind an error; a transaction is one step.
const pipeline = redis.pipeline();
pipeline.set("p", "1");
pipeline.lpush("p", "x");
pipeline.get("p");
const results = await pipeline.exec({ keepErrors: true });
assert.deepEqual([results[0].result, results[2].result], ["OK", "1"]);
assert.match(results[1].error, /WRONGTYPE/);
const transaction = redis.multi();
transaction.incr("m");
transaction.incr("m");
assert.deepEqual(await transaction.exec(), [1, 2]);

// The token of the newest answer is sent with the next request.
assert.ok(Number(redis.client.upstashSyncToken) > 0);

// A subscription, with commas in the text.
const subscriber = redis.subscribe(["one", "two"]);
const messages = [];
let count = 0;
const done = new Promise((resolve) => {
    subscriber.on("subscribe", () => ++count === 2 && resolve());
    subscriber.on("error", (error) => assert.fail(error));
});
await done;
const all = new Promise((resolve) => subscriber.on("message", (message) => messages.push(message) === 2 && resolve()));
assert.equal(await redis.publish("one", "a,b,{c}"), 1);
assert.equal(await redis.publish("two", '{"type":"event"}'), 1);
await all;
messages.sort((a, b) => (a.channel < b.channel ? -1 : 1));
assert.deepEqual(messages, [
    { channel: "one", message: "a,b,{c}" },
    { channel: "two", message: '{"type":"event"}' },
]);
await subscriber.unsubscribe();

await assert.rejects(new Redis({ url, token: "wrong", retry: false }).get("text"), /WRONGPASS/);
console.log("ok");

"""Upstash's own client for Python, unmodified, beside a REST interface: `check.py URL TOKEN`."""

import sys

from upstash_redis import Redis
from upstash_redis.errors import UpstashError

url, token = sys.argv[1:]
redis = Redis(url=url, token=token, allow_telemetry=False)
script = "return { KEYS[1], ARGV[1], tonumber(ARGV[2]), false, { 'x' } }"


def refused(call, text):
    try:
        call()
    except UpstashError as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"not refused: {text}")


for text in ["", "OK", 'a "quoted" text', "ünï 😀 \0 \n", "1,2,3"]:
    assert redis.set("text", text)
    assert redis.get("text") == text
assert redis.get("missing") is None
assert redis.incrby("number", 7) == 7
redis.hset("hash", values={"epoch": "e", "offset": "3"})
assert redis.hmget("hash", "epoch", "offset", "none") == ["e", "3", None]

reply = ["key", "argument", 7, None, ["x"]]
refused(lambda: redis.evalsha("0" * 40, keys=["key"], args=["argument", "7"]), "NOSCRIPT")
assert redis.eval(script, keys=["key"], args=["argument", "7"]) == reply
assert redis.evalsha(redis.script_load(script), keys=["key"], args=["argument", "7"]) == reply
refused(lambda: redis.lpush("text", "x"), "WRONGTYPE")

pipeline = redis.pipeline()
pipeline.set("p", "1")
pipeline.get("p")
assert pipeline.exec() == [True, "1"]
transaction = redis.multi()
transaction.incr("m")
transaction.incr("m")
assert transaction.exec() == [1, 2]
assert redis.publish("nobody", "text") == 0
refused(lambda: Redis(url=url, token="wrong", allow_telemetry=False).get("text"), "WRONGPASS")
print("ok")

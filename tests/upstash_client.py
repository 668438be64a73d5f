"""Holds the test kit's REST front against Upstash's own client: URL and token as arguments."""

import sys

from upstash_redis import Redis
from upstash_redis.errors import UpstashError

url, token = sys.argv[1:]
redis = Redis(url=url, token=token, rest_retries=0, allow_telemetry=False)
assert redis.ping() == "PONG"
assert redis.set("greeting", "grüß dich", ex=60) is True
assert redis.get("greeting") == "grüß dich"
assert redis.set("greeting", "other", nx=True) is False
assert redis.mget("greeting", "nothing") == ["grüß dich", None]
assert 0 < redis.pttl("greeting") <= 60_000
pipeline = redis.pipeline()
pipeline.set("one", "1", nx=True, ex=60)
pipeline.mget("one", "nothing")
pipeline.delete("one", "greeting", "nothing")
assert pipeline.exec() == [True, ["1", None], 2]
try:
    redis.execute(["SET", "one"])
    raise SystemExit("a wrong command was taken")
except UpstashError as error:
    assert "wrong number of arguments" in str(error), error
try:
    Redis(url=url, token="wrong", rest_retries=0).get("one")
    raise SystemExit("a wrong token was taken")
except UpstashError as error:
    assert "WRONGPASS" in str(error), error
print("the front speaks to Upstash's client")

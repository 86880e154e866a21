"""Named entries in Redis, of fields with bytes: so many bytes in all, for so long after their use.

Redis is the broker of jobs too and evicts nothing. Bytes are counted here, and the entries that
were used least recently make room. Each script is one step, and may be run twice without harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import redis

# Room that Redis takes beside names and values, roughly as MEMORY USAGE says.
_ENTRY_BYTES = 512
_FIELD_BYTES = 64

# KEYS: the entry; names by last use; their bytes; bytes of all.
_COMMON = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function forget(name, key)
  local bytes = redis.call('HGET', KEYS[3], name)
  if not bytes then return end
  redis.call('UNLINK', key)
  redis.call('ZREM', KEYS[2], name)
  redis.call('DECRBY', KEYS[4], bytes)
  redis.call('HDEL', KEYS[3], name)
end
local function used(name, seconds)
  for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, seconds) end
  redis.call('ZADD', KEYS[2], now, name)
end
"""

# ARGV: name, how keys of entries begin, bytes of all at most, seconds, bytes of an entry, of a
# field, then fields and values. Answers whether it was kept. A Redis that is full refuses only the
# first write of a script, and that if it takes room: here INCRBY comes first, and EXPIRE where one
# reads.
_PUT = f"""{_COMMON}
redis.call('INCRBY', KEYS[4], 0)
local name, beginning, most, seconds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if redis.call('EXISTS', KEYS[1]) == 0 then forget(name, KEYS[1]) end
local before = tonumber(redis.call('HGET', KEYS[3], name) or 0)
local more = before == 0 and ARGV[5] + #name or 0
for at = 7, #ARGV, 2 do
  local had = redis.call('HSTRLEN', KEYS[1], ARGV[at])
  if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 0 then more = more + ARGV[6] + #ARGV[at] end
  more = more + #ARGV[at + 1] - had
end
if before + more > most then return 0 end
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - seconds)) do
  if old ~= name then forget(old, beginning .. old) end
end
while tonumber(redis.call('GET', KEYS[4]) or 0) + more > most do
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 1)
  local old = oldest[1] ~= name and oldest[1] or oldest[2]
  if not old then break end
  forget(old, beginning .. old)
end
for at = 7, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
redis.call('HINCRBY', KEYS[3], name, more)
redis.call('INCRBY', KEYS[4], more)
used(name, seconds)
return 1
"""

# ARGV: name, seconds, fields. Answers their values; none where there is no such entry.
_READ = f"""{_COMMON}
if redis.call('EXISTS', KEYS[1]) == 0 then
  forget(ARGV[1], KEYS[1])
  return {{}}
end
used(ARGV[1], ARGV[2])
return redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
"""


class SharedEntries:
    """Puts and reads them; safe in several threads and processes. Raises redis's RedisError.

    most_bytes: of all entries. seconds: how long after its last use one is kept.
    """

    def __init__(self, client: redis.Redis, prefix: str, most_bytes: int, seconds: int) -> None:
        self._prefix = f"{prefix}:shared"
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._client = client
        self._put = client.register_script(_PUT)
        self._read = client.register_script(_READ)

    def put(self, name: str, fields: Mapping[str, bytes]) -> bool:
        """Set fields of an entry, others stay; False where they would never fit."""
        words = [word for field in fields.items() for word in field]
        sizes = [self._most_bytes, self._seconds, _ENTRY_BYTES, _FIELD_BYTES]
        arguments = [name, self._key("entry", ""), *sizes, *words]
        return bool(self._put(keys=self._keys(name), args=arguments))

    def read(self, name: str, fields: Sequence[str]) -> list[bytes | None]:
        """Values of an entry's fields, None for those that it has not; the entry counts as used."""
        values = self._read(keys=self._keys(name), args=[name, self._seconds, *fields])
        return cast("list[bytes | None]", values) or [None] * len(fields)

    @property
    def bytes_used(self) -> int:
        """Bytes of all of them, as they are counted."""
        return int(cast("bytes | None", self._client.get(self._key("total"))) or 0)

    def _keys(self, name: str) -> list[str]:
        return [self._key("entry", name), *map(self._key, ("used", "bytes", "total"))]

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

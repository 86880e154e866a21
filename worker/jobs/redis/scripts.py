"""What must happen in Redis in one step, as Lua. Every script may be run twice without harm."""

from __future__ import annotations

from cam_engine.outputs.folder_lock import FINISHED
from worker.jobs.contract import UNFINISHED

# Ends after which something is left to do.
_REPEATABLE = tuple(status for status in FINISHED if status != "succeeded")


def _is_none_of(*statuses: str) -> str:
    """Lua's condition that the status is none of them."""
    return " and ".join(f"status ~= '{status}'" for status in statuses)


# KEYS: job, active, index, idempotency key.
# ARGV: json record, id, created, expires ("": none), owner, seconds of the key (0: no key), claim.
# Answers 1, 0 (it was there) or -1 (the claim has ended, and the key is another job's).
CREATE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if ARGV[6] ~= '0' then
  local holder = redis.call('GET', KEYS[4])
  if holder and holder ~= ARGV[7] then return -1 end
  redis.call('SET', KEYS[4], ARGV[7], 'EX', ARGV[6])
end
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'status', 'queued', 'expires', ARGV[4],
  'owner', ARGV[5])
redis.call('ZADD', KEYS[2], 0, ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[2])
return 1
"""

# Take a chunk for a worker.  KEYS: job, chunks out, lease.
# ARGV: chunk, worker, lease seconds, now.
# Answers "go", "cancel", "gone" (nothing to do any more) or "taken" (another worker has it, or
# had it and was lost: the message came again before that was noticed, and would not be counted).
TAKE = """
local status = redis.call('HGET', KEYS[1], 'status')
if not status or redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return 'gone' end
local holder = redis.call('GET', KEYS[3])
if holder and holder ~= ARGV[2] then return 'taken' end
if status == 'canceling' then return 'cancel' end
if status ~= 'queued' and status ~= 'running' then return 'gone' end
local attempt, when, how = string.match(redis.call('HGET', KEYS[2], ARGV[1]), '(%S+) (%S+) (%S+)')
if how == 'taken' and not holder then return 'taken' end
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], attempt .. ' ' .. when .. ' taken')
if status == 'queued' then
  redis.call('HSET', KEYS[1], 'status', 'running', 'started', ARGV[4])
end
return 'go'
"""

# Record items and keep the lease.  KEYS: job, succeeded, failed, failures, lease, notices.
# ARGV: worker, lease seconds, n succeeded, indices, n failed, (index, json) pairs, then most fields
# of notices, and (index, field) pairs: each counts where the item had not succeeded before.
# Answers "go", "cancel" or "lost" (the lease is another's, or the job is over).
MARK = """
local status = redis.call('HGET', KEYS[1], 'status')
if status ~= 'running' and status ~= 'canceling' then return 'lost' end
local holder = redis.call('GET', KEYS[5])
if holder and holder ~= ARGV[1] then return 'lost' end
local at = 4
local is_new = {}
for _ = 1, tonumber(ARGV[3]) do
  local before = redis.call('SETBIT', KEYS[2], ARGV[at], 1)
  is_new[ARGV[at]] = is_new[ARGV[at]] or before == 0
  redis.call('SETBIT', KEYS[3], ARGV[at], 0)
  redis.call('HDEL', KEYS[4], ARGV[at])
  at = at + 1
end
local failed = tonumber(ARGV[at])
at = at + 1
for _ = 1, failed do
  if redis.call('GETBIT', KEYS[2], ARGV[at]) == 0 then
    redis.call('SETBIT', KEYS[3], ARGV[at], 1)
    redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 1])
  end
  at = at + 2
end
local most = tonumber(ARGV[at])
for pair = at + 1, #ARGV, 2 do
  local field = ARGV[pair + 1]
  if is_new[ARGV[pair]] then
    if redis.call('HEXISTS', KEYS[6], field) == 0 and redis.call('HLEN', KEYS[6]) >= most then
      field = ''
    end
    redis.call('HINCRBY', KEYS[6], field, 1)
  end
end
redis.call('SET', KEYS[5], ARGV[1], 'EX', ARGV[2])
if status == 'canceling' then return 'cancel' end
return 'go'
"""

# Remember fields that need no count.  KEYS: notices.  ARGV: most fields, fields.
NOTICE = """
for at = 2, #ARGV do
  local field = ARGV[at]
  if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1])
    and redis.call('HEXISTS', KEYS[1], field) == 0 then field = '' end
  redis.call('HSET', KEYS[1], field, 1)
end
"""

# Hand a chunk in.  KEYS: chunks out, lease, pending.  ARGV: chunk, worker, rest (a chunk, or "").
HAND_IN = """
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[2] then return 0 end
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 and ARGV[3] ~= '' then
  redis.call('LPUSH', KEYS[3], ARGV[3])
end
redis.call('DEL', KEYS[2])
return 1
"""

# The message of a chunk that no worker took is sent anew.  KEYS: chunks out.  ARGV: chunk, now.
# Answers 0 where it was taken or handed in meanwhile.
SEND_AGAIN = """
local told = redis.call('HGET', KEYS[1], ARGV[1])
if not told then return 0 end
local attempt, when, how = string.match(told, '(%S+) (%S+) (%S+)')
if how ~= 'sent' then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], attempt .. ' ' .. ARGV[2] .. ' sent')
return 1
"""

# Cut the next chunk off a job.  KEYS: job, pending, chunks out.  ARGV: now, images of a chunk.
# Pending entries are "model:start:end:attempt"; answers the chunk in that form, or "".
CUT = """
local status = redis.call('HGET', KEYS[1], 'status')
if status ~= 'queued' and status ~= 'running' then return '' end
local entry = redis.call('LPOP', KEYS[2])
if not entry then return '' end
local model, first, last, attempt = string.match(entry, '(%d+):(%d+):(%d+):(%d+)')
local cut = math.min(tonumber(last), tonumber(first) + tonumber(ARGV[2]))
if cut < tonumber(last) then
  redis.call('LPUSH', KEYS[2], model .. ':' .. cut .. ':' .. last .. ':' .. attempt)
end
redis.call('HSET', KEYS[3], model .. ':' .. first .. ':' .. cut,
  attempt .. ' ' .. ARGV[1] .. ' sent')
return model .. ':' .. first .. ':' .. cut .. ':' .. attempt
"""

# Ask a job to stop.  KEYS: job.  Answers its status afterwards, or "" where there is none.
CANCEL = """
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return '' end
if status == 'queued' or status == 'running' then
  redis.call('HSET', KEYS[1], 'status', 'canceling')
  return 'canceling'
end
return status
"""

# End a job, once.  KEYS: job, active, pending, chunks out, webhooks due, their attempts.
# ARGV: status, now, error json, expires, id, whether it has a webhook.
# Answers 1 for the one who ended it.
END = f"""
local status = redis.call('HGET', KEYS[1], 'status')
if {_is_none_of(*UNFINISHED)} then return 0 end
redis.call('HSET', KEYS[1], 'status', ARGV[1], 'finished', ARGV[2], 'error', ARGV[3],
  'expires', ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[5])
redis.call('DEL', KEYS[3], KEYS[4])
if ARGV[6] ~= '' then
  redis.call('ZADD', KEYS[5], ARGV[2], ARGV[5])
  redis.call('HSET', KEYS[6], ARGV[5], 1)
end
return 1
"""

# Run again what failed or was skipped.  KEYS: job, active, pending, failed, failures.
# ARGV: id, then pending entries.  Answers 1 unless the job is unfinished or gone.
RETRY = f"""
local status = redis.call('HGET', KEYS[1], 'status')
if {_is_none_of(*_REPEATABLE)} then return 0 end
redis.call('HSET', KEYS[1], 'status', 'queued', 'error', '', 'finished', '', 'expires', '',
  'activity', '')
redis.call('DEL', KEYS[3], KEYS[4], KEYS[5])
for at = 2, #ARGV do redis.call('RPUSH', KEYS[3], ARGV[at]) end
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 1
"""

# Let a lock go that is still ours.  KEYS: lock.  ARGV: token.
UNLOCK = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

# Claim an idempotency key, unless it is another's.  KEYS: key.  ARGV: claim, seconds.
# Answers whose it is and how many seconds are left of it.
CLAIM = """
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])
return {redis.call('GET', KEYS[1]), redis.call('TTL', KEYS[1])}
"""

# Let a key last so long at most.  KEYS: key.  ARGV: milliseconds.
BOUND = """
if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[1]) then
  return redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 0
"""

# Keep a claim that is still ours.  KEYS: key.  ARGV: value, seconds.
RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 0
"""

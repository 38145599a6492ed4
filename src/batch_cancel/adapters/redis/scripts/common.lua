-- Guarantees for the script that follows: one clock for all callers, the server's, and tombstones
-- that outlived their time forgotten, at most 8 a call, so that no call waits for a big clean-up.
--
-- due: id -> when to fire (ms)             job: id -> state
-- run: id -> when its lease ends (ms)      old: id -> when to forget its tombstone (ms)
--
-- A state is one letter and what belongs to it:
--   D payload            due                        L operation id   cancelled late, after its claim
--   R token payload      claimed                    B operation id   barred: cancelled while unknown
--   C operation id       cancelled before firing    F receipt        finished
local due, job, run, old = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local TOKEN_LENGTH = 32
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for _, id in ipairs(redis.call('ZRANGEBYSCORE', old, '-inf', now, 'LIMIT', 0, 8)) do
  redis.call('HDEL', job, id)
  redis.call('ZREM', old, id)
end

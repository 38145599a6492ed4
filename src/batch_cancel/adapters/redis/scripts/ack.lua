-- Guarantees: 1 and finished, if the token names the lease that holds the start now; the same
-- receipt gets the same answer again; any other gets 0 and changes nothing.
local id, token, receipt, retention = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local state = redis.call('HGET', job, id)
if state == 'F' .. receipt then
  return 1
end
if not state or string.sub(state, 1, 1) ~= 'R'
    or string.sub(state, 2, 1 + TOKEN_LENGTH) ~= token then
  return 0
end
redis.call('ZADD', old, now + retention, id)
redis.call('HSET', job, id, 'F' .. receipt)
redis.call('ZREM', run, id)
return 1

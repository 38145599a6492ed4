-- Guarantees: 1 if the schedule may be sent, at every repetition; no cancel takes it back then. What
-- repeats may be sent until it is cancelled. Else, cancelled or deleted, 0 and nothing changed.
local data, decided = KEYS[1], KEYS[2]
local retention, decision = ARGV[1], ARGV[2]

local before = redis.call('GET', decided)
if before == 'cancelled' then
  return 0
end
if before == 'started' and decision == 'started' then
  return 1
end
if redis.call('EXISTS', data) == 0 then
  return 0
end
redis.call('SET', decided, decision, 'PX', retention)
return 1

-- Guarantees: 1 if the schedule may be sent, at every repetition; no cancel takes it back then.
-- Else, cancelled or deleted, 0 and nothing changed.
local data, decided = KEYS[1], KEYS[2]
local retention = ARGV[1]

local decision = redis.call('GET', decided)
if decision then
  return decision == 'started' and 1 or 0
end
if redis.call('EXISTS', data) == 0 then
  return 0
end
redis.call('SET', decided, 'started', 'PX', retention)
return 1

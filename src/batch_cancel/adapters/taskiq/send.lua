-- Guarantees: 1 if the schedule may be sent, at every repetition; no cancel gets True for it then.
-- A repeating schedule may be sent until it is cancelled. Otherwise, cancelled or deleted, 0 and
-- no change.
local data, decided = KEYS[1], KEYS[2]
local retention, decision = ARGV[1], ARGV[2]

if redis.call('EXISTS', data) == 0 or redis.call('GET', decided) == 'cancelled' then
  return 0
end
redis.call('SET', decided, decision, 'PX', retention)
return 1

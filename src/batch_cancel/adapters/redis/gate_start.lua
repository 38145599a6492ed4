-- Guarantees: 1 if the gate was not closed before this start, at every repetition; it then never is.
-- Else 0, and nothing changed.
local key, retention = KEYS[1], tonumber(ARGV[1])

local state = redis.call('GET', key)
if state and state ~= 'A' then
  return state == 'S' and 1 or 0
end
redis.call('SET', key, 'S', 'PX', math.max(redis.call('PTTL', key), retention))
return 1

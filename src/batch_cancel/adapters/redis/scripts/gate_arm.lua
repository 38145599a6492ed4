-- Guarantees: 1 and armed, if nothing was decided yet; else 0 and nothing changed.
local key, at, retention = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])

local state = redis.call('GET', key)
if state and state ~= 'A' then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', key, 'A', 'PX', math.max(at - now, 0) + retention)
return 1

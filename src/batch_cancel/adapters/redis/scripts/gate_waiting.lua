-- Guarantees: for each key, whether its start is armed and nothing is decided; it changes nothing.
local armed = {}
for i, key in ipairs(KEYS) do
  armed[i] = redis.call('GET', key) == 'A' and 1 or 0
end
return armed

-- Guarantees: those of the ids asked for that wait to fire; it changes nothing, and looks at no other.
local due = KEYS[1]

local waiting = {}
if #ARGV > 0 then
  for i, at in ipairs(redis.call('ZMSCORE', due, unpack(ARGV))) do
    if at then
      waiting[#waiting + 1] = ARGV[i]
    end
  end
end
return waiting

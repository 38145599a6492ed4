-- Guarantees: true if and only if the schedule was there, and was not on its way to the broker; it
-- never is then, from whatever copy of it the scheduler holds.
local data, decided, times = KEYS[2], KEYS[3], KEYS[4]
local retention, id = ARGV[2], ARGV[3]

local function take_back()
  local schedule = redis.call('GET', data)
  if not schedule or redis.call('EXISTS', decided) == 1 then
    return false
  end
  redis.call('SET', decided, 'cancelled', 'PX', retention)
  redis.call('DEL', data)
  -- Its minute's list still names it. A time that is not UTC is kept in a list of another name; then
  -- the id stays there, and means nothing.
  local minute = string.match(schedule, 'time%W+(%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d)')
  if minute then
    redis.call('LREM', times .. minute, 0, id)
  end
  return true
end

-- Guarantees: true if and only if the schedule was there, was not on its way to the broker, and was
-- never sent; it never is again then, from whatever copy of it the scheduler holds.
local function waits(id, data, decided, times, crons, intervals)
  return redis.call('EXISTS', data) == 1 and redis.call('GET', decided) ~= 'cancelled'
end

local function take_back(id, data, decided, times, crons, intervals)
  local schedule, decision = redis.call('GET', data), redis.call('GET', decided)
  if not schedule then
    return false
  end
  redis.call('SET', decided, 'cancelled', 'PX', ARGV[2])
  redis.call('DEL', data)
  -- The lists still name it. A time that is not UTC is kept in a list of another name; then the id
  -- stays there, and means nothing. So it does where a list cannot be written.
  local minute = string.match(schedule, 'time%W+(%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d)')
  if minute then
    redis.pcall('LREM', times .. minute, 0, id)
  end
  redis.pcall('LREM', crons, 0, id)
  redis.pcall('LREM', intervals, 0, id)
  -- Scheduled again under a used-up id, it would never have been sent.
  return decision ~= 'cancelled', decision == 'repeats' or decision == 'started'
end

-- Guarantees: hands out, earliest first, what is due and what an owner let lapse, each to one owner
-- until his lease ends; the same token asked again within `patience` is given the same starts.
local token, limit, lease, patience = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local lease_end = now + lease
local claimed = {}

local function look(id)
  local state = redis.call('HGET', job, id)
  if state then
    return string.sub(state, 1, 1), state
  end
end

-- The answer to this token may have been lost; then its leases began a moment ago.
local recent = redis.call('ZRANGEBYSCORE', run, lease_end - patience, lease_end)
for _, id in ipairs(recent) do
  local kind, state = look(id)
  if kind == 'R' and string.sub(state, 2, 1 + TOKEN_LENGTH) == token then
    claimed[#claimed + 1] = id
    claimed[#claimed + 1] = string.sub(state, 2 + TOKEN_LENGTH)
  end
end
if #claimed > 0 then
  return claimed
end

-- Both lists are in order of time; the earlier head of the two is next.
local waiting = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
local lapsed = redis.call('ZRANGEBYSCORE', run, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
local w, l = 1, 1
while #claimed < 2 * limit and (waiting[w] or lapsed[l]) do
  local id, kind, state, payload
  if lapsed[l] and not (waiting[w] and tonumber(waiting[w + 1]) <= tonumber(lapsed[l + 1])) then
    id, l = lapsed[l], l + 2
    kind, state = look(id)
    payload = kind == 'R' and string.sub(state, 2 + TOKEN_LENGTH)
    if not payload then
      redis.call('ZREM', run, id)
    end
  else
    id, w = waiting[w], w + 2
    kind, state = look(id)
    payload = kind == 'D' and string.sub(state, 2)
    redis.call('ZREM', due, id)
  end
  if payload then
    redis.call('ZADD', run, lease_end, id)
    redis.call('HSET', job, id, 'R' .. token .. payload)
    claimed[#claimed + 1] = id
    claimed[#claimed + 1] = payload
  end
end
return claimed

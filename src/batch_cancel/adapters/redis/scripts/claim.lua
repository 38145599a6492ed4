-- Guarantees: hands out, earliest first, what is due and what an owner let lapse, each to one owner
-- until the lease ends; no more than `limit` starts and, unless it is a single one, `bytes_max`
-- bytes; the same token asked again within `patience` is given the same starts.
--
-- The answer: whether there may be more; id and payload of each start, in the order in which they
-- are to be delivered; then of those that are to be delivered last, after whatever is claimed with
-- this. Leases end in the order of delivery, so the first start that is left of a lapsed claim is
-- the one that may have ended its owner: it is one of the last.
local token, limit, lease, patience = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local bytes_max = tonumber(ARGV[5])
local lease_end = now + lease
-- What remembers a claim is a field and a tombstone under a name that no id has: ids hold no NUL.
local receipt = '\0' .. token
-- In milliseconds, and exact in a score: a thousand of them are less than one millisecond.
local STEP = 1 / 2048

local function look(id, expected)
  local state = redis.call('HGET', job, id)
  if state and string.sub(state, 1, 1) == expected then
    return state
  end
end

-- The answer to this token may have been lost.
local answered = redis.call('HGET', job, receipt)
if answered then
  local claimed = {}
  local ends = redis.call('ZRANGEBYSCORE', run, '(' .. tonumber(answered) - 1, answered)
  for _, id in ipairs(ends) do
    local state = look(id, 'R')
    if state and string.sub(state, 2, 1 + TOKEN_LENGTH) == token then
      claimed[#claimed + 1] = id
      claimed[#claimed + 1] = string.sub(state, 2 + TOKEN_LENGTH)
    end
  end
  return {1, claimed, {}}
end

-- Both lists are in order of time; the earlier head of the two is next.
local waiting = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
local lapsed = redis.call('ZRANGEBYSCORE', run, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
local w, l, bytes, is_full = 1, 1, 0, false
local first, last, tokens = {}, {}, {}
local not_due, not_run = {}, {}
while #first + #last < 2 * limit and (waiting[w] or lapsed[l]) do
  local is_waiting = waiting[w]
    and not (lapsed[l] and tonumber(lapsed[l + 1]) < tonumber(waiting[w + 1]))
  local id = is_waiting and waiting[w] or lapsed[l]
  local state = look(id, is_waiting and 'D' or 'R')
  local payload = state and string.sub(state, is_waiting and 2 or 2 + TOKEN_LENGTH)
  bytes = bytes + #id + #(payload or '')
  if bytes > bytes_max and #first + #last > 0 then
    is_full = true
    break
  end
  local order = first
  if is_waiting then
    w = w + 2
    not_due[#not_due + 1] = id
  else
    l = l + 2
    not_run[#not_run + 1] = id
    local owner = state and string.sub(state, 2, 1 + TOKEN_LENGTH)
    if owner and not tokens[owner] then
      tokens[owner] = true
      order = last
    end
  end
  if payload then
    order[#order + 1] = id
    order[#order + 1] = payload
  end
end

-- All of them at once, for a server does nothing else meanwhile. What was handed out is taken from
-- the lists first: a server without memory allows that, and then the rest.
local leases, states = {}, {}
local left = (#first + #last) / 2
for _, order in ipairs({first, last}) do
  for i = 1, #order, 2 do
    left = left - 1
    leases[#leases + 1] = lease_end - left * STEP
    leases[#leases + 1] = order[i]
    states[#states + 1] = order[i]
    states[#states + 1] = 'R' .. token .. order[i + 1]
  end
end
if #not_due > 0 then
  redis.call('ZREM', due, unpack(not_due))
end
if #not_run > 0 then
  redis.call('ZREM', run, unpack(not_run))
end
if #leases > 0 then
  redis.call('ZADD', run, unpack(leases))
  redis.call('HSET', job, unpack(states))
  redis.call('ZADD', old, now + patience, receipt)
  redis.call('HSET', job, receipt, lease_end)
end
local may_be_more = is_full or #waiting == 2 * limit or #lapsed == 2 * limit
return {may_be_more and 1 or 0, first, last}

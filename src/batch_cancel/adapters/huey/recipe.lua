-- Guarantees: true if and only if the task waited for its time or in its queue, no consumer had it, and
-- none had run it before; what waits for its retry is taken back too, and counts as fired.
--
-- Huey keeps a task as its message alone, so the messages that were remembered name it. With each is
-- kept: 0 it waits; 1 it waits for its retry; x it was cancelled while a consumer carried it.
local function in_queue(queue, message)
  if redis.call('TYPE', queue).ok ~= 'zset' then
    return redis.call('LPOS', queue, message) and {message} or {}
  end
  local found = {}  -- A queue with priorities has eight bytes before each message.
  for _, member in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
    if string.sub(member, 9) == message then
      found[#found + 1] = member
    end
  end
  return found
end

local function drop(queue, member)
  if redis.call('TYPE', queue).ok == 'zset' then
    redis.call('ZREM', queue, member)
  else
    redis.call('LREM', queue, 0, member)
  end
end

local function waits(id, scheduled, queue, remembered)
  for _, message in ipairs(redis.call('HKEYS', remembered)) do
    if redis.call('ZSCORE', scheduled, message) or #in_queue(queue, message) > 0 then
      return true
    end
  end
  return false
end

local function take_back(id, scheduled, queue, remembered)
  local messages = redis.call('HGETALL', remembered)
  local found, had_fired = {}, true
  for i = 1, #messages, 2 do
    local message = messages[i]
    local waited, queued = redis.call('ZSCORE', scheduled, message), in_queue(queue, message)
    if waited or #queued > 0 then
      found[#found + 1] = {message, queued}
      had_fired = had_fired and messages[i + 1] == '1'
    end
  end
  if #found == 0 then
    -- It has fired, or a consumer carries it from one place to another: that consumer drops it then.
    for i = 1, #messages, 2 do
      redis.call('HSET', remembered, messages[i], 'x')
    end
    return false
  end
  redis.call('DEL', remembered)
  for _, it in ipairs(found) do
    redis.call('ZREM', scheduled, it[1])
    for _, member in ipairs(it[2]) do
      drop(queue, member)
    end
  end
  return true, had_fired
end

local function oddity(scheduled, queue)
  for _, message in ipairs(redis.call('ZRANGE', scheduled, 0, 9)) do
    if string.sub(message, 1, 2) == '\31\139' then
      return 'Huey compresses with gzip, which writes the time into each message, so that no task is '
        .. 'found again: use zlib, RedisHuey(compression=True, use_zlib=True)'
    end
  end
end

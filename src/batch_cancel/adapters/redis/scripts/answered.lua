-- Guarantees, for the recipe before it: an operation always gets the same answer (until its
-- tombstone expires). A start that waits under the id is removed all the same: it may have been
-- scheduled again since.
--
-- A recipe defines take_back(id, its keys ...): whether something waited, which is gone then, and
-- whether that had fired before. Or a sentence, where it cannot know: that is no answer.
--
-- An answer is kept as 1: taken back before it fired; 2: taken back, but had fired; 0: nothing waited.
local tombstone, operation, retention, id = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

local answer = redis.call('HGET', tombstone, operation)
local is_new = answer ~= '0' and answer ~= '1' and answer ~= '2'
-- What can fail fails here, before anything is taken back that a repetition would not find.
if is_new then
  redis.call('HSET', tombstone, operation, 'asked')
end
-- For an old answer too: WAIT counts writes of its own connection alone.
redis.call('PEXPIRE', tombstone, retention)
local removed, had_fired = take_back(id, unpack(KEYS, 2))
if is_new then
  if type(removed) == 'string' then
    return removed
  end
  answer = not removed and '0' or had_fired and '2' or '1'
  redis.call('HSET', tombstone, operation, answer)
elseif removed == true and answer == '0' then
  -- Its answer stays; but a library that brings back what was removed must not start it.
  redis.call('HSET', tombstone, operation, '2')
end
return answer == '1' and 1 or 0

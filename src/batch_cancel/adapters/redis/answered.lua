-- Guarantees, for the recipe before it: what an operation was answered once, it is answered always
-- (until its tombstone is forgotten), and nothing is then changed again.
--
-- A recipe defines take_back(): whether the start was there, and had not fired; it is gone then.
local tombstone, operation, retention = KEYS[1], ARGV[1], ARGV[2]

local answer = redis.call('HGET', tombstone, operation)
local is_new = answer ~= '0' and answer ~= '1'
-- What can fail fails here, before anything is taken back that a repetition would not find.
if is_new then
  redis.call('HSET', tombstone, operation, 'asked')
end
-- For an old answer too: who waits until replicas have it waits for a write of his own connection.
redis.call('PEXPIRE', tombstone, retention)
if is_new then
  answer = take_back() and '1' or '0'
  redis.call('HSET', tombstone, operation, answer)
end
return tonumber(answer)

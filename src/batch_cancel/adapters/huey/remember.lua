-- Guarantees: the message under which a task was first scheduled is kept, until it is forgotten.
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return 1

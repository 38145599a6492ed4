-- What a recipe writes to the library's first key and to a hash of ours: none of it changes anything,
-- for no id is empty.
local commands = {
  {'ZADD', KEYS[1], 'XX', 0, ''}, {'ZREM', KEYS[1], ''}, {'HDEL', KEYS[2], ''},
}

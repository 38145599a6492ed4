-- Guarantees for the script that follows: the commands of the native store, on no id.
local commands = {{'ZADD', KEYS[1], 'XX', 0, ''}, {'ZREM', KEYS[1], ''}, {'HDEL', KEYS[2], ''}}

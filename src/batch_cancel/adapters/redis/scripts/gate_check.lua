-- Guarantees for the script that follows: the commands of the start gate, on a key that no id has.
local commands = {{'SET', KEYS[1], '', 'XX'}, {'GET', KEYS[1]}, {'PTTL', KEYS[1]}}

-- Guarantees: for each start what cancel.lua does for one, whose text is the function `cancel`.
local answers = {}
for at = 2, #ARGV, 2 do
  table.insert(answers, cancel({ARGV[at], ARGV[at + 1], ARGV[1]}))
end
return answers

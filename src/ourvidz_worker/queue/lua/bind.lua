-- After the strict decoding: claimed entries are bound to their jobs. ARGV[3] is the wall clock,
-- ARGV[4] the event of a cancelled job, then ten values for each entry. Answers for each what became
-- of it: ok and the job, or dropped, lost, moved.
local answers = {}
for first = 5, #ARGV, BINDING do
  local entry, fence = ARGV[first], ARGV[first + 1]
  local found = redis.call('HMGET', ENTRY .. entry, 'fence', 'owner', 'state', 'lane', 'tries',
    'seq', 'raw')
  local kept = {fence = found[1], lane = found[4], tries = found[5], seq = found[6], raw = found[7]}
  local is_ours = found[1] == fence and found[2] == pod and found[3] == 'leased'
  answers[#answers + 1] = is_ours and bind(first, entry, kept, ARGV[3], ARGV[4]) or {'lost'}
end
return answers

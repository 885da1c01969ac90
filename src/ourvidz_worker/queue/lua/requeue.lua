-- Give a job back to the left of its list. Answers 0 when the lease is lost, else 1 and what is
-- owed when it ended as cancelled.
local id, fence, burn, delay = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local at, event = ARGV[7], ARGV[8]
local entry = held(id, fence)
if not entry then return {0} end
local row = give_back(entry, now + delay, burn == '0', at, event)
return row and {1, row} or {1}

-- Append one event to a job's history: its number, or 0 for a job that is not kept.
local id, event = ARGV[3], ARGV[4]
if redis.call('EXISTS', JOB .. id) == 0 then return 0 end
return add_event(id, event)

-- Which callbacks the caller still owes: job, status and nonce of each from ARGV[3] on; 1 or 0.
-- A job that is not kept ended long ago or was lost with the server: its end is still told.
local function owes(id, status, nonce)
  local job = redis.call('HMGET', JOB .. id, 'ended', 'teller', 'done', 'told', 'pod', 'accepted')
  if status == 'queued' then return job[6] == nonce end
  if status == 'processing' then
    return job[5] == pod and not job[4] and (not job[1] or job[2] == pod)
  end
  if redis.call('EXISTS', JOB .. id) == 0 then return true end
  return job[1] == nonce and job[2] == pod and not job[3]
end
local answers = {}
for i = 3, #ARGV, 3 do
  answers[#answers + 1] = owes(ARGV[i], ARGV[i + 1], ARGV[i + 2]) and 1 or 0
end
return answers

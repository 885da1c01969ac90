-- What the caller owes by the records: job, status and nonce of each; with ids, also the bodies.
local rows = {}
local function add(id, whole)
  local job = redis.call('HMGET', JOB .. id, 'status', 'ended', 'body')
  if job[3] then
    rows[#rows + 1] = {id, job[1], whole and job[3] or '', job[2]}
  else
    redis.call('SREM', DUE .. pod, id)
  end
end
for i = 3, #ARGV do add(ARGV[i], true) end
if #ARGV < 3 then
  for _, id in ipairs(redis.call('SMEMBERS', DUE .. pod)) do add(id, false) end
end
return rows

-- All that is kept of one job.
return redis.call('HGETALL', JOB .. ARGV[3])

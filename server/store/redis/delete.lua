-- id
local run, entries, steps = keys(ARGV[3])
return once(function()
  redis.call('ZREM', leases, ARGV[3])
  unlabel(run, ARGV[3])
  redis.call('DEL', entries, steps)
  redis.call('PUBLISH', run, '')
  return redis.call('DEL', run)
end)

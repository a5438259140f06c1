-- id, holder, number
if held(ARGV[3], ARGV[4], ARGV[5]) then
  redis.call('HSET', prefix .. 'run:' .. ARGV[3], 'holder', '')
  redis.call('ZADD', leases, now(), ARGV[3])
  redis.call('PUBLISH', changed, '')
end
return 1

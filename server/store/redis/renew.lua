-- holder, lease in microseconds, then id and number of each lease; answers the ids that are lost and those to cancel
local ends = now() + ARGV[4]
local lost, cancelled = {}, {}
for i = 5, #ARGV, 2 do
  local id = ARGV[i]
  if not held(id, ARGV[3], ARGV[i + 1]) then
    table.insert(lost, id)
  else
    redis.call('ZADD', leases, ends, id)
    if redis.call('HEXISTS', prefix .. 'run:' .. id, 'cancelled') == 1 then
      table.insert(cancelled, id)
    end
  end
end
return {lost, cancelled}

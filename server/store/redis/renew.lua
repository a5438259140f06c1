-- lease in microseconds, then id, holder and number of each; answers the ids that are lost and those to cancel
local ends = now() + ARGV[3]
local lost, cancelled = {}, {}
for i = 4, #ARGV, 3 do
  local id = ARGV[i]
  if not held(id, ARGV[i + 1], ARGV[i + 2]) then
    table.insert(lost, id)
  else
    redis.call('ZADD', leases, ends, id)
    if redis.call('HEXISTS', prefix .. 'run:' .. id, 'cancelled') == 1 then
      table.insert(cancelled, id)
    end
  end
end
return {lost, cancelled}

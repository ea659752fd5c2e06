-- Says up to which revision everything is written, if it is all still there.
-- KEYS: meta. ARGV: prefix, writer, stamp, manager, JSON of the health, cluster; then of each kind its name
-- and how many there must be.
local meta, prefix, stamp = KEYS[1], ARGV[1], ARGV[3]
local held = redis.pcall('HMGET', meta, 'writer', 'floor')
if held.err or held[1] ~= ARGV[2] then
  return {'lost'}
end
if held[2] and held[2] > stamp then
  return {'newer', held[2]}
end
for i = 7, #ARGV, 2 do
  local count = redis.pcall('ZCARD', prefix .. ARGV[i] .. 's')
  if type(count) ~= 'number' or count ~= tonumber(ARGV[i + 1]) then
    return {'damaged', ARGV[i]}
  end
  redis.call('HSET', meta, 'count:' .. ARGV[i], count)
end
local plain = string.gsub(stamp, '^0+(%d)', '%1')
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
redis.call('HSET', meta, 'cluster', ARGV[6], 'floor', stamp, 'revision', plain, 'manager', ARGV[4], 'time', now)
local health = prefix .. 'health'
local old = redis.pcall('HGET', health, 'json')
if type(old) == 'table' then
  redis.call('UNLINK', health)
end
redis.call('HSET', health, 'json', ARGV[5], 'revision', plain)
if old ~= ARGV[5] then
  redis.call('PUBLISH', prefix .. 'changes', '{"kind":"health","id":"","revision":' .. plain .. ',"removed":false}')
end
return {'ok'}

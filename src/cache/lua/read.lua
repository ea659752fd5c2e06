-- Reads one object or a part of a list. Changes nothing.
-- KEYS: meta. ARGV: prefix, cluster, the oldest that a mark may be in ms, the most bytes, kind, and
-- 'get' and a key, or 'list', where to begin and how many.
local prefix, kind = ARGV[1], ARGV[5]
local mark = redis.call('HMGET', KEYS[1], 'cluster', 'revision', 'time', 'count:' .. kind)
local revision, at = mark[2], tonumber(mark[3])
if not revision then
  return {'empty'}
end
if mark[1] ~= ARGV[2] then
  return {'foreign'}
end
if #revision > 20 or string.find(revision, '%D') or not at then
  return {'damaged'}
end
local time = redis.call('TIME')
local age = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - at
if age > tonumber(ARGV[3]) then
  return {'stalled'}
end

local left = tonumber(ARGV[4])
local function json(key)
  local size = redis.call('HSTRLEN', key, 'json')
  if size == 0 then
    return false
  end
  left = left - size
  return left >= 0 and redis.call('HGET', key, 'json')
end

if ARGV[6] == 'get' then
  local found = json(prefix .. ARGV[7])
  if not found then
    return {left < 0 and 'large' or 'missing'}
  end
  return {'ok', revision, '0', found}
end

local list = prefix .. kind .. 's'
if redis.call('ZCARD', list) ~= tonumber(mark[4]) then
  return {'damaged'}
end
local limit = tonumber(ARGV[8])
local members = redis.call('ZRANGEBYLEX', list, ARGV[7], '+', 'LIMIT', 0, limit + 1)
local found = {'ok', revision, #members > limit and '1' or '0'}
for i = 1, math.min(limit, #members) do
  local id = string.match(members[i], ' (%S+)$')
  local item = id and json(prefix .. kind .. ':' .. id)
  if not item then
    return {left < 0 and 'large' or 'damaged'}
  end
  found[#found + 1] = item
end
return found

"""What runs on the server in one piece, by the server's clock.

Beside the sets of the groups, four keys (see ``keys``) make an answer believable:

``canary``
    The time to live and the moment of the latest heartbeat. It is missing while the server was
    emptied; a heartbeat writes it anew (RD-6).
``doubt``
    Written when the server may lack members that live: after a loss, a pause or a jump of the
    clock, and when it is another server than before (RD-5, F-21). It lives for one time to live:
    as long as it is there, members may not be back yet.
``longest``
    The longest time to live in use. What expires later was written by another clock (F-20).
``look``
    Which run of a server was looked at last, and when. Every look writes it, which proves that
    members can be written (F-1).
"""

from __future__ import annotations

# KEYS: group, canary, doubt, longest. ARGV: entry, time to live in ms.
HEARTBEAT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local ttl = tonumber(ARGV[2])
local before, latest = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+) (%d+)$')
local longest = tonumber(string.match(redis.call('GET', KEYS[4]) or '', '^%d+$')) or 0
local silent = latest and now - latest > ttl
if not latest or (silent and redis.call('ZCARD', KEYS[1]) > 0) then
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
end
redis.call('SET', KEYS[2], string.format('%d %d', ttl, now))
if ttl >= longest then
  redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[2])
end
local limit = string.format('(%.0f', now + math.max(ttl, longest, tonumber(before) or 0))
if redis.call('ZREMRANGEBYSCORE', KEYS[1], limit, '+inf') > 0 then
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ttl)
redis.call('ZADD', KEYS[1], now + ttl, ARGV[1])
"""

# KEYS: group. ARGV: host and @. What follows it in an entry of that host is a number.
LEAVE_ALL = """
local length = #ARGV[1]
for _, entry in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if string.sub(entry, 1, length) == ARGV[1] and not string.find(entry, '@', length + 1, true) then
    redis.call('ZREM', KEYS[1], entry)
  end
end
"""

# KEYS: look, canary, doubt. A server nobody wrote to for a time to live was away, or is a copy.
PROVE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local ttl, latest = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+) (%d+)$')
local known, looked = string.match(redis.call('GET', KEYS[1]) or '', '^(%w*) (%d+)$')
if ttl and tonumber(ttl) > 0 then
  local idle = now - math.max(tonumber(latest), tonumber(looked) or 0)
  if run ~= known or idle < 0 or idle > tonumber(ttl) then
    redis.call('SET', KEYS[3], '1', 'PX', ttl)
  end
end
redis.call('SET', KEYS[1], string.format('%s %.0f', run, now))
"""

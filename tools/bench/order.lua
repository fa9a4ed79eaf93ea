-- wrk … -- LIMIT PAUSE LINES PRODUCT…: at most LIMIT orders of one piece of LINES products that follow each other, each
-- product in turn the first; prints JSON.
-- Each connection pauses for up to twice PAUSE milliseconds before it sends, PAUSE on average.

local requests = {}
local limit, pause, sent = 0, 0, 0

function init(arguments)
   limit = tonumber(arguments[1])
   pause = tonumber(arguments[2])
   if pause > 0 then
      delay = function() return math.random(0, 2 * pause) end -- wrk calls it where there is one
   end
   local lines, products = tonumber(arguments[3]), #arguments - 3
   for first = 1, products do
      local ordered = {}
      for line = 0, lines - 1 do
         local product = arguments[4 + (first - 1 + line) % products]
         ordered[line + 1] = string.format('{"productId":%s,"quantity":1}', product)
      end
      local body = lines == 1 and ordered[1] or '{"lines":[' .. table.concat(ordered, ",") .. "]}"
      requests[first] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, body)
   end
end

function request()
   sent = sent + 1
   if sent == limit then
      wrk.thread:stop()
      -- wrk's main thread would sleep on until its time is over. The signal must reach that thread and no other, so
      -- it is sent when this one has ended.
      io.popen("(sleep 0.1; kill -INT $PPID) > /dev/null &"):close()
   end
   return requests[sent % #requests + 1]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests":%d,"microseconds":%d,"failures":{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d},',
      summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.timeout, errors.status
   ))
   io.write(string.format(
      '"latency":{"p50":%d,"p90":%d,"p95":%d,"p99":%d,"max":%d}}\n',
      latency:percentile(50), latency:percentile(90), latency:percentile(95), latency:percentile(99), latency.max
   ))
end

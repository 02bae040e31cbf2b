-- Paths that are given are asked for in turn. What wrk has counted comes out as one line of JSON.

init = function(paths)
  if #paths > 0 then
    local requests, turn = {}, 0
    for number, path in ipairs(paths) do
      requests[number] = wrk.format("GET", path)
    end
    request = function()
      turn = turn % #requests + 1
      return requests[turn]
    end
  end
end

done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"failed":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end

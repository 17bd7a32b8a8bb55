-- What wrk prints when it is done: one line of JSON, times in microseconds.
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"count":%d,"durationUs":%d,"bytes":%d,"failures":%d,"p50Us":%d,"p99Us":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end

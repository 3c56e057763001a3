"""Words for what the load generator says of itself."""

GENERATOR = {
    "planned_requests": ("requests planned", ""),
    "sent_requests": ("requests sent", ""),
    "skipped_requests": ("requests skipped, because too many were under way", ""),
    "aborted_requests": ("requests given up at the end", ""),
    "retries": ("further attempts", ""),
    "offered_per_s": ("rate that was meant to be sent", "requests/s"),
    "achieved_per_s": ("rate that was sent", "requests/s"),
    "send_lag_ms_p50": ("lateness of sending, P50", "ms"),
    "send_lag_ms_p99": ("lateness of sending, P99", "ms"),
    "send_lag_ms_max": ("lateness of sending, worst", "ms"),
    "latency_ms_p50": ("latency that the lateness is measured against, P50", "ms"),
    "latency_ms_p99": ("latency that the lateness is measured against, P99", "ms"),
    "overhead_ms_p50": ("latency that no component accounts for, P50", "ms"),
    "overhead_ms_p99": ("latency that no component accounts for, P99", "ms"),
    "floor_ms_p50": ("driver, wire and HTTP server alone, P50", "ms"),
    "cpu_ratio": ("processor time of the generator, of one core", "%"),
    "in_flight_requests": ("most requests under way at once", ""),
    "started_utc": ("started", ""),
    "heartbeats": ("heartbeats of the tunnel", ""),
    "heartbeats_answered": ("heartbeats answered", ""),
    "tunnel_reconnections": ("reconnections of the tunnel", ""),
    "stopped_because": ("stopped early because of", ""),
}
"""What the load generator says of itself: the name for a reader, and the unit."""

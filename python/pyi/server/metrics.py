"""Counters in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

__all__ = ["Metrics"]

_BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)


class Metrics:
    """What a server did since it started. Used from one event loop."""

    def __init__(self) -> None:
        """Count from zero."""
        self.in_flight = 0
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, list[int]] = {}
        self._seconds_sum: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def finished(self, service: str, status: int, seconds: float, sent_bytes: int) -> None:
        """Count a request that was answered."""
        self._requests[service, status] += 1
        buckets = self._seconds.setdefault(service, [0] * (len(_BUCKETS_S) + 1))
        buckets[bisect_left(_BUCKETS_S, seconds)] += 1
        self._seconds_sum[service] += seconds  # type: ignore[assignment]  # a Counter adds floats as well
        self._bytes[service] += sent_bytes

    def text(self) -> str:
        """Return all of it."""
        lines = [
            "# HELP pyi_requests_total Requests that were answered.",
            "# TYPE pyi_requests_total counter",
            *(
                f'pyi_requests_total{{service="{service}",status="{status}"}} {count}'
                for (service, status), count in sorted(self._requests.items())
            ),
            "# HELP pyi_requests_in_flight Requests under way.",
            "# TYPE pyi_requests_in_flight gauge",
            f"pyi_requests_in_flight {self.in_flight}",
            "# HELP pyi_sent_bytes_total Bytes of answers.",
            "# TYPE pyi_sent_bytes_total counter",
            *(f'pyi_sent_bytes_total{{service="{service}"}} {count}' for service, count in sorted(self._bytes.items())),
            "# HELP pyi_request_seconds Seconds from the first byte of a request to the last of its answer.",
            "# TYPE pyi_request_seconds histogram",
        ]
        for service, buckets in sorted(self._seconds.items()):
            total = 0
            for bound, count in zip((*map(str, _BUCKETS_S), "+Inf"), buckets, strict=True):
                total += count
                lines.append(f'pyi_request_seconds_bucket{{service="{service}",le="{bound}"}} {total}')
            lines.append(f'pyi_request_seconds_sum{{service="{service}"}} {self._seconds_sum[service]:.6f}')
            lines.append(f'pyi_request_seconds_count{{service="{service}"}} {total}')
        return "\n".join(lines) + "\n"

"""What the tiers count; `GET /metrics` shows it."""

from prometheus_client import Counter

EVICTED = Counter("innerloop_evicted", "Sessions or adapted weights given up, by tier (device, host, store) and reason", ["tier", "reason"])
LOADED = Counter("innerloop_weights_loaded", "Adapted weights read from the session store into this process's memory")
REFITTED = Counter("innerloop_refitted", "Revisions made anew because stored weights were lost or damaged")

"""What one request may hold."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds; each is published by `GET /v1/info`, so that clients can chunk by them."""

    body_bytes: int = 64 * 2**20
    unpacked_bytes: int = 256 * 2**20
    image_pixels: int = 16_000_000
    examples: int = 10_000
    queries: int = 10_000
    classes: int = 1_000
    ttl_seconds: float = 7 * 24 * 3600.0

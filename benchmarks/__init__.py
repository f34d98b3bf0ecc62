"""Measurements that the documents quote, each one command; run them from the repository's root."""

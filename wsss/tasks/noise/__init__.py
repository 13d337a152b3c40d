"""Training against wrong labels: one file a method, and the supervision that puts them together."""

"""The wire between a silo and the relay: frames, chunks, deadlines, errors, TLS files.

What is carried is opaque here. Both ends and the relay import this; it knows neither gRPC nor encryption.
"""

"""The relay: passes signed bytes between hospitals, and holds no key of theirs. Only here is grpc imported."""

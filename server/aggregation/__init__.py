"""How updates become one: the gate that refuses, then the mean. Used by server.rounds alone."""

"""The agent's door for the hospital's own people: a Unix socket, and what may be asked there."""

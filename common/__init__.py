"""What both sides must agree on: records, faces, cohorts, models, learning, ranking, encryption.

Imports none of the other folders; client, server, deploy and simulations may import it.
"""

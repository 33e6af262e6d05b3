"""What a clinician meets: the rank command, the list that it shows, and what is kept on request."""

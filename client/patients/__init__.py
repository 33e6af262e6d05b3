"""A hospital's patients: import, consent, withdrawal, and what each took part in."""

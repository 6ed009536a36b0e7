"""What `volclass init` guesses of own data (patients, labels, geometry), and its drafts."""

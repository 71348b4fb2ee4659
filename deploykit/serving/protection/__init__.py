"""Who may ask a server, how often, what of an answer they see, and how it travels."""

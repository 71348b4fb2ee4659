"""Who may do what with a server, and the record of what was done."""

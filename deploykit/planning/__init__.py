"""What a sweep would do and what it will take: routes, plans, keys of finished work, and durations."""

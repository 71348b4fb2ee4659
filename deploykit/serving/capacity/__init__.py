"""How many workers a rate of requests needs: a queueing model with measured service times."""

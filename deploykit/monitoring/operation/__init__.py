"""How a served model fares: performance, resources, alarms, and what is kept of them."""

from hypothesis import HealthCheck, settings

# Derandomised: the same code gives the same verdict. No deadline: the machine may be busy.
settings.register_profile(
    "deploykit", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("deploykit")

"""Dense networks, for layouts that hold nothing else: PMML, and circuits of FPGAs."""

import sys

#: Binder's images are Linux, and so are its postBuild and what is measured there.
collect_ignore = [] if sys.platform == "linux" else ["test_binder.py"]

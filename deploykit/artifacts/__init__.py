"""An exported folder: what it holds, what its server is asked, and whether it still does what was measured."""

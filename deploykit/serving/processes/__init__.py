"""The processes of a server: its workers, what runs in them, and what watches over them."""

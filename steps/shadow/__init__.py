"""A challenger in the shadow of the service: its comparison with the champion, its promotion."""

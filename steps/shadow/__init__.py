"""The challenger in the shadow of the service: comparison with the champion, and promotion."""

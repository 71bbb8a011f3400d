"""Entry points, parameters, processes, locks and errors."""
